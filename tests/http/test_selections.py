"""Many kept sounds at a time: marked, removed, sent as one ZIP; the whole cache looked after."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import zipfile

import httpx
import pytest
import soundfile
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.key_file import HttpKey, create_key

from .conftest import Gateway, Pool, running
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
    groups = twice.json()["groups"]  # other tests keep sounds in this pool, too
    told = {one["id"] for group in groups for one in (group["keep"], *group["duplicates"])}
    assert not set(three) & told and str(pool.place) not in twice.text
    for path in ("eviction?limit=0", "eviction?limit=201", "duplicates?by=luck", "duplicates?colour=red"):
        assert http.get(f"/v1/cache/{path}").status_code == 422, path


def test_many_are_removed_at_once_but_for_pinned_ones(http: httpx.Client, three: list[int]) -> None:
    assert http.delete(f"/v1/sounds/{three[2]}/pin").status_code == 200
    told = http.post("/v1/sounds/remove", json={"ids": three, "spare_pinned": True}).json()
    assert told["changed"] == [three[2]]
    assert [one["id"] for one in told["failed"]] == three[:2] and told["failed"][0]["error"]["code"] == "refused"
    assert http.get(f"/v1/sounds/{three[2]}/audio").status_code == 404
    assert http.post("/v1/sounds/remove", json={"ids": three}).json()["changed"] == three[:2]


def test_slow_readers_of_one_key_leave_room_for_another(pool: Pool) -> None:
    file = pool.place / "archive_keys.json"

    def key(name: str) -> dict[str, str]:
        made = create_key(file, lambda sha256: HttpKey(name=name, sha256=sha256, namespace=name))
        return {"authorization": f"Bearer {made}"}

    greedy, other = key("greedy"), key("other")
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="archives")
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:

        def kept(key: dict[str, str], duration_s: float) -> int:
            asked = {"prompt": "surf", "duration_s": duration_s}
            answer = client.post("/v1/sounds", json=asked, headers={**key, "accept": "application/json"})
            entry: int = answer.json()["metadata"]["entry_id"]
            return entry

        large, small = kept(greedy, 30.0), kept(other, 0.2)
        body = json.dumps({"ids": [large], "format": "wav", "sample_rate": 96_000}).encode()
        address = httpx.URL(gateway.url)
        head = f"POST /v1/sounds/archive HTTP/1.1\r\nhost: {address.netloc.decode()}\r\ncontent-length: {len(body)}\r\n"
        asked = f"{head}authorization: {greedy['authorization']}\r\n\r\n".encode() + body
        with contextlib.ExitStack() as opened:
            readers = [
                opened.enter_context(socket.create_connection((address.host, address.port), PATIENCE_S))
                for _ in range(10)
            ]
            for one in readers:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for one in readers:
                one.sendall(asked)
            codes = sorted(one.recv(12).decode().split()[1] for one in readers)
            assert codes == ["200"] * 3 + ["429"] * 7
            assert client.post("/v1/sounds/archive", json={"ids": [small]}, headers=other).status_code == 200

        def again() -> bool:
            refused = client.post("/v1/sounds/archive", json={"ids": [10**9]}, headers=greedy)
            return refused.status_code == 404

        eventually(again, "who has gone holds no place")
        for _ in range(4):  # nor does what was refused
            assert again()
