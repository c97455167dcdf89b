"""Candidates side by side in *Make*: heard in turns at the same place and equally loud, by keys, blind; one is kept."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Locator, Page, expect
from tests.browser.axe import stumbles
from tests.browser.browsing import Tab, opened
from tests.browser.conftest import OpenTab
from tests.support.gateways import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S, eventually

SECONDS = 2.0
STOPS = """
window.__stopped = [];
const stop = AudioBufferSourceNode.prototype.stop;
AudioBufferSourceNode.prototype.stop = function (...when) {
  window.__stopped.push(when[0] ?? this.context.currentTime);
  return stop.apply(this, when);
};
"""
"""Notes until when each buffer that is left is heard."""


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def side_by_side(page: Page, words: str, *, loop: bool = True, count: int = 3) -> Locator:
    """Ask for so many candidates by the form; return them once they are there."""
    page.get_by_label("What do you want to hear?").fill(words)
    page.get_by_label("Seconds", exact=True).fill(f"{SECONDS:g}")
    page.get_by_role("switch", name="Loop").set_checked(loop)
    page.get_by_label("Candidates", exact=True).fill(str(count))
    page.get_by_label("What do you want to hear?").press("Enter")
    beside = page.get_by_role("region", name=f"Side by side: {words}")
    expect(beside.get_by_role("listitem")).to_have_count(count)
    return beside


def hearing(beside: Locator) -> str:
    """The name of the one that is heard."""
    pressed = beside.locator(".candidate-hear[aria-pressed=true]")
    expect(pressed).to_have_count(1)
    return str(pressed.locator("span").first.inner_text())


def starts(tab: Tab) -> list[dict[str, float]]:
    """When each buffer began, on its context's clock, and from which place in it."""
    told: list[dict[str, float]] = tab.page.evaluate(
        "() => window.__started.map(({when, node}) => "
        "({at: when[1] ?? 0, when: when[0], length: node.buffer.duration}))"
    )
    return told


def kept(http: httpx.Client, words: str) -> dict[str, Any]:
    """The metadata of what a request for these words finds."""
    asked = {"prompt": words, "duration_s": SECONDS, "loop": True, "candidates": 3, "format": "flac"}
    told: dict[str, Any] = http.post("/v1/sounds", json=asked).json()["metadata"]
    return told


def test_keys_switch_between_them_at_the_same_place_and_equally_loud(open_tab: OpenTab, http: httpx.Client) -> None:
    tab = open_tab()
    tab.page.add_init_script(STOPS)
    page = tab.open("/#make")
    beside = side_by_side(page, "rain on a tin roof")
    beside.get_by_role("button", name="Candidate 2", exact=False).first.click()
    expect(beside.locator(".candidate.heard")).to_contain_text("Candidate 2")
    page.keyboard.press("3")
    expect(beside.locator(".candidate.heard")).to_contain_text("Candidate 3")
    page.keyboard.press("ArrowRight")  # around
    expect(beside.locator(".candidate.heard")).to_contain_text("Candidate 1")
    page.keyboard.press("ArrowLeft")
    expect(beside.locator(".candidate.heard")).to_contain_text("Candidate 3")
    *_, second, third, first, again = starts(tab)
    stops = page.evaluate("() => window.__stopped")[-3:]
    for stopped, started in zip(stops, (third, first, again), strict=True):
        assert stopped > started["when"], "one is heard until the next is"
    for before, after in ((second, third), (third, first), (first, again)):
        place = (before["at"] + after["when"] - before["when"]) % after["length"]
        apart = abs(place - after["at"])
        assert min(apart, after["length"] - apart) < 0.01, "it goes on where the other was"
    heard = tab.heard(turns=1)
    assert heard.loop and heard.frames == round(SECONDS * heard.rate) and heard.rate == heard.context_rate
    # what is heard is the file, turned down to the quietest of the three
    job = page.evaluate("() => JSON.parse(sessionStorage.getItem('audio-pool.session'))[0].jobId")
    told = http.get(f"/v1/jobs/{job}").json()["sound"]["metadata"]
    levels = {told["candidates"].index(one) + 1: one for one in told["candidates"]}
    assert len(levels) == 3 and len(told["candidates_kept"]) == 2
    third_told = next(one for one in told["candidates_kept"] if one["number"] == 3)
    every = [told["loudness_lufs"], *(one["loudness_lufs"] for one in told["candidates_kept"])]
    gain = 10 ** ((min(every) - third_told["loudness_lufs"]) / 20)
    file, _ = soundfile.read(io.BytesIO(http.get(third_told["url"]).content), dtype="float32", always_2d=True)
    assert np.abs(heard.samples - file * gain).max() < 1e-4
    # typing words is no choice
    page.get_by_label("What do you want to hear?").press("1")
    expect(beside.locator(".candidate.heard")).to_contain_text("Candidate 3")
    beside.locator(".candidate.heard .candidate-hear").click()
    expect(beside.locator(".candidate.heard")).to_have_count(0)
    assert stumbles(page) == []


