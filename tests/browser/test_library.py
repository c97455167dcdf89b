"""The view *Library*: ten thousand sounds found, heard, judged and taken along, by mouse and by keyboard alone."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.browser.axe import stumbles
from tests.browser.browsing import Tab, opened
from tests.support.full_library import RATE, fill, heard_of
from tests.support.gateways import Gateway, Pool, running

COUNT = 10_000
OpenLibrary = Callable[..., Tab]
_COUNT_URLS = """
window.__urls = new Set();
const {createObjectURL: create, revokeObjectURL: revoke} = URL;
URL.createObjectURL = blob => { const url = create.call(URL, blob); window.__urls.add(url); return url; };
URL.revokeObjectURL = url => { window.__urls.delete(url); revoke.call(URL, url); };
"""
"""Notes the addresses of pictures and files that the page holds in memory."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway before a pool that keeps very many sounds."""
    place = tmp_path_factory.mktemp("f")
    fill(place / "cache", COUNT)
    pool = Pool(place)
    with running(pool):
        pool.hear("ready")
        gateway = Gateway(place, pool.endpoint)
        with running(gateway):
            yield gateway.url


@pytest.fixture
def library(browser: Browser, address: str) -> Iterator[OpenLibrary]:
    """What opens the view, once it shows sounds."""
    tabs: list[Any] = []

    def open_one(query: str = "", **how: int | bool) -> Tab:
        tab = opened(browser, address, **how)
        tabs.append(tab)
        shown: Tab = tab.__enter__()
        shown.open(f"/#library{query}")
        expect(cells(shown.page).first).to_be_visible()
        return shown

    yield open_one
    for tab in tabs:
        tab.__exit__(None, None, None)


def cells(page: Page) -> Locator:
    return page.get_by_role("gridcell")


def cell(page: Page, take: int) -> Locator:
    """The sound of that number."""
    return page.get_by_role("gridcell", name=re.compile(rf"take {take}\b"))


def status(page: Page) -> Locator:
    return page.locator(".library-status")


