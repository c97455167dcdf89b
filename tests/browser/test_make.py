"""The view *Make*: a sound is asked for, followed, heard, judged and taken along; nothing typed is lost."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from playwright.sync_api import Page, expect
from tests.browser.axe import stumbles
from tests.browser.conftest import OpenTab
from tests.browser.making import card, made, write
from tests.support.gateways import Gateway, Pool, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.key_file import HttpKey, create_key


@contextlib.contextmanager
def client_of(gateway: Gateway, **headers: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with client_of(gateway) as client:
        yield client


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A pool whose engine does as its prompt says, e.g. ``hold FILE`` until there is that file."""
    with Served(tmp_path_factory.mktemp("s")) as served:
        yield served.ready()
        served.signal()
        served.wait()


@pytest.fixture(scope="module")
def stage_door(stage: Served) -> Iterator[Gateway]:
    gateway = Gateway(stage.place, stage.endpoint)
    with running(gateway):
        yield gateway


def kept(http: httpx.Client, words: str) -> list[dict[str, Any]]:
    """What the library has for these words, the newest first."""
    found: list[dict[str, Any]] = http.get("/v1/sounds", params={"words": words}).json()["sounds"]
    return found


def metadata(http: httpx.Client, words: str) -> dict[str, Any]:
    told: dict[str, Any] = http.get(f"/v1/sounds/{kept(http, words)[0]['id']}").json()["metadata"]
    return told


def more(page: Page) -> None:
    page.locator("summary", has_text="More").first.click()


def test_who_has_never_seen_it_makes_loops_finds_and_rates_a_sound(open_tab: OpenTab, http: httpx.Client) -> None:
    tab = open_tab()
    page = tab.open("/")
    page.get_by_role("button", name="calm forest with birdsong").click()
    sound = card(page, "calm forest with birdsong")
    expect(sound.get_by_role("button", name="Pause")).to_be_visible()
    assert tab.heard(turns=1).loop
    expect(sound.get_by_role("button", name="Loop")).to_have_attribute("aria-pressed", "true")
    sound.get_by_role("radio", name="4 stars").check(force=True)
    eventually(lambda: kept(http, "calm forest birdsong")[0].get("rating") == 4, "the rating is kept")
    sound.get_by_role("button", name="Favourite").click()
    eventually(lambda: kept(http, "calm forest birdsong")[0]["favourite"], "it is a favourite")
    sound.get_by_role("radio", name="4 stars").click(force=True)
    eventually(lambda: not kept(http, "calm forest birdsong")[0].get("rating"), "the rating is taken back")
    sound.get_by_role("button", name="Pause").click()
    expect(sound.get_by_role("button", name="Play calm")).to_be_visible()
    sound.locator("summary[aria-label=More]").click()
    sound.get_by_role("link", name="Show it in the library").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Library")
    expect(page.get_by_role("searchbox")).to_have_value("calm forest with birdsong")
    expect(page.locator("main")).to_contain_text("calm forest with birdsong")


