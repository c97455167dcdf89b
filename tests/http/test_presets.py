"""``/v1/presets``: read by every key, set by an operator's, with ETags; sounds and batches made with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.key_file import HttpKey, create_key

WORDS = {"type": "prompt", "content": {"after": "in a hall"}}


def address(name: str) -> str:
    return f"/v1/presets/{quote(name, safe='')}"


def test_a_preset_is_set_told_listed_and_removed(http: httpx.Client) -> None:
    kept = http.put(address("http hall"), json={**WORDS, "priority": 60})
    assert kept.status_code == 200 and kept.json()["metadata"]["source"] == "user", kept.text
    told = http.get(address("http hall"))
    assert told.json() == kept.json() and told.headers["etag"] == kept.headers["etag"]
    assert http.get(address("http hall"), headers={"if-none-match": told.headers["etag"]}).status_code == 304
    again = http.put(address("http hall"), json=told.json())
    assert again.headers["etag"] == told.headers["etag"], "what is told may be sent back"
    found: list[str] = []
    url = "/v1/presets?limit=4&type=prompt"
    while url:
        page = http.get(url)
        found += [one["id"] for one in page.json()["presets"]]
        url = page.links.get("next", {}).get("url", "")
    assert found == sorted(found) and {"http hall", "cave", "old radio"} <= set(found)
    assert "seamless loop" not in found
    assert http.delete(address("http hall")).json() == {"id": "http hall", "uncovered": None}
    gone = http.get(address("http hall"))
    assert gone.status_code == 404 and gone.headers["content-type"] == "application/problem+json"
    assert "did you mean" in http.get(address("old radios")).json()["detail"]


def test_conditions_keep_two_who_change_it_from_undoing_each_other(http: httpx.Client) -> None:
    name = address("shared")
    first = http.put(name, json=WORDS, headers={"if-none-match": "*"})
    assert first.status_code == 200
    assert http.put(name, json=WORDS, headers={"if-none-match": "*"}).status_code == 412
    other = {**WORDS, "content": {"after": "outdoors"}}
    second = http.put(name, json=other, headers={"if-match": first.headers["etag"]})
    assert second.status_code == 200 and second.headers["etag"] != first.headers["etag"]
    late = http.put(name, json=WORDS, headers={"if-match": first.headers["etag"]})
    assert late.status_code == 412 and late.headers["content-type"] == "application/problem+json"
    assert late.json()["code"] == "conflict"
    assert http.delete(name, headers={"if-match": first.headers["etag"]}).status_code == 412
    assert http.get(name).json()["content"] == {"after": "outdoors"}
    assert http.delete(name, headers={"if-match": second.headers["etag"]}).status_code == 200
    assert http.put(name, json=WORDS, headers={"if-match": "*"}).status_code == 412


def test_odd_ids_and_what_is_none(http: httpx.Client) -> None:
    for name in ("'; DROP TABLE presets; --", "ünï🎵", "a/b?c=d&e#f", "%41", "a+b"):
        assert http.put(address(name), json=WORDS).json()["id"] == name
        assert http.get(address(name)).json()["id"] == name
        assert http.delete(address(name)).status_code == 200
    for body in (
        {"type": "prompt", "content": {"namespace": "x"}},
        {"type": "generation_parameters", "content": {"output_path": "/etc/passwd"}},
        {"type": "style", "content": {"after": "x"}},
        {**WORDS, "id": "other"},
        {**WORDS, "priority": 101},
    ):
        assert http.put(address("bad"), json=body).status_code == 422, body
    assert http.put(address("x" * 65), json=WORDS).status_code == 422
    assert http.put(address("bad"), content=b"[]").status_code in (400, 422)
    assert http.get(address("bad")).status_code == 404
    assert http.delete(address("cave")).status_code == 422, "it comes with the program"
    assert http.get("/v1/presets", params={"limit": 0}).status_code == 422


def test_sounds_jobs_and_batches_are_made_with_presets(http: httpx.Client) -> None:
    http.put(address("in a hall"), json=WORDS)
    asked = {"prompt": "a single knock", "presets": ["in a hall"], "duration_s": 0.3}
    sound = http.post("/v1/sounds", json=asked).json()
    assert sound["metadata"]["prompt"] == "a single knock, in a hall"
    assert sound["metadata"]["presets"][0]["contributed"] == {"after": "in a hall"}
    again = http.post("/v1/sounds", json=asked).json()
    assert again["metadata"]["cached"] and again["metadata"]["presets"] == sound["metadata"]["presets"]
    http.put(address("in a hall"), json={**WORDS, "content": {"after": "outdoors"}})
    assert http.post("/v1/sounds", json=asked).json()["metadata"]["prompt"] == "a single knock, outdoors"
    unknown = http.post("/v1/sounds", json={**asked, "presets": ["in a hal"]})
    assert unknown.status_code == 404 and "in a hall" in unknown.json()["detail"]
    made = {"items": ["two knocks"], "defaults": {"presets": ["in a hall"], "duration_s": 0.3}}
    batch = http.post("/v1/batches", json=made).json()
    eventually(lambda: http.get(batch["url"]).json()["state"] == "done", "the batch is done")
    kept = http.post("/v1/sounds", json={"prompt": "two knocks, outdoors", "duration_s": 0.3}).json()
    assert kept["metadata"]["cached"]


@pytest.fixture(scope="module")
def keyed(pool: Pool) -> Iterator[tuple[httpx.Client, dict[str, str], dict[str, str]]]:
    """A gateway with keys: an operator's, and one with a namespace of its own."""
    file = pool.place / "preset_keys.json"

    def key(name: str, **rights: Any) -> dict[str, str]:
        made = create_key(file, lambda sha256: HttpKey(name=name, sha256=sha256, **rights))
        return {"authorization": f"Bearer {made}"}

    boss, guest = key("boss", operator=True), key("guest", namespace="guests")
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="presets")
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client, boss, guest


def test_every_key_reads_presets_and_an_operators_sets_them(
    keyed: tuple[httpx.Client, dict[str, str], dict[str, str]],
) -> None:
    client, boss, guest = keyed
    assert client.get("/v1/presets").status_code == 401
    assert client.put(address("mine"), json=WORDS, headers=guest).status_code == 403
    assert client.put(address("mine"), json=WORDS, headers=boss).status_code == 200
    assert client.get(address("mine"), headers=guest).json()["content"] == WORDS["content"]
    assert client.delete(address("mine"), headers=guest).status_code == 403
    asked = {"prompt": "a single click", "presets": ["mine"], "duration_s": 0.3}
    sound = client.post("/v1/sounds", json=asked, headers=guest).json()
    assert sound["metadata"]["prompt"] == "a single click, in a hall" and sound["metadata"]["namespace"] == "guests"
    assert client.delete(address("mine"), headers=boss).status_code == 200
    assert client.post("/v1/sounds", json=asked, headers=guest).status_code == 404
