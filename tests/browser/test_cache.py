"""The view *Cache*: how much is kept, what goes next, what is there twice, and the sound of each of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.axe import stumbles
from tests.browser.browsing import opened
from tests.support.full_library import RATE, fill
from tests.support.gateways import Gateway, Pool, running

COUNT = 60
BOUND = '[cache]\nencoder = "off"\nmax_items = 80\n'


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One with sixty sounds of at most eighty, twenty of which are there twice."""
    place = tmp_path_factory.mktemp("c")
    fill(place / "cache", COUNT)
    pool = Pool(place, config=BOUND)
    with running(pool):
        pool.hear("ready")
        yield pool


@pytest.fixture(scope="module")
def address(pool: Pool) -> Iterator[str]:
    gateway = Gateway(pool.place, pool.endpoint)
    with running(gateway):
        yield gateway.url


def section(page: Page, title: str) -> Any:
    return page.locator("section").filter(has=page.get_by_role("heading", name=title))


def asked(page: Page, path: str) -> Any:
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def test_figures_and_ages_are_told_to_eyes_and_ears(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        page = tab.open("/#cache")
        kept = section(page, "What is kept")
        expect(kept.locator("dl")).to_contain_text(f"Sounds{COUNT}")
        expect(kept.locator("svg.bars")).to_be_visible()
        ages = kept.get_by_role("table", name="Sounds by age")
        expect(ages.get_by_role("row", name=f"under a day {COUNT}")).to_be_attached()
        assert stumbles(page) == []


def test_what_goes_next_is_what_eviction_takes_and_can_be_kept_by_a_pin(browser: Browser, address: str) -> None:
    with opened(browser, address) as tab:
        page = tab.open("/#cache")
        going = section(page, "What goes next")
        expect(going).to_contain_text("at most 80 sounds may be. Nothing is too much now")
        expect(going.get_by_role("meter")).to_have_attribute("aria-valuenow", "75")
        first = going.get_by_role("listitem").first
        prompt = str(first.locator(".leaver-prompt").text_content())
        told = asked(page, "/v1/cache/eviction?limit=1")["next"][0]["sound"]
        assert told["prompt"] == prompt
        first.get_by_role("button", name="Play").click()
        expect(first.get_by_role("button", name="Stop")).to_be_visible()
        heard = tab.heard(turns=0.5)
        assert heard.rate == RATE and np.abs(heard.samples).max() > 0.01
        first.get_by_role("button", name="Stop").press("Enter")
        expect(first.get_by_role("button", name="Play")).to_be_visible()
        first.get_by_role("button", name="Pin").click()
        expect(going.get_by_text(prompt)).to_have_count(0)
        expect(going).to_contain_text("1 pinned sound is never taken")
        page.get_by_role("button", name="Take the pin off").click()
        expect(going.locator(".leaver-prompt").first).to_have_text(prompt)


def test_what_is_there_twice_is_listened_to_and_removed(browser: Browser, address: str) -> None:
    with opened(browser, address, width=320, height=640, dark=True) as tab:
        page = tab.open("/#cache")
        twice = section(page, "What is there twice")
        expect(twice).to_contain_text("20 groups with 20 sounds too many")
        assert tab.sideways() <= 0 and stumbles(page) == []
        group = twice.locator(".twice").first
        expect(group.get_by_role("listitem")).to_have_count(2)
        one = group.get_by_role("listitem").last
        one.get_by_role("button", name="Play").click()
        expect(one.get_by_role("button", name="Stop")).to_be_visible()
        group.get_by_role("checkbox").last.uncheck()
        remove = twice.get_by_role("button", name="Remove 19 sounds")
        remove.click()
        dialog = page.get_by_role("dialog", name="Remove 19 sounds?")
        dialog.get_by_role("button", name="Cancel").click()
        remove.click()
        dialog.get_by_role("button", name="Remove", exact=True).click()
        expect(twice).to_contain_text("1 group with 1 sound too many")
        assert asked(page, "/v1/cache")["total_items"] == COUNT - 19
        twice.get_by_label("What counts as the same").select_option("prompt")
        expect(twice).to_contain_text("Nothing is there twice.")


def test_who_is_no_operator_sees_no_others_sounds(browser: Browser, pool: Pool) -> None:
    file = pool.place / "keys.json"
    command = [sys.executable, "-m", "audio_pool.cli", "keys", "http", "create", str(file), "--json"]
    made = subprocess.run([*command, "--name", "guest"], capture_output=True, text=True, check=True)
    config = f'[http]\nkeys_file = "{Path(file)}"\n'
    gateway = Gateway(pool.place, pool.endpoint, config=config, name="keyed")
    with running(gateway), opened(browser, gateway.url) as tab:
        tab.expects("401|403")
        page = tab.open("/#cache")
        page.get_by_role("dialog").get_by_label("Key", exact=True).fill(json.loads(made.stdout)["key"])
        page.get_by_role("button", name="Use this key").click()
        for title in ("What goes next", "What is there twice"):
            expect(section(page, title)).to_contain_text("an operator's key shows it")
        expect(section(page, "What is kept")).to_contain_text("Sounds")