def test_everything_that_the_engine_lets_one_choose_is_asked_for(open_tab: OpenTab, http: httpx.Client) -> None:
    page = open_tab().open("/#make")
    engine = http.get("/v1/engines").json()["engines"][0]
    page.get_by_label("Made by").select_option(engine["name"])
    more(page)
    for option in engine["options"]:
        control = page.get_by_label(option["name"].capitalize(), exact=True)
        expect(control).to_be_visible()
        if option["choices"]:
            listed = control.locator("option").evaluate_all("all => all.map(one => one.value)")
            assert listed == ["", *option["choices"]]
        else:
            expect(control).to_have_attribute("max", f"{option['high']:g}")
    page.get_by_label("Layers").fill("2")
    page.get_by_label("Space", exact=True).select_option("hall")
    page.get_by_label("Not in it").fill("thunder")
    page.get_by_label("Seed", exact=True).fill("6171966986201984631")
    page.get_by_label("Candidates").fill("2")
    page.get_by_label("Namespace").fill("level-1")
    page.get_by_label("Loudness").select_option("web")
    expect(page.get_by_label("Steps")).to_be_hidden()
    sound = made(page, "footsteps in snow", seconds=0.7, loop=False)
    expect(sound).to_contain_text("700 ms")
    found = http.get("/v1/sounds", params={"words": "footsteps snow", "namespace": "level-1"}).json()["sounds"]
    told = http.get(f"/v1/sounds/{found[0]['id']}", params={"namespace": "level-1"}).json()["metadata"]
    assert told["options"] == {"layers": 2, "space": "hall"} and told["engine"] == engine["name"]
    assert told["base_seed"] == 6171966986201984631, "a seed is whole beyond what JavaScript counts exactly"
    assert told["negative_prompt"] == "thunder" and told["candidates_requested"] == 2 and told["duration_s"] == 0.7
    sound.get_by_text("How it was made").click()
    expect(sound.get_by_role("row", name="Seed")).to_contain_text("6171966986201984631")


