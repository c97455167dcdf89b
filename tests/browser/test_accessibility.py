"""Every view for those who cannot see, point or have room: axe-core's rules, the keyboard, 320 pixels, both themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from tests.browser.axe import stumbles
from tests.browser.conftest import OpenTab

VIEWS = ("make", "library", "live", "cache")


def settled(page: Page, view: str) -> Page:
    """Once a view shows what it has."""
    expect(page.locator(f"main .view-{view} h1").first).to_be_visible()
    expect(page.locator("main .skeleton")).to_have_count(0)
    return page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nobody_stumbles(open_tab: OpenTab, view: str, dark: bool) -> None:
    page = settled(open_tab(dark=dark).open(f"/#{view}"), view)
    assert stumbles(page) == []


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_lies_beside_a_narrow_window(open_tab: OpenTab, view: str) -> None:
    tab = open_tab(width=320, height=640, dark=True)
    page = settled(tab.open(f"/#{view}"), view)
    assert tab.sideways() <= 0
    assert stumbles(page) == []


def test_every_view_is_reached_by_the_keyboard_alone(open_tab: OpenTab) -> None:
    page = settled(open_tab().open("/"), "make")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    for view in ("library", "live", "cache", "make"):
        link = page.get_by_role("navigation", name="Views").get_by_role("link", name=view.title())
        for _ in range(20):
            if link.evaluate("one => one === document.activeElement"):
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        settled(page, view)
        expect(link).to_have_attribute("aria-current", "page")
        expect(page.locator("#main")).to_be_focused()
        page.keyboard.press("Shift+Tab")
        for _ in range(20):  # back to where the views are
            if page.locator(":focus").get_attribute("class") == "skip":
                break
            page.keyboard.press("Shift+Tab")


def test_a_theme_that_was_chosen_stays(open_tab: OpenTab) -> None:
    page = settled(open_tab().open("/"), "make")
    for _ in range(3):
        if page.locator("html").get_attribute("data-theme") == "dark":
            break
        page.get_by_role("button", name="Theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert stumbles(settled(page, "make")) == []
