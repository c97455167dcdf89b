"""Candidates over HTTP: told with their addresses, heard like other files, chosen; by their own key alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S

from audio_pool.gateway.key_file import HttpKey, create_key

ASKED = {"prompt": "a wooden door creaks", "duration_s": 0.5, "candidates": 3, "keep_candidates": True}


def samples(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return soundfile.read(io.BytesIO(answer.content), dtype="float32", always_2d=True)[0]


@pytest.fixture(scope="module")
def made(http: httpx.Client) -> tuple[str, dict[str, Any]]:
    """The address of a job of three candidates, and its sound."""
    answer = http.post("/v1/sounds", json=ASKED)
    assert answer.status_code == 200, answer.text
    return answer.headers["content-location"], answer.json()


def test_they_are_told_with_their_addresses_and_heard_like_other_files(
    http: httpx.Client, made: tuple[str, dict[str, Any]]
) -> None:
    job, sound = made
    kept = sound["metadata"]["candidates_kept"]
    assert [one["url"] for one in kept] == [f"{job}/candidates/{one['number']}/audio" for one in kept]
    assert len(kept) == 2 and all(one["path"] is None and one["seed"] and one["quality"]["score"] for one in kept)
    told = http.get(f"{job}/candidates").json()
    assert told["candidates"] == kept and told["entry"] == sound["id"]
    assert http.get(job).json()["sound"]["metadata"]["candidates_kept"] == kept
    url = kept[0]["url"]
    whole = http.get(url)
    assert whole.headers["content-type"] == "audio/wav" and len(whole.content) == kept[0]["size_bytes"]
    assert "private" in whole.headers["cache-control"]
    part = http.get(url, headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"RIFF"
    assert http.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert http.head(url).headers["content-length"] == str(len(whole.content))
    ogg = http.get(url, params={"format": "ogg", "download": "true"})
    assert ogg.content.startswith(b"OggS") and ogg.headers["content-disposition"].startswith("attachment")
    winner = samples(http.get(sound["url"]))
    assert samples(whole).shape == winner.shape and not np.array_equal(samples(whole), winner)


def test_what_cannot_be_is_refused(http: httpx.Client, made: tuple[str, dict[str, Any]]) -> None:
    job, _ = made
    assert http.get(f"{job}/candidates/17/audio").status_code == 404
    assert http.get(f"{job}/candidates/0/audio").status_code == 422
    assert http.get(f"{job}/candidates/2/audio", params={"bit_depth": "16"}).status_code == 422
    assert http.get("/v1/jobs/http.0123/candidates").status_code == 404
    refused = http.post("/v1/audio/speech", json={"model": "procedural", "input": "rain", "keep_candidates": True})
    assert refused.status_code == 400 and "keep_candidates" in refused.text


def test_a_choice_is_the_kept_sound_from_then_on(http: httpx.Client) -> None:
    asked = {**ASKED, "prompt": "an iron gate creaks"}
    answer = http.post("/v1/sounds", json=asked, headers={"prefer": "respond-async"})
    job = answer.headers["location"]
    sound = http.get(job, headers={"prefer": f"wait={PATIENCE_S:.0f}"}).json()["sound"]
    kept = sound["metadata"]["candidates_kept"]
    heard = samples(http.get(kept[1]["url"]))
    chosen = http.post(f"{job}/candidates/{kept[1]['number']}/choose")
    assert chosen.status_code == 200, chosen.text
    told = chosen.json()
    assert told["replaced"] == sound["id"] and told["sound"]["id"] != sound["id"]
    assert np.array_equal(samples(http.get(told["sound"]["url"])), heard)
    again = http.post("/v1/sounds", json={**asked, "keep_candidates": False}).json()
    assert again["id"] == told["sound"]["id"] and again["metadata"]["chosen"]["instead_of"] == sound["metadata"]["seed"]
    # what was kept before is heard among the others, and chosen again
    former = next(one for one in told["candidates"] if one["seed"] == sound["metadata"]["seed"])
    assert http.get(former["url"]).status_code == 200
    back = http.post(f"{job}/candidates/{former['number']}/choose").json()
    assert back["replaced"] == told["sound"]["id"]
    assert http.post("/v1/sounds", json={**asked, "keep_candidates": False}).json()["id"] == back["sound"]["id"]


def test_a_hit_says_why_it_has_none(http: httpx.Client) -> None:
    plain = {**ASKED, "prompt": "a small bell", "keep_candidates": False}
    http.post("/v1/sounds", json=plain)
    hit = http.post("/v1/sounds", json={**plain, "keep_candidates": True}).json()["metadata"]
    assert hit["cached"] and hit["candidates_kept"] == []
    assert any(one.startswith("candidates_not_kept") for one in hit["warnings"])


@pytest.fixture(scope="module")
def keyed(pool: Pool) -> Iterator[tuple[httpx.Client, list[dict[str, str]]]]:
    """A gateway with keys, and three of them: two of one namespace, one of another."""
    file = pool.place / "candidate_keys.json"

    def key(name: str, namespace: str) -> dict[str, str]:
        made = create_key(file, lambda sha256: HttpKey(name=name, sha256=sha256, namespace=namespace))
        return {"authorization": f"Bearer {made}"}

    keys = [key("ada", "one"), key("bob", "one"), key("eve", "two")]
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="candidates")
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client, keys


def test_no_other_key_hears_or_chooses_them(keyed: tuple[httpx.Client, list[dict[str, str]]]) -> None:
    client, (ada, *others) = keyed
    answer = client.post("/v1/sounds", json=ASKED, headers=ada)
    job, sound = answer.headers["content-location"], answer.json()
    url = sound["metadata"]["candidates_kept"][0]["url"]
    heard = client.get(url, headers=ada)
    assert heard.status_code == 200
    for other in (*others, {}):
        for method, address in (("GET", f"{job}/candidates"), ("GET", url), ("POST", url.replace("audio", "choose"))):
            assert client.request(method, address, headers=other).status_code in (401, 404)
    # nor by an id of his own that ends as hers
    forged = job.replace(job.split("/")[-1].split(".")[0], hashlib.sha256(b"x").hexdigest()[:16])
    assert client.get(f"{forged}/candidates", headers=others[0]).status_code == 404
    judgement = {"target": sound["metadata"]["request_id"], "verdict": "wrong"}
    for other in others:
        assert client.post("/v1/feedback", json=judgement, headers=other).status_code == 404
    assert client.post("/v1/feedback", json={**judgement, "verdict": "good"}, headers=ada).json()["noted"]
    number = sound["metadata"]["candidates_kept"][0]["number"]
    chosen = client.post(f"{job}/candidates/{number}/choose", headers=ada).json()
    assert chosen["sound"]["metadata"]["chosen"]["by"] == "ada" and chosen["sound"]["metadata"]["namespace"] == "one"