def test_words_that_make_a_bad_sound_are_told_of_before(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make")
    write(page, "an epic cool sound")
    found = page.get_by_role("list", name="About these words")
    expect(found).to_contain_text("it does not say what makes the sound", ignore_case=True)
    write(page, "rain on a tin roof")
    expect(found.get_by_role("listitem")).to_have_count(0)


def test_a_place_in_the_queue_is_told_and_a_sound_is_cancelled(
    open_tab: OpenTab, stage_door: Gateway, tmp_path: Path
) -> None:
    page = open_tab(address=stage_door.url).open("/#make")
    first, next_, second = f"hold {tmp_path}/go", "a tone behind it", "a tone behind both"
    for prompt in (first, next_, second):
        write(page, prompt, seconds=0.2, loop=False)
        page.get_by_role("button", name="Make it").click()
        expect(card(page, prompt).get_by_role("button", name="Cancel")).to_be_visible()
    expect(card(page, first)).to_contain_text("Generating, 2 of 4")
    expect(card(page, first).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "29")
    expect(card(page, next_)).to_contain_text("Up next")
    expect(card(page, second)).to_contain_text("1 sound goes first")
    expect(card(page, second).get_by_role("progressbar")).to_be_visible()
    card(page, second).get_by_role("button", name="Cancel").click()
    expect(card(page, second)).to_contain_text("Cancelled")
    expect(card(page, first).get_by_role("button", name="Cancel")).to_be_visible()
    (tmp_path / "go").touch()
    expect(card(page, first)).to_contain_text("Loudness")
    card(page, second).get_by_role("button", name="Try again").click()
    expect(card(page, second)).to_contain_text("Loudness")


def test_many_sounds_under_way_do_not_hold_the_page_up(
    open_tab: OpenTab, stage_door: Gateway, tmp_path: Path
) -> None:
    """A browser has six connections to one server; each sound that is listened to would take one."""
    page = open_tab(address=stage_door.url).open("/#make")
    prompts = [f"hold {tmp_path}/{number}" for number in range(8)]
    for prompt in prompts:
        write(page, prompt, seconds=0.2, loop=False)
        page.get_by_role("button", name="Make it").click()
        expect(card(page, prompt).get_by_role("progressbar")).to_be_visible()
    expect(card(page, prompts[-1])).to_contain_text("6 sounds go first")
    assert page.evaluate("() => fetch('/v1/engines').then(answer => answer.status)") == 200
    for prompt in prompts[1:]:
        card(page, prompt).get_by_role("button", name="Cancel").click()
        expect(card(page, prompt)).to_contain_text("Cancelled")
    (tmp_path / "0").touch()
    expect(card(page, prompts[0])).to_contain_text("Loudness")


def test_what_cannot_be_asked_for_is_shown_where_it_is(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make")
    write(page, "rain", seconds=1, loop=False)
    more(page)
    page.get_by_label("Seed", exact=True).fill("twelve")
    more(page)
    expect(page.get_by_label("Seed", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_label("Seed", exact=True)).to_be_focused()
    expect(page.get_by_role("article")).to_have_count(0)


def test_what_went_wrong_is_told(open_tab: OpenTab, stage_door: Gateway) -> None:
    page = open_tab(address=stage_door.url).open("/#make")
    write(page, "fail on purpose", seconds=0.2, loop=False)
    page.get_by_role("button", name="Make it").click()
    sound = card(page, "fail on purpose")
    expect(sound.get_by_role("alert")).to_be_visible()
    sound.get_by_role("button", name="Change the words").click()
    expect(page.get_by_label("What do you want to hear?")).to_be_focused()


def test_why_a_kept_sound_was_given_and_that_it_was_not_what_was_meant(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make")
    words = "a gong in an empty hall"
    expect(made(page, words, seconds=0.4, loop=False)).to_contain_text("New")
    again = made(page, words)
    expect(again).to_contain_text("Kept: the same words")
    again.get_by_role("button", name="Why this hit?").click()
    expect(again).to_contain_text(f"A kept sound was given: the same words: '{words}'")
    again.get_by_role("button", name="Not what I meant").click()
    expect(again).to_contain_text("Not offered again for these words")
    expect(made(page, words)).to_contain_text("New")
    card(page, words).get_by_role("button", name="Another variant").click()
    expect(page.get_by_role("article", name=words)).to_have_count(4)
    expect(card(page, words)).to_contain_text("New")
    card(page, words).get_by_role("button", name="Why a new one?").click()
    expect(card(page, words)).to_contain_text("a new one was asked for, whatever is kept")


def test_a_sound_is_taken_along_in_any_format_and_as_code(
    open_tab: OpenTab, gateway: Gateway, pool: Pool, tmp_path: Path
) -> None:
    tab = open_tab()
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tab.open("/#make")
    sound = made(page, "it's a bell, isn't it", seconds=0.5, loop=False)
    for name, rate, subtype in (("WAV, 24 bits", 44100, "PCM_24"), ("FLAC", 44100, "PCM_24"), ("MP3", 44100, None)):
        sound.locator("summary", has_text="Download").click()
        with page.expect_download() as saved:
            sound.get_by_role("button", name=name).click()
        end = name.split(",")[0].lower()
        assert saved.value.suggested_filename == f"it_s_a_bell_isn_t_it.{end}"
        info = soundfile.info(io.BytesIO(Path(saved.value.path()).read_bytes()))
        assert info.samplerate == rate and abs(info.duration - 0.5) < 0.06 and subtype in (None, info.subtype)

    def copied(kind: str) -> str:
        sound.locator("summary", has_text="Copy as").click()
        sound.get_by_role("button", name=kind).click()
        return str(eventually(lambda: page.evaluate("() => navigator.clipboard.readText()"), "it is copied"))

    run = {"capture_output": True, "timeout": PATIENCE_S, "cwd": tmp_path, "check": True}
    subprocess.run(["sh", "-c", copied("curl").replace("-o ", "--fail -o ")], **run)
    assert soundfile.info(tmp_path / "it_s_a_bell_isn_t_it.wav").duration == 0.5
    command = shlex.split(copied("Command line"))
    assert command[:2] == ["audio-pool", "generate"]
    ours = [sys.executable, "-m", "audio_pool.cli"]
    told = subprocess.run([*ours, *command[1:], "--overwrite", "--connect", pool.endpoint, "--json"], **run)
    assert json.loads(told.stdout)["cached"] is True, "the very sound that is kept"
    script = copied("Python").replace("AudioClient()", f"AudioClient({pool.endpoint!r})")
    subprocess.run([sys.executable, "-c", script], **run)


def test_words_that_begin_with_a_dash_are_no_option(open_tab: OpenTab, pool: Pool, tmp_path: Path) -> None:
    tab = open_tab()
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tab.open("/#make")
    sound = made(page, "-5 degrees of wind", seconds=0.5, loop=False)
    sound.locator("summary", has_text="Copy as").click()
    sound.get_by_role("button", name="Command line").click()
    command = str(eventually(lambda: page.evaluate("() => navigator.clipboard.readText()"), "it is copied"))
    words = shlex.split(command)
    at = words.index("--")
    ours = [sys.executable, "-m", "audio_pool.cli", *words[1:at], "--connect", pool.endpoint, "--json", *words[at:]]
    told = subprocess.run(ours, capture_output=True, timeout=PATIENCE_S, cwd=tmp_path, check=True)
    assert json.loads(told.stdout)["cached"] is True


def test_a_prompt_of_two_thousand_letters_leaves_room_for_its_sound(open_tab: OpenTab) -> None:
    tab = open_tab(width=320, height=640)
    page = tab.open("/#make")
    expect(page.get_by_role("button", name="Make it")).to_be_in_viewport(ratio=1.0)
    tabs = page.get_by_role("navigation").bounding_box()
    button = page.get_by_role("button", name="Make it").bounding_box()
    assert tabs and button and button["y"] + button["height"] <= tabs["y"], "not behind the tabs"
    sound = made(page, "rain " * 399 + "drop", seconds=0.5, loop=False)
    title = sound.get_by_role("heading").first.bounding_box()
    assert title and title["height"] < 120
    assert tab.sideways() <= 0


def test_a_page_that_is_loaded_anew_has_what_was_typed_and_made(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make")
    made(page, "a creaking door", seconds=0.6, loop=False)
    write(page, "half a thoug", seconds=7, loop=True)
    more(page)
    page.get_by_label("Layers").fill("3")
    page.reload()
    expect(page.get_by_label("What do you want to hear?")).to_have_value("half a thoug")
    expect(page.get_by_label("Seconds", exact=True)).to_have_value("7")
    expect(page.get_by_role("switch", name="Loop")).to_be_checked()
    expect(page.get_by_label("Layers")).to_have_value("3")
    expect(card(page, "a creaking door")).to_contain_text("Loudness")
    page.get_by_role("link", name="Live").click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Make a sound")
    page.go_back()
    expect(page.get_by_label("What do you want to hear?")).to_have_value("half a thoug")
    card(page, "a creaking door").get_by_role("button", name="Play").click()
    expect(card(page, "a creaking door").get_by_role("button", name="Pause")).to_be_visible()


def test_a_link_brings_what_is_wanted(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make?prompt=a+kettle+whistles&duration_s=3&loop=true&engine=kind:music")
    expect(page.get_by_label("What do you want to hear?")).to_have_value("a kettle whistles")
    expect(page.get_by_label("Made by")).to_have_value("kind:music")
    expect(page.get_by_role("switch", name="Loop")).to_be_checked()


def test_a_gateway_that_is_killed_and_comes_back_costs_nothing(
    open_tab: OpenTab, stage: Served, tmp_path: Path
) -> None:
    place = stage.place / "killed"
    gateway = Gateway(place, stage.endpoint)
    with running(gateway):
        tab = open_tab(address=gateway.url)
        tab.expects("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE")
        page = tab.open("/#make")
        prompt = f"hold {tmp_path}/later"
        write(page, prompt, seconds=0.2, loop=False)
        page.get_by_role("button", name="Make it").click()
        expect(card(page, prompt)).to_contain_text("Generating")
        gateway.process.kill()
        expect(page.locator("#banner")).to_contain_text("The server cannot be reached")
        expect(card(page, prompt)).to_contain_text("Waiting for the server")
        write(page, "asked while it is away", seconds=0.2, loop=False)
        page.get_by_role("button", name="Make it").click()
        expect(card(page, "asked while it is away")).to_contain_text("Waiting for the server")
    bind = re.sub(r".*//", "", gateway.url)
    with running(Gateway(place, stage.endpoint, "--bind", bind)):
        expect(page.locator("#banner")).to_be_empty()
        (tmp_path / "later").touch()
        expect(card(page, prompt)).to_contain_text("Loudness")
        expect(card(page, "asked while it is away")).to_contain_text("Loudness")
        page.goto("about:blank")  # nothing asks any more when the gateway ends


def test_a_key_is_asked_for_once_and_may_be_remembered(open_tab: OpenTab, pool: Pool) -> None:
    file = pool.place / "console_keys.json"
    key = create_key(file, lambda sha256: HttpKey(name="any", sha256=sha256, namespace="mine"))
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="keyed")
    with running(gateway):
        tab = open_tab(address=gateway.url)
        tab.expects("401")
        page = tab.open("/#make")
        dialog = page.get_by_role("dialog", name="A key is needed")
        for shown in ("no such key", key):
            dialog.get_by_label("Key", exact=True).fill(shown)
            dialog.get_by_label("Remember it").set_checked(shown == key)
            dialog.get_by_role("button", name="Use this key").click()
            expect(dialog if shown != key else page.get_by_text("Auto: procedural").first).to_be_attached()
        sound = made(page, "a coin falls", seconds=0.4, loop=False)
        sound.get_by_text("How it was made").click()
        expect(sound).to_contain_text("namespace mine")
        expect(sound.get_by_role("button", name="Pause").or_(sound.get_by_role("button", name="Play"))).to_be_visible()
        other = tab.context.new_page()
        other.goto(gateway.url)
        expect(other.get_by_text("Auto: procedural").first).to_be_attached()
        assert key not in other.evaluate("() => location.href + document.documentElement.outerHTML")


@pytest.mark.parametrize(("width", "dark"), [(320, True), (1440, False)], ids=["narrow-dark", "wide-light"])
def test_a_sound_is_there_for_everybody(open_tab: OpenTab, width: int, dark: bool) -> None:
    tab = open_tab(width=width, dark=dark)
    page = tab.open("/#make")
    sound = made(page, "hail on a window", seconds=1, loop=True)
    sound.get_by_role("button", name=re.compile("^Why")).click()
    expect(sound.get_by_text("Nothing else").or_(sound.get_by_text("What else"))).to_be_visible()
    sound.get_by_text("How it was made").click()
    more(page)
    assert tab.sideways() <= 0
    assert stumbles(page) == []


def test_by_the_keyboard_alone(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make")
    expect(page.get_by_text("Auto: procedural").first).to_be_attached()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            told = page.evaluate(
                """() => {
                  const one = document.activeElement;
                  return one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent;
                }"""
            )
            if told and told.strip().startswith(name):
                return
        raise AssertionError(f"the Tab key does not lead to {name!r}")

    tab_to("What do you want to hear?")
    page.keyboard.type("a single drum hit")
    tab_to("Loop")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    sound = card(page, "a single drum hit")
    expect(sound.get_by_role("radiogroup")).to_be_visible()
    tab_to("Pause a single drum hit")
    page.keyboard.press("Space")
    expect(sound.get_by_role("button", name="Play a single")).to_be_focused()
    tab_to("Position in a single drum hit")
    page.keyboard.press("End")
    expect(page.locator(":focus")).to_have_attribute("aria-valuenow", "100")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(":focus")).to_have_attribute("aria-valuenow", "2")
    tab_to("1 star")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(sound.get_by_role("radio", name="3 stars")).to_be_checked()


def test_on_a_slow_network_it_says_that_it_waits(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.open("/#make")
    expect(page.get_by_text("Auto: procedural").first).to_be_attached()
    tab.slow()
    write(page, "wind in a chimney", seconds=3, loop=True)
    page.get_by_role("button", name="Make it").click()
    sound = card(page, "wind in a chimney")
    expect(sound.get_by_role("progressbar")).to_be_visible()
    expect(sound.locator(".button.play[aria-busy]")).to_be_visible()
    tab.offline(False)
    expect(sound.get_by_role("button", name="Pause")).to_be_visible()
