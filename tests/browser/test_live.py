"""The view *Live*: what the pool does as it does it, a sound stopped, what is read out, and who sees what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.axe import stumbles
from tests.browser.conftest import OpenTab
from tests.support.gateways import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.key_file import HttpKey, create_key

WORKERS = [
    {"name": "w", "engines": ["stage"], "credit": 1},
    {"name": "spare", "engines": ["second"], "roles": ["generate"], "gpu": "1"},
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A pool whose engine does as its prompt says, e.g. ``hold FILE`` until there is that file."""
    with Served(tmp_path_factory.mktemp("s"), workers=WORKERS) as served:
        yield served.ready()
        served.signal()
        served.wait()


@pytest.fixture(scope="module")
def door(stage: Served) -> Iterator[Gateway]:
    gateway = Gateway(stage.place, stage.endpoint)
    with running(gateway):
        yield gateway


@pytest.fixture(scope="module")
def http(door: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=door.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def ask(http: httpx.Client, prompt: str, priority: str = "normal") -> str:
    """Ask for a sound without waiting; its job's id."""
    body = {"prompt": prompt, "priority": priority}
    answer = http.post("/v1/sounds", json=body, headers={"prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def worker_of(page: Page, name: str) -> Locator:
    return page.locator(".live-workers > li").filter(has=page.get_by_role("heading", name=name, exact=True))


def state_of(page: Page, name: str) -> Locator:
    return worker_of(page, name).locator(".tag").first


def row(page: Page, name: str) -> list[str]:
    """The cells of the row with that heading."""
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True)).first.locator(
        "td"
    ).all_inner_texts()  # fmt: skip


def test_a_sound_is_seen_being_made_and_another_waiting_and_both_are_stopped(
    open_tab: OpenTab, door: Gateway, http: httpx.Client, tmp_path: Path
) -> None:
    page = open_tab(address=door.url).open("/#live")
    expect(page.get_by_text("Nothing is being made.")).to_be_visible()
    prompt = f"hold {tmp_path}/never"
    jobs = [ask(http, prompt), ask(http, "a quiet tone", "background")]
    entries = page.locator(".live-job")
    expect(entries).to_have_count(2)
    expect(entries.nth(0)).to_contain_text(prompt)
    expect(entries.nth(0)).to_contain_text("generate on w, stage, normal")
    expect(entries.nth(0).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    expect(entries.nth(1)).to_contain_text("waits, stage, background")
    assert row(page, "normal")[:2] == ["1", "0"] and row(page, "background")[:2] == ["0", "1"]
    expect(worker_of(page, "w")).to_contain_text("generate · stage")
    expect(worker_of(page, "spare")).not_to_contain_text("generate ·")
    assert stumbles(page) == []
    # the button stays the same element while its entry is told of anew: who has come to it by the keyboard stays there
    stop = page.get_by_role("button", name="Stop a quiet tone")
    stop.focus()
    age = entries.nth(1).locator("small")
    before = age.inner_text()
    expect(age).not_to_have_text(before)
    expect(stop).to_be_focused()
    page.keyboard.press("Enter")
    expect(entries).to_have_count(1)
    page.get_by_role("button", name=f"Stop {prompt}").click()
    expect(entries).to_have_count(0)
    for job in jobs:
        assert http.get(f"/v1/jobs/{job}", headers={"prefer": "wait=60"}).json()["state"] == "cancelled"


def test_a_worker_is_drained_and_resumed(open_tab: OpenTab, door: Gateway) -> None:
    page = open_tab(address=door.url).open("/#live")
    state = state_of(page, "w")
    page.get_by_role("button", name="Drain w", exact=True).press("Enter")
    expect(state).to_have_text("drained")
    resume = page.get_by_role("button", name="Resume w", exact=True)
    expect(resume).to_be_focused()
    resume.press("Enter")
    expect(state).to_have_text("ready")


def test_a_model_is_taken_out_and_loaded_and_kept(open_tab: OpenTab, door: Gateway) -> None:
    page = open_tab(address=door.url).open("/#live")
    worker = worker_of(page, "w")
    worker.get_by_text("1 of 1 models in memory").click()
    page.get_by_role("button", name="Unload stage").click()
    expect(worker.get_by_text("0 of 1 models in memory")).to_be_visible()
    page.get_by_role("button", name="Load stage").click()
    expect(worker.get_by_text("1 of 1 models in memory")).to_be_visible()
    keep = worker.get_by_role("button", name="Keep stage in memory")
    keep.click()
    expect(keep).to_have_attribute("aria-pressed", "true")
    expect(worker.get_by_role("button", name="Unload stage")).to_be_hidden()
    keep.click()
    expect(keep).to_have_attribute("aria-pressed", "false")
    assert stumbles(page) == []


def test_a_card_that_is_lent_is_taken_back(open_tab: OpenTab, door: Gateway, http: httpx.Client) -> None:
    page = open_tab(address=door.url).open("/#live")
    lent = http.post("/v1/leases", json={"device": "1", "within_s": 5, "holder": "a game"}).json()
    assert (lent["state"], lent["workers"]) == ("free", ["spare"])
    expect(state_of(page, "spare")).to_have_text("lent")
    expect(page.get_by_text(re.compile("to a game, for .* more"))).to_be_visible()
    page.get_by_role("button", name="Take back card 1").click()
    expect(page.get_by_text("Card 1 is lent")).to_have_count(0)
    expect(state_of(page, "spare")).to_have_text("ready")


def test_hits_and_times_and_errors_are_counted(open_tab: OpenTab, door: Gateway, http: httpx.Client) -> None:
    page = open_tab(address=door.url).open("/#live")
    expect(page.get_by_text("ready", exact=True).first).to_be_visible()
    for _ in range(3):
        assert http.post("/v1/sounds", json={"prompt": "a tone that is kept"}).status_code == 200
    assert http.post("/v1/sounds", json={"prompt": "fail of old age"}).status_code >= 500
    page.get_by_role("button", name="Since the start").click()
    expect(page.get_by_role("row").filter(has_text="The same words").first.locator("td").nth(1)).to_have_text("2")
    expect(page.get_by_role("row").filter(has_text="Generating").locator("td").nth(2)).not_to_have_text("–")
    expect(page.get_by_role("img", name=re.compile("half within .* 99 of 100 within")).first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Answers a second: now .*, at most"))).to_be_visible()
    errors = page.get_by_role("region", name="Last errors")
    expect(errors.locator("li").first).to_contain_text(re.compile("old age|engine"))


def test_it_listens_while_it_is_shown_and_once(open_tab: OpenTab, door: Gateway) -> None:
    tab = open_tab(address=door.url)
    page = tab.open("/#live")
    for _ in range(3):
        expect(worker_of(page, "w")).to_be_visible()
        eventually(lambda: tab.streams() == 1, "one stream is open")
        page.get_by_role("link", name="Cache", exact=True).click()
        expect(page.locator(".view-cache h1").first).to_be_visible()
        eventually(lambda: tab.streams() == 0, "none is")
        page.get_by_role("link", name="Live", exact=True).click()


def test_who_has_no_operator_s_key_is_told_how_much_but_not_what(
    open_tab: OpenTab, stage: Served, http: httpx.Client, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    key = create_key(keys, lambda sha256: HttpKey(name="plain", sha256=sha256))
    gateway = Gateway(tmp_path, stage.endpoint, config=f'[http]\nkeys_file = "{keys}"\n')
    with running(gateway):
        job = ask(http, f"hold {tmp_path}/secret")
        tab = open_tab(address=gateway.url)
        tab.expects("401")
        page = tab.open("/#live")
        page.locator("input[type=password]").fill(key)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_text("Which they are, operators are told.")).to_be_visible()
        expect(page.locator(".live-job")).to_have_count(0)
        assert "secret" not in page.content()
        assert http.delete(f"/v1/live/{job}").json()["cancelled"]
        page.goto("about:blank")