def asked(page: Page, path: str) -> Any:
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def test_ten_thousand_are_leafed_through_with_a_few_in_the_page(library: OpenLibrary) -> None:
    page = library().page
    expect(cells(page).first).to_contain_text(f"take {COUNT - 1}")
    expect(page.locator(".tile-picture[src]").first).to_be_visible()
    cells(page).first.focus()
    page.keyboard.press("Control+End")
    expect(status(page)).to_have_text("10,000 sounds")
    expect(page.locator(":focus")).to_contain_text("take 0")
    assert cells(page).count() < 150, "what is out of sight is not in the page"
    grid = page.get_by_role("grid", name="Kept sounds")
    columns = int(grid.get_attribute("aria-colcount") or 0)
    assert int(grid.get_attribute("aria-rowcount") or 0) == -(-COUNT // columns)
    row = page.get_by_role("row").filter(has=page.locator(":focus"))
    expect(row).to_have_attribute("aria-rowindex", str(-(-COUNT // columns)))
    page.keyboard.press("Control+Home")
    expect(page.locator(":focus")).to_contain_text(f"take {COUNT - 1}")
    page.mouse.wheel(0, 40_000)
    expect(cell(page, COUNT - 1)).to_have_count(1)  # the focus stays where it was
    assert cells(page).count() < 150


def test_what_one_types_is_found_at_once_and_only_what_was_typed_last(library: OpenLibrary) -> None:
    tab = library()
    page = tab.page
    search = page.get_by_label("Search")

    def slow(route: Route) -> None:
        if "text=bell&" in route.request.url:  # asked for first, answered last
            page.wait_for_timeout(50)
        route.continue_()

    page.route("**/v1/sounds?*", slow)
    search.press_sequentially("bell")
    search.press_sequentially(" rings under wat")
    expect(cells(page).first).to_contain_text("a bell rings under water")
    expect(status(page)).to_contain_text("by words alone")
    assert "text=bell+rings+under+wat" in page.url, "the address can be kept"
    search.fill("take 4321")
    expect(cells(page)).to_have_count(1)
    expect(cells(page).first).to_contain_text("take 4321")
    search.press("ArrowDown")
    expect(cell(page, 4321)).to_be_focused()
    search.fill("no such sound as this")
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(cells(page).first).to_contain_text(f"take {COUNT - 1}")


def test_filters_narrow_what_is_shown_and_stay_in_the_address(library: OpenLibrary) -> None:
    page = library().page
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Rating").select_option("4")
    page.get_by_role("button", name="Favourites").click()
    expect(status(page)).to_have_text("100 sounds")
    page.get_by_label("Loop", exact=True).select_option("true")
    expect(status(page)).to_have_text("34 sounds")
    page.get_by_label("Tags").fill("hundredth")
    page.get_by_label("At least, in seconds").fill("2")
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    page.get_by_label("At least, in seconds").fill("0.5")
    expect(status(page)).to_have_text("34 sounds")
    page.get_by_label("Engine").select_option("procedural")
    page.reload()
    expect(status(page)).to_have_text("34 sounds")
    expect(page.get_by_text("Filters (6)")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(status(page)).to_contain_text("and more")
    page.get_by_label("Order").select_option("oldest")
    expect(cells(page).first).to_contain_text("take 0")
    page.get_by_label("Namespace").fill("nobody")
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()


def test_sounds_are_judged_by_the_keyboard_alone(library: OpenLibrary) -> None:
    page = library("?text=take+7012").page
    cell(page, 7012).focus()
    page.keyboard.press("3")
    expect(cell(page, 7012)).to_contain_text("3 stars")
    page.keyboard.press("f")
    page.keyboard.press("p")
    expect(cell(page, 7012)).to_contain_text("3 stars, favourite, pinned")
    (told,) = asked(page, "/v1/sounds?text=take+7012")["sounds"]
    assert (told["rating"], told["favourite"], told["pinned"]) == (3, True, True)
    page.keyboard.press("0")
    expect(cell(page, 7012)).not_to_contain_text("stars")
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog", name="Remove this sound?")
    expect(dialog).to_contain_text("It is pinned")
    page.keyboard.press("Escape")
    expect(cell(page, 7012)).to_be_focused()
    page.keyboard.press("p")
    expect(cell(page, 7012)).not_to_contain_text("pinned")
    page.keyboard.press("Delete")
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    assert asked(page, "/v1/sounds?text=take+7012")["sounds"] == []


def test_what_another_tab_has_removed_goes_once_it_is_touched(library: OpenLibrary) -> None:
    tab = library("?text=wind+8")
    tab.expects("404")
    page = tab.page
    there = asked(page, "/v1/sounds?text=wind+8&limit=3")["sounds"]
    shown = [one["prompt"] for one in there]
    assert page.request.post(f"{tab.address}/v1/sounds/remove", data={"ids": [one["id"] for one in there]}).ok
    said = page.locator("#toasts")
    cells(page).first.focus()
    page.keyboard.press("4")
    expect(said).to_contain_text(f"“{shown[0]}” has been removed meanwhile.")
    expect(cells(page).first).to_contain_text(shown[1])
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(said).to_contain_text("Removed 1 sound.")
    expect(cells(page).first).to_contain_text(shown[2])
    cells(page).first.click()
    expect(said).to_contain_text(f"“{shown[2]}” has been removed meanwhile.")
    expect(page.get_by_role("complementary", name="Sound")).to_be_hidden()


def test_pictures_are_given_back_when_the_view_is_left(library: OpenLibrary) -> None:
    tab = library()
    page = tab.page
    page.add_init_script(_COUNT_URLS)
    page.reload()
    for width in (700, 1280, 600):  # laid out anew while they are on their way
        page.set_viewport_size({"width": width, "height": 800})
    expect(page.locator(".tile-picture[src]").first).to_be_visible()
    page.evaluate("() => { location.hash = '#live'; }")
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    assert page.evaluate("() => [...window.__urls]") == []


def test_many_are_selected_by_click_shift_and_keyboard_and_changed_at_once(library: OpenLibrary) -> None:
    page = library("?text=a+page+turns+at+night+softly").page
    shown = cells(page).count()
    cells(page).nth(0).locator(".tile-box").click()
    cells(page).nth(3).click(modifiers=["Shift"])
    expect(page.locator(".selection-count")).to_have_text("4 sounds selected")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".selection-count")).to_have_text("6 sounds selected")
    expect(page.locator("[aria-selected=true]")).to_have_count(6)
    selection = page.get_by_role("region", name="Selection")
    selection.get_by_role("button", name="Pin").click()
    expect(page.get_by_text("Pinned 6 sounds.")).to_be_visible()
    selection.get_by_role("button", name="Tag").click()
    page.get_by_label("Add tags").fill("night, soft")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Tagged 6 sounds.")).to_be_visible()
    tagged = asked(page, "/v1/sounds?tags=night&tags=soft&pinned=true")["sounds"]
    assert len(tagged) == 6
    selection.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("All of them are pinned")
    page.get_by_role("button", name="Remove, pinned too").click()
    expect(page.get_by_text("Removed 6 sounds.")).to_be_visible()
    assert asked(page, "/v1/sounds?tags=night&tags=soft")["sounds"] == []
    expect(selection).to_be_hidden()
    assert cells(page).count() == shown - 6
    cells(page).first.focus()
    page.keyboard.press("Control+a")
    expect(page.locator(".selection-count")).to_have_text(f"{shown - 6} sounds selected")
    page.keyboard.press("Escape")
    expect(selection).to_be_hidden()


def test_a_selection_is_taken_along_as_files_or_as_a_pack(library: OpenLibrary, tmp_path: Path) -> None:
    page = library("?text=thunder+far+away+close+by+twice").page
    for number in range(3):
        cells(page).nth(number).locator(".tile-box").click()
    selection = page.get_by_role("region", name="Selection")
    selection.get_by_label("Format").select_option("flac")
    with page.expect_download() as coming:
        selection.get_by_role("button", name="Download").click()
    coming.value.save_as(tmp_path / "sounds.zip")
    with zipfile.ZipFile(tmp_path / "sounds.zip") as opened_zip:
        assert opened_zip.testzip() is None
        assert len(opened_zip.namelist()) == 4
        assert all(name.startswith("thunder_far_away") for name in opened_zip.namelist()[:-1])
    selection.get_by_role("button", name="Make a pack").click()
    page.get_by_label("Name", exact=True).fill("Storm")
    page.get_by_role("dialog").get_by_label("Format").select_option("wav")
    with page.expect_download() as coming:
        page.get_by_role("button", name="Make the pack").click()
    assert coming.value.suggested_filename == "storm.zip"
    coming.value.save_as(tmp_path / "storm.zip")
    with zipfile.ZipFile(tmp_path / "storm.zip") as opened_zip:
        pack = json.loads(opened_zip.read("pack.json"))
    assert pack["name"] == "Storm" and [item["format"] for item in pack["items"]] == ["wav"] * 3
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_is_pointed_at_plays_and_a_loop_without_a_gap(library: OpenLibrary) -> None:
    tab = library("?sort=oldest")
    page = tab.page
    cells(page).nth(1).click()  # a browser lets no page be heard before
    page.keyboard.press("ArrowLeft")
    expect(cells(page).nth(0)).to_have_class(re.compile("heard"))
    heard = tab.heard(turns=2.5)
    assert heard.loop and (heard.rate, heard.context_rate, heard.frames) == (RATE, RATE, RATE)
    one = heard_of(0)[:, None]
    assert np.abs(heard.samples - np.tile(one, (3, 1))[: len(heard.samples)]).max() < 1e-6
    page.keyboard.press("Escape")
    expect(page.locator(".tile.heard")).to_have_count(0)
    cells(page).nth(2).hover()
    expect(cells(page).nth(2)).to_have_class(re.compile("heard"))
    page.mouse.move(5, 5)
    expect(page.locator(".tile.heard")).to_have_count(0)
    page.get_by_role("switch", name="Play what is pointed at").click()
    before = tab.played()
    cells(page).nth(3).hover()
    cells(page).nth(3).focus()
    detail = page.get_by_role("complementary", name="Sound")
    expect(detail.get_by_role("heading", level=2)).to_contain_text("take 3")
    detail.get_by_role("button", name=re.compile("^Play ")).click()
    expect(detail.get_by_role("button", name=re.compile("^Pause "))).to_be_visible()
    assert tab.played() == before + 1, "and nothing by being pointed at"


def test_one_sound_is_told_of_beside_the_others(library: OpenLibrary) -> None:
    page = library("?text=take+5050").page
    cell(page, 5050).focus()
    page.keyboard.press("Enter")
    detail = page.get_by_role("complementary", name="Sound")
    expect(detail).to_contain_text("−23.0 LUFS")
    expect(detail.get_by_role("slider", name=re.compile("^Position in "))).to_be_visible()
    expect(detail.get_by_role("img", name="Spectrogram")).to_be_visible()
    detail.get_by_role("radio", name="5 stars").check(force=True)
    expect(cell(page, 5050)).to_contain_text("5 stars")
    detail.get_by_label("Tags").fill("boss, deep")
    detail.get_by_label("Tags").press("Enter")
    expect(cell(page, 5050)).to_be_visible()
    page.wait_for_function("() => fetch('/v1/sounds?tags=deep').then(a => a.json()).then(p => p.sounds.length === 1)")
    assert stumbles(page) == []
    with page.expect_download() as coming:
        detail.get_by_role("button", name="Download").click()
    assert coming.value.suggested_filename.endswith(".wav")
    detail.get_by_role("button", name="Close").click()
    expect(cell(page, 5050)).to_be_focused()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_it_all(library: OpenLibrary, dark: bool) -> None:
    tab = library(width=320, height=640, dark=dark)
    page = tab.page
    assert tab.sideways() <= 0 and page.get_by_role("grid").get_attribute("aria-colcount") == "2"
    cells(page).nth(1).locator(".tile-box").click()
    expect(page.get_by_role("region", name="Selection")).to_be_visible()
    assert tab.sideways() <= 0 and stumbles(page) == []
    cells(page).first.click()
    expect(page.get_by_role("complementary", name="Sound")).to_contain_text("LUFS")
    assert tab.sideways() <= 0 and stumbles(page) == []


def test_the_library_comes_back_with_the_network(library: OpenLibrary) -> None:
    tab = library()
    tab.expects("Failed to load resource|ERR_INTERNET_DISCONNECTED")
    page = tab.page
    tab.offline()
    page.get_by_label("Search").fill("take 1234")
    expect(page.get_by_role("heading", name="The library could not be read")).to_be_visible()
    tab.offline(False)
    expect(cells(page)).to_have_count(1)
    expect(cells(page).first).to_contain_text("take 1234")
