"""Answers in time in the view *Make*: what stands in is heard at once, and the sound itself takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.axe import stumbles
from tests.browser.conftest import OpenTab
from tests.browser.making import card, write
from tests.support.gateways import Gateway, running
from tests.support.served import Served


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before a pool with a slow engine, and the built-in one on a worker of its own."""
    workers = [{"name": "slow", "engines": ["stage"], "credit": 1}, {"name": "quick", "engines": ["procedural"]}]
    with Served(tmp_path_factory.mktemp("s"), workers=workers) as served:
        served.ready()
        gateway = Gateway(served.place, served.endpoint)
        with running(gateway):
            yield gateway
        served.signal()
        served.wait()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


def asked_for(page: Page, prompt: str) -> None:
    write(page, prompt, seconds=0.4, loop=True)
    page.locator("summary", has_text="More").first.click()
    page.get_by_label("Something at once").check()
    page.get_by_label("What do you want to hear?").press("Enter")
    expect(card(page, prompt)).to_contain_text("Approximate: it stands in")


def test_the_sound_itself_takes_the_place_of_what_stands_in_while_it_is_heard(
    open_tab: OpenTab, door: Gateway, gate: Path
) -> None:
    tab = open_tab(address=door.url)
    page = tab.open("/#make")
    prompt = f"hold {gate}"
    asked_for(page, prompt)
    sound = card(page, prompt)
    expect(sound.get_by_role("button", name="Pause")).to_be_visible()
    expect(sound).to_contain_text("The sound as it was asked for is being made")
    expect(sound).to_contain_text("Generating, 2 of 4")
    sound.get_by_role("button", name="Pause").focus()
    first = tab.heard(turns=1).samples
    gate.touch()
    expect(sound).to_contain_text("This is the sound as it was asked for")
    expect(page.locator("#announcer")).to_contain_text("This is the sound as it was asked for")
    expect(sound.get_by_role("button", name="Pause")).to_be_focused()
    expect(sound).not_to_contain_text("Approximate")
    expect(sound.locator(".tag", has_text="stage")).to_be_visible()
    page.wait_for_function("played => window.__started.length > played", arg=1)
    better = tab.heard(turns=1)
    assert better.loop and (better.samples.shape != first.shape or abs(better.samples - first).max() > 0.01)
    page.reload()
    expect(card(page, prompt)).to_contain_text("This is the sound as it was asked for")
    expect(card(page, prompt).locator(".tag", has_text="stage")).to_be_visible()


def test_who_is_content_with_what_stands_in_keeps_it(open_tab: OpenTab, door: Gateway, gate: Path) -> None:
    page = open_tab(address=door.url).open("/#make")
    prompt = f"hold {gate}"
    asked_for(page, prompt)
    card(page, prompt).get_by_role("button", name="Keep this one").click()
    expect(card(page, prompt)).to_contain_text("not made any more")
    expect(card(page, prompt)).to_contain_text("Approximate: it stands in")


def test_a_time_to_answer_within_is_asked_for_and_kept_in_the_form(
    open_tab: OpenTab, door: Gateway, gate: Path
) -> None:
    tab = open_tab(address=door.url)
    page = tab.open("/#make")
    page.locator("summary", has_text="More").first.click()
    page.get_by_label("Answer within").fill("2.5")
    write(page, f"hold {gate}", seconds=0.4, loop=False)
    with page.expect_request(lambda one: one.method == "POST" and one.url.endswith("/v1/sounds")) as asked:
        page.get_by_label("What do you want to hear?").press("Enter")
    told = asked.value.post_data_json
    assert (told["deadline_ms"], told["best_by_deadline"], told["upgrade"]) == (2500, True, True)
    expect(card(page, f"hold {gate}")).to_contain_text("Approximate: it stands in")
    page.reload()
    expect(page.get_by_label("Answer within")).to_have_value("2.5")
    sound = card(page, f"hold {gate}")
    sound.locator("summary[aria-label=More]").click()
    sound.get_by_role("button", name="Put it into the form").click()
    expect(page.get_by_label("Answer within")).to_have_value("2.5")
    expect(sound.get_by_role("button", name="Keep this one")).to_be_visible()
    assert not stumbles(page)
