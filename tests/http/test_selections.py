"""Many kept sounds at a time: marked, removed, sent as one ZIP; the whole cache looked after."""

from __future__ import annotations

import io
import json
import zipfile

import httpx
import pytest
import soundfile

from .conftest import Pool
from .test_library import found, made


@pytest.fixture(scope="module")
def three(http: httpx.Client) -> list[int]:
    prompts = ("a rope creaks", "a sail flaps", "an oar")
    return [made(http, prompt, loop=prompt == "a rope creaks") for prompt in prompts]


def test_many_are_marked_at_once_and_what_could_not_be_is_told(http: httpx.Client, three: list[int]) -> None:
    marks = {"add_tags": ["ship"], "pinned": True}
    answer = http.post("/v1/sounds/mark", json={"ids": [*three, 10**9], "marks": marks})
    assert answer.json()["changed"] == three
    (failed,) = answer.json()["failed"]
    assert failed["id"] == 10**9 and failed["error"]["code"] == "not_found"
    assert found(http, tags="ship", pinned="true") == three[::-1]
    for body in ({"ids": [], "marks": {}}, {"ids": [1] * 1001, "marks": {}}, {"ids": [1]}, {"ids": [0], "marks": {}}):
        assert http.post("/v1/sounds/mark", json=body).status_code == 422, body


def test_a_selection_comes_as_one_zip_named_by_prompts_with_a_manifest(
    http: httpx.Client, three: list[int], pool: Pool
) -> None:
    asked = {"ids": [*three, three[0]], "format": "wav", "name": "Harbour Set"}
    first = http.post("/v1/sounds/archive", json=asked)
    assert (first.status_code, first.headers["content-type"]) == (200, "application/zip")
    assert 'filename="harbour_set.zip"' in first.headers["content-disposition"]
    assert http.post("/v1/sounds/archive", json=asked).content == first.content, "the same sounds, the same bytes"
    with zipfile.ZipFile(io.BytesIO(first.content)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["a_rope_creaks.wav", "a_sail_flaps.wav", "an_oar.wav", "pack.json"]
        pack = json.loads(opened.read("pack.json"))
        for item in pack["items"]:
            info = soundfile.info(io.BytesIO(opened.read(item["files"][0])))
            assert (info.frames, info.samplerate, info.channels) == (item["frames"], item["rate"], item["channels"])
        assert str(pool.place) not in opened.read("pack.json").decode()
    assert pack["items"][0]["loop"]["exact"] is True and pack["items"][1]["loop"] is None
    assert "procedural" in pack["licences"]
    lossy = http.post("/v1/sounds/archive", json={"ids": three[:1], "format": "ogg"})
    assert zipfile.ZipFile(io.BytesIO(lossy.content)).namelist() == ["a_rope_creaks.ogg", "pack.json"]


def test_an_archive_that_cannot_be_is_refused_before_a_byte_is_sent(http: httpx.Client, three: list[int]) -> None:
    lost = http.post("/v1/sounds/archive", json={"ids": [three[0], 10**9]})
    assert lost.status_code == 404 and str(10**9) in lost.json()["detail"]
    for body in ({}, {"ids": []}, {"ids": three, "format": "aac"}, {"ids": three, "name": ""}, {"ids": [1] * 1001}):
        assert http.post("/v1/sounds/archive", json=body).status_code == 422, body


def test_the_cache_is_looked_after(http: httpx.Client, three: list[int], pool: Pool) -> None:
    figures = http.get("/v1/cache")
    assert figures.json()["total_items"] >= 3 and str(pool.place) not in figures.text
    assert sum(figures.json()["ages_days"]["entries"]) == figures.json()["total_items"]
    plan = http.get("/v1/cache/eviction", params={"limit": 200}).json()
    listed = [one["sound"]["id"] for one in plan["next"]]
    assert plan["due_items"] == 0 and not set(three) & set(listed), "they are pinned"
    assert plan["held_items"] == figures.json()["total_items"] == len(listed) + plan["pinned"]
    twice = http.get("/v1/cache/duplicates", params={"by": "prompt"})
    assert twice.json()["found"] == 0 and str(pool.place) not in twice.text
    for path in ("eviction?limit=0", "eviction?limit=201", "duplicates?by=luck", "duplicates?colour=red"):
        assert http.get(f"/v1/cache/{path}").status_code == 422, path


def test_many_are_removed_at_once_but_for_pinned_ones(http: httpx.Client, three: list[int]) -> None:
    assert http.delete(f"/v1/sounds/{three[2]}/pin").status_code == 200
    told = http.post("/v1/sounds/remove", json={"ids": three, "spare_pinned": True}).json()
    assert told["changed"] == [three[2]]
    assert [one["id"] for one in told["failed"]] == three[:2] and told["failed"][0]["error"]["code"] == "refused"
    assert http.get(f"/v1/sounds/{three[2]}/audio").status_code == 404
    assert http.post("/v1/sounds/remove", json={"ids": three}).json()["changed"] == three[:2]
