"""What the page does when what it leans on goes away and comes back, and on a network that takes its time."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.browsing import Tab
from tests.browser.conftest import OpenTab
from tests.support.gateways import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S, eventually

GONE = "The server cannot be reached."
BROKEN = r"Failed to load resource|ERR_|net::"
"""What the browser itself says of requests that reach nobody."""


def again(gateway: Gateway, pool: Pool) -> Gateway:
    """Another gateway at the same address."""
    return Gateway(gateway.log.parent, pool.endpoint, "--bind", gateway.url.removeprefix("http://"))


def kill(process: Gateway | Pool) -> None:
    process.process.send_signal(signal.SIGKILL)
    process.process.wait(PATIENCE_S)


@pytest.fixture
def flaky(open_tab: OpenTab) -> OpenTab:
    """Opens a tab whose requests may fail: the test sees to it that they do."""

    def open_one(**how: str) -> Tab:
        tab = open_tab(**how)
        tab.expects(BROKEN)
        return tab

    return open_one


def test_a_gateway_that_is_killed_is_missed_and_taken_up_again(flaky: OpenTab, pool: Pool, tmp_path: Path) -> None:
    first = Gateway(tmp_path, pool.endpoint)
    with running(first):
        tab = flaky(address=first.url)
        page = tab.open("/#live")
        expect(page.locator(".live-workers > li")).to_be_visible()
        page.mouse.wheel(0, 2000)
        kill(first)
        expect(page.get_by_text(GONE)).to_be_in_viewport()  # however far one has scrolled
        expect(page.locator(".live-workers > li")).to_be_visible(), "what was known stays to be seen"
        with running(again(first, pool)):
            expect(page.get_by_text(GONE)).to_have_count(0)
            seen = page.locator(".live-head").inner_text()
            expect(page.locator(".live-head")).not_to_have_text(seen)  # it goes on: seconds pass
            eventually(lambda: tab.streams() == 1, "one stream, and not one more for each time it was cut")
            page.goto("about:blank")


def test_a_pool_that_is_killed_is_down_until_it_is_back(flaky: OpenTab, tmp_path: Path) -> None:
    first = Pool(tmp_path / "p")
    with running(first):
        first.hear("ready")
        with running(Gateway(tmp_path, first.endpoint)) as gateway:
            assert isinstance(gateway, Gateway)
            tab = flaky(address=gateway.url)
            page = tab.open("/#live")
            expect(page.locator(".live-head .tag")).to_have_text("ready")
            kill(first)
            expect(page.locator(".live-head .tag")).to_have_text("down")
            expect(page.locator("#announcer")).to_contain_text("The pool is down.")
            expect(page.locator(".live-body")).to_be_hidden()
            with running(Pool(tmp_path / "p")):
                expect(page.locator(".live-head .tag")).to_have_text("ready")
                expect(page.locator(".live-workers > li")).to_be_visible()
                assert tab.streams() == 1
                page.goto("about:blank")


def test_a_network_that_goes_and_comes_back(flaky: OpenTab) -> None:
    tab = flaky()
    page = tab.open("/#live")
    expect(page.locator(".live-workers > li")).to_be_visible()
    page.wait_for_function("() => performance.getEntriesByType('resource').some(one => one.name.endsWith('/cache.js'))")
    tab.offline()
    for view in ("Cache", "Live"):  # what was loaded is opened all the same, and says what is the matter
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.get_by_role("heading", name=view, level=1)).to_be_visible()
    expect(page.get_by_text(GONE)).to_be_visible()
    tab.offline(False)
    expect(page.get_by_text(GONE)).to_have_count(0)
    expect(page.locator(".live-workers > li")).to_be_visible()


@pytest.mark.parametrize("view", ["make", "library", "live", "cache"])
def test_a_slow_phone_s_network_shows_every_view(open_tab: OpenTab, view: str) -> None:
    tab = open_tab(width=360, height=720)
    tab.slow()
    page = tab.open(f"/#{view}")
    expect(page.locator(f".view-{view} h1").first).to_be_visible()
    expect(page.locator("main .skeleton:visible")).to_have_count(0)
    expect(page.get_by_text(GONE)).to_have_count(0)