def test_who_hears_the_sound_itself_goes_on_from_there(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.open("/#make")
    beside = side_by_side(page, "wind in the trees")
    expect(page.get_by_role("button", name="Pause wind in the trees")).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("2")
    expect(beside.locator(".candidate.heard")).to_contain_text("Candidate 2")
    sound, candidate = starts(tab)[-2:]
    place = (sound["at"] + candidate["when"] - sound["when"]) % candidate["length"]
    assert abs(place - candidate["at"]) < 0.01
    page.keyboard.press("1")  # the sound itself, among them
    expect(beside.locator(".candidate.heard")).to_contain_text("Kept")


def test_blind_nothing_tells_which_is_which_until_they_are_revealed(open_tab: OpenTab) -> None:
    page = open_tab().open("/#make")
    beside = side_by_side(page, "a stream over stones", count=4)
    beside.get_by_role("button", name="Blind").click()
    names = [one.locator("span").first.inner_text() for one in beside.locator(".candidate-hear").all()]
    assert names == ["A", "B", "C", "D"]
    expect(beside).not_to_contain_text(re.compile("Candidate [0-9]|Kept|Seed"))
    assert not any(one.is_visible() for one in beside.locator(".spectrogram").all())
    page.keyboard.press("3")  # the focus is among them
    expect(beside.locator(".candidate.heard")).to_contain_text("C")
    beside.get_by_role("button", name="Reveal").click()
    expect(beside.get_by_role("listitem").first).to_contain_text("Candidate 1")
    assert sum(one.is_visible() for one in beside.locator(".spectrogram").all()) == 4
    assert hearing(beside).startswith("Candidate")


def test_one_of_them_is_kept_and_that_is_taken_back(open_tab: OpenTab, http: httpx.Client) -> None:
    words = "a crackling fire"
    tab = open_tab()
    page = tab.open("/#make")
    beside = side_by_side(page, words)
    before = kept(http, words)
    third = beside.get_by_role("listitem").nth(2)
    third.get_by_role("button", name="Keep this one: Candidate 3").click()
    expect(third).to_contain_text("Kept")
    expect(beside.locator(".tag", has_text="Kept")).to_have_count(1)
    after = kept(http, words)
    assert after["entry_id"] != before["entry_id"] and after["chosen"]["instead_of"] == before["seed"]
    # another look at the page finds what was chosen
    page.reload()
    beside = page.get_by_role("region", name=f"Side by side: {words}")
    expect(beside.get_by_role("listitem").nth(2)).to_contain_text("Kept")
    beside.get_by_role("listitem").nth(0).get_by_role("button", name="Keep this one: Candidate 1").click()
    expect(beside.get_by_role("listitem").nth(0)).to_contain_text("Kept")
    assert kept(http, words)["seed"] == before["seed"]
    page.get_by_role("button", name="Undo").click()
    expect(beside.get_by_role("listitem").nth(2)).to_contain_text("Kept")
    eventually(lambda: kept(http, words)["seed"] == after["seed"], "it is taken back")


def test_on_a_phone_in_the_dark_they_stand_below_each_other(open_tab: OpenTab) -> None:
    tab = open_tab(width=320, dark=True)
    page = tab.open("/#make")
    beside = side_by_side(page, "a slow heartbeat", loop=False, count=2)
    expect(beside.locator(".candidate").first).to_be_visible()
    assert tab.sideways() <= 0 and stumbles(page) == []


def test_one_that_is_kept_no_longer_is_made_again_by_its_seed(browser: Browser, tmp_path: Path) -> None:
    pool = Pool(tmp_path / "p", config='[cache]\nencoder = "off"\ncandidates_keep_s = 4.0\n')
    with running(pool):
        pool.hear("ready")
        gateway = Gateway(pool.place, pool.endpoint)
        with running(gateway), opened(browser, gateway.url) as tab:
            tab.expects("404")
            page = tab.open("/#make")
            side_by_side(page, "rain")
            page.reload()
            beside = page.get_by_role("region", name="Side by side: rain")
            second = beside.get_by_role("listitem").nth(1)
            expect(second).to_contain_text("Make it again")
            seed = second.locator(".whole dd").inner_text()
            second.get_by_role("button", name="Make it again").click()
            expect(page.get_by_role("article")).to_have_count(2)
            again = page.get_by_role("article").first
            expect(again.get_by_role("radiogroup")).to_be_visible()
            again.get_by_text("How it was made").click()
            expect(again.get_by_role("row", name="Seed")).to_contain_text(seed)
