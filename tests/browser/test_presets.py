"""Presets in the console: written, changed and removed in their view, and picked for a sound under *Make*."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Page, expect
from tests.browser.axe import stumbles
from tests.browser.browsing import Tab, opened
from tests.browser.conftest import OpenTab
from tests.browser.making import made
from tests.support.gateways import Gateway, Pool, running

from audio_pool.gateway.key_file import HttpKey, create_key


def asked(page: Page, path: str) -> Any:
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def test_a_preset_is_written_changed_used_and_removed(tab: Tab) -> None:
    page = tab.open("/#presets")
    expect(page.get_by_role("listitem").filter(has_text="old radio")).to_contain_text("comes with the program")
    assert stumbles(page) == []
    page.get_by_role("button", name="New preset").click()
    dialog = page.get_by_role("dialog", name="New preset")
    dialog.get_by_label("Name").fill("our cellar")
    dialog.get_by_label("After them").fill("in a cellar")
    dialog.get_by_label("Mood").fill("tense")
    assert stumbles(page) == []
    dialog.get_by_role("button", name="Keep").click()
    row = page.get_by_role("listitem").filter(has_text="our cellar")
    expect(row).to_contain_text("after: in a cellar, mood: tense")
    page.get_by_label("Search presets").fill("cellar")
    expect(page.get_by_role("listitem")).to_have_count(1)
    row.get_by_role("button", name="Change our cellar").click()
    change = page.get_by_role("dialog", name="Change “our cellar”")
    change.get_by_label("After them").fill("in a hall")
    change.get_by_role("button", name="Keep").click()
    expect(row).to_contain_text("after: in a hall")
    kept = asked(page, "/v1/presets/our%20cellar")
    assert kept["content"] == {"after": "in a hall", "scene": {"mood": "tense"}}
    row.get_by_role("button", name="Use our cellar").click()
    expect(page.locator("summary").filter(has_text="More")).to_contain_text("our cellar")
    made(page, "a single knock", seconds=0.5)
    found = asked(page, "/v1/sounds?words=knock+hall")["sounds"]
    assert [one["prompt"] for one in found] == ["a single knock, in a hall, tense, deep"]
    page.reload()
    more = page.locator("summary").filter(has_text="our cellar")
    more.click()
    expect(page.get_by_role("button", name="Take away preset our cellar")).to_be_visible()
    tab.open("/#presets")
    page.get_by_role("button", name="Remove our cellar").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text="our cellar")).to_have_count(0)


def test_presets_are_picked_by_keys_and_taken_away_again(open_tab: OpenTab) -> None:
    page = open_tab(height=1800).open("/#make")
    page.locator("summary").filter(has_text="More").click()
    picker = page.get_by_label("Presets", exact=True)
    picker.select_option("cave")
    picker.select_option("user interface")
    expect(page.get_by_role("list", name="Presets that are chosen").get_by_role("listitem")).to_have_count(2)
    page.get_by_role("button", name="Take away preset user interface").press("Enter")
    expect(picker).to_be_focused()
    assert stumbles(page) == []
    made(page, "a lone drip", seconds=0.5)
    assert asked(page, "/v1/sounds?words=drip+cave")["sounds"][0]["prompt"] == "a lone drip, in a cave"


def test_settings_are_written_line_by_line_and_what_is_none_is_said(tab: Tab) -> None:
    page = tab.open("/#presets")
    page.get_by_role("button", name="New preset").click()
    dialog = page.get_by_role("dialog", name="New preset")
    dialog.get_by_label("Name").fill("cave")
    dialog.get_by_label("Type").select_option("generation_parameters")
    settings = dialog.get_by_label("Settings, one a line")
    settings.fill("duration_s = 0.5\nloop = false\noptions.space = hall")
    dialog.get_by_role("button", name="Keep").click()
    tab.expects("412")
    expect(dialog.get_by_role("alert")).to_have_text("There is one of this name already.")
    dialog.get_by_label("Name").fill("short hall")
    settings.fill("namespace = mine")
    tab.expects("422")
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog.get_by_role("alert")).to_contain_text("namespace")
    settings.fill("duration_s = 0.5\nloop = false\noptions.space = hall")
    dialog.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("listitem").filter(has_text="short hall")).to_contain_text("duration_s: 0.5")
    content = asked(page, "/v1/presets/short%20hall")["content"]
    assert content == {"duration_s": 0.5, "loop": False, "options": {"space": "hall"}}


def test_who_is_no_operator_reads_them_on_a_phone(browser: Browser, pool: Pool) -> None:
    file = pool.place / "preset_keys.json"
    key = create_key(file, lambda sha256: HttpKey(name="guest", sha256=sha256))
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="preset_keys")
    with running(gateway), opened(browser, gateway.url, width=320, height=640, dark=True) as tab:
        tab.expects("401|403")
        page = tab.open("/#presets")
        page.get_by_role("dialog").get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("listitem").filter(has_text="horror")).to_be_visible()
        assert tab.sideways() <= 0 and stumbles(page) == []
        page.get_by_role("button", name="Change horror").click()
        dialog = page.get_by_role("dialog", name="Change “horror”")
        dialog.get_by_role("button", name="Keep").click()
        expect(dialog.get_by_role("alert")).to_contain_text("an operator's key sets them")
