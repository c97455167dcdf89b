"""Makes the pictures of docs/console.md: a real pool, a real gateway, a real browser.

    make console-pictures

It fills a cache of its own with sounds of the built-in engine, has more of them made while the pictures are taken, and
writes docs/pictures/console_*.png. Debian's chromium takes them, by Playwright.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

OUT = Path(__file__).parents[1] / "docs" / "pictures"
MOST_BYTES = 150_000
START_S = 60.0

Shoot = Callable[[], object]
"""Takes the picture of a page as it is now."""
KEPT = (
    "rain on a tin roof", "distant thunder", "slow footsteps on gravel", "a campfire crackles", "wind in tall grass",
    "a stream over stones", "crickets at night", "an old door creaks", "a clock ticks", "waves on a beach",
    "a train passes", "a bird sings in the morning", "a glass breaks", "a sci-fi door opens", "a low engine hums",
    "a heart beats", "a dog barks twice", "coins fall on a table", "a laser shot", "a crowd murmurs",
)  # fmt: skip
LOOPS = frozenset({"rain on a tin roof", "a campfire crackles", "wind in tall grass", "crickets at night"})


def ask(url: str, method: str = "GET", body: dict[str, object] | None = None, **headers: str) -> bytes:
    """Return the answer to one request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: bytes = answer.read()
        return told


@contextmanager
def served(place: Path) -> Iterator[str]:
    """Run a pool with a gateway; give its address."""
    (place / "pool.toml").write_text('[cache]\nencoder = "auto"\n')
    command = [sys.executable, "-m", "audio_pool.cli", "serve", "--json", "--bind", f"ipc://{place}/s"]
    command += ["--config", f"{place}/pool.toml", "--cache-dir", f"{place}/cache", "--http", "127.0.0.1:0"]
    lines: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        stdout = server.stdout
        assert stdout is not None
        threading.Thread(target=lambda: [lines.put(json.loads(line)) for line in stdout], daemon=True).start()
        try:
            told: dict[str, str] = {}
            while "ready" not in told:
                line = lines.get(timeout=START_S)
                told[line["event"]] = line["endpoint"]
            yield told["http"]
        finally:
            server.terminate()
            server.wait(START_S)


def fill(url: str) -> None:
    """Have the sounds made that the library shows, and some of them asked for again."""
    for prompt in KEPT:
        ask(f"{url}/v1/sounds", "POST", {"prompt": prompt, "duration_s": 4, "loop": prompt in LOOPS})
    for number in range(40):
        prompt = KEPT[number % 6]
        ask(f"{url}/v1/sounds", "POST", {"prompt": prompt, "duration_s": 4, "loop": prompt in LOOPS})


@contextmanager
def busy(url: str) -> Iterator[None]:
    """Have long sounds made meanwhile, and kept ones asked for."""
    over = threading.Event()
    jobs = []
    for number in range(12):
        body = {"prompt": f"a storm over the sea, take {number + 1}", "duration_s": 300, "candidates": 4, "force": True}
        body["priority"] = ("normal", "background")[number % 2]
        jobs.append(json.loads(ask(f"{url}/v1/sounds", "POST", body, prefer="respond-async"))["id"])

    def keep_asking() -> None:
        number = 0
        while not over.wait(0.1):
            number += 1
            prompt = KEPT[number % 9]
            ask(f"{url}/v1/sounds", "POST", {"prompt": prompt, "duration_s": 4, "loop": prompt in LOOPS})

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
        for job in jobs:
            try:
                ask(f"{url}/v1/jobs/{job}", "DELETE")
            except OSError:
                pass  # it has ended


def make(page: Page, url: str, shoot: Shoot) -> None:
    """Ask for a loop, and wait until it is heard and seen."""
    page.goto(f"{url}/#make")
    page.get_by_role("textbox").first.fill("rain on a tin roof")
    page.get_by_label("Loop").first.check()
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".spectrogram canvas").first).to_be_visible()
    page.wait_for_timeout(2000)  # it is drawn, and plays
    if page.viewport_size and page.viewport_size["width"] < 700:
        page.locator(".waveform").first.scroll_into_view_if_needed()
    shoot()


def candidates(page: Page, url: str, shoot: Shoot) -> None:
    """Three of one request beside each other, the second of which is heard."""
    page.goto(f"{url}/#make")
    page.get_by_label("What do you want to hear?").fill("a gate creaks in the wind")
    page.get_by_label("Candidates", exact=True).fill("3")
    page.get_by_label("What do you want to hear?").press("Enter")
    beside = page.get_by_role("region", name="Side by side: a gate creaks in the wind")
    expect(beside.get_by_role("listitem")).to_have_count(3, timeout=60_000)
    beside.get_by_role("button", name="Candidate 2").first.click()
    expect(beside.locator(".candidate.heard")).to_be_visible()
    page.wait_for_timeout(1000)
    beside.evaluate("shown => shown.scrollIntoView({block: 'end'})")
    shoot()


def library(page: Page, url: str, shoot: Shoot) -> None:
    """The grid of what is kept."""
    page.goto(f"{url}/#library")
    page.wait_for_load_state("networkidle")  # every tile has its picture
    shoot()


def live(page: Page, url: str, shoot: Shoot) -> None:
    """The pool at work."""
    page.goto(f"{url}/#live")
    with busy(url):
        expect(page.locator(".live-job").first).to_be_visible()
        page.wait_for_timeout(12_000)  # columns to look at
        page.get_by_role("button", name="Since the start").click()
        page.evaluate("() => window.scrollTo(0, 0)")
        shoot()


def cache(page: Page, url: str, shoot: Shoot) -> None:
    """What takes room, and what would go."""
    page.goto(f"{url}/#cache")
    page.wait_for_load_state("networkidle")
    shoot()


VIEWS: dict[str, Callable[[Page, str, Shoot], None]] = {
    "make": make, "candidates": candidates, "library": library, "live": live, "cache": cache
}  # fmt: skip


def shrink(path: Path) -> None:
    """Write a picture anew with fewer colours, where it is too large for what lies in a repository."""
    for colours in (256, 128, 64):
        if path.stat().st_size > MOST_BYTES:
            with Image.open(path) as picture:
                few = picture.convert("RGB").quantize(colours, kmeans=1, dither=Image.Dither.NONE)
            few.save(path, optimize=True)


def take(browser: Browser, url: str, name: str, *, dark: bool, width: int, height: int, to: Path) -> None:
    """Take one picture."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.on("console", lambda said: print(f"{name}: {said.type}: {said.text}"))
    VIEWS[name](page, url, lambda: page.screenshot(path=to))
    context.close()
    shrink(to)
    print(f"{to.name}: {to.stat().st_size / 1000:.0f} kB")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the pictures of docs/console.md.")
    parser.add_argument("views", nargs="*", choices=[*VIEWS, []], help="only these")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    given = parser.parse_args()
    if not given.chromium:
        print("there is no chromium: apt-get install chromium, or --chromium PROGRAM", file=sys.stderr)
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place, served(Path(place)) as url, sync_playwright() as playwright:
        fill(url)
        print(f"served and filled in {time.monotonic() - began:.0f} s")
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for name in given.views or VIEWS:
            take(browser, url, name, dark=False, width=1280, height=880, to=given.out / f"console_{name}.png")
            take(browser, url, name, dark=True, width=390, height=780, to=given.out / f"console_{name}_phone.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
