"""``/v1/sounds``: kept sounds searched, heard in any format, looked at, rated, tagged and removed; the pool seen."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import soundfile

from .conftest import Gateway, Pool, running


def made(http: httpx.Client, prompt: str, **fields: Any) -> int:
    headers = fields.pop("headers", {})
    answer = http.post("/v1/sounds", json={"prompt": prompt, "duration_s": 0.5, **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    entry = answer.json()["id"]
    assert isinstance(entry, int)
    return entry


def found(http: httpx.Client, **query: Any) -> list[int]:
    answer = http.get("/v1/sounds", params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["sounds"]]


@pytest.fixture(scope="module")
def gong(http: httpx.Client) -> int:
    return made(http, "a gong of bronze", tags=["metal"], loop=False)


def test_sounds_are_searched_a_page_at_a_time(http: httpx.Client, gong: int) -> None:
    chime = made(http, "a bronze chime in the wind", loop=True)
    assert found(http, words="bronze") == [chime, gong]
    assert found(http, words="bronze", loop="true") == [chime]
    assert found(http, words="bronze", tags="metal", longest_s=1) == [gong]
    assert found(http, words="bronze", engine="nobody") == []
    first = http.get("/v1/sounds", params={"words": "bronze", "limit": 1})
    assert [one["id"] for one in first.json()["sounds"]] == [chime]
    following = http.get(first.links["next"]["url"])
    assert [one["id"] for one in following.json()["sounds"]] == [gong]
    assert following.json()["next"] is None and "link" not in following.headers


def test_a_text_is_searched_as_one_types_it(http: httpx.Client, gong: int) -> None:
    page = http.get("/v1/sounds", params={"text": "gong of bro"}).json()
    assert [one["id"] for one in page["sounds"]] == [gong]
    assert page["sounds"][0]["score"] == 0.75 and page["by_meaning"] is False, "no encoder is here: by words alone"
    named = http.get("/v1/sounds", params={"ids": [gong, 10**9]}).json()["sounds"]
    assert [one["id"] for one in named] == [gong]


@pytest.mark.parametrize(
    "query",
    [
        "text=x&words=y", "ids=x", "ids=0",
        "limit=0", "limit=x", "limit=1&limit=2", "loop=1", "loop=null", "sort=loudest", "after=nonsense", "colour=red",
        "min_quality=1e999", "meaning=a+storm&sort=newest", "tags=" + "x" * 65,
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_a_problem(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/sounds?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_meaning_that_nothing_here_compares_is_not_supported(http: httpx.Client) -> None:
    answer = http.get("/v1/sounds", params={"meaning": "a storm"})
    assert (answer.status_code, answer.json()["code"]) == (422, "not_supported")


def test_a_sound_is_told_with_its_metadata_and_no_path(http: httpx.Client, gong: int, pool: Pool) -> None:
    answer = http.get(f"/v1/sounds/{gong}")
    told = answer.json()
    assert (told["id"], told["prompt"], told["tags"]) == (gong, "a gong of bronze", ["metal"])
    assert told["metadata"]["engine"] == "procedural" and str(pool.place) not in answer.text
    for wrong, status in (("999999", 404), ("0", 422), ("-1", 422), (str(2**63), 422), ("x", 404)):
        assert http.get(f"/v1/sounds/{wrong}").status_code == status, wrong


def test_audio_comes_in_any_format_with_ranges_conditions_and_head(http: httpx.Client, gong: int) -> None:
    url = f"/v1/sounds/{gong}/audio"
    whole = http.get(url, params={"format": "wav"})
    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/wav")
    assert len(soundfile.read(io.BytesIO(whole.content))[0]) == 22_050
    assert whole.headers["etag"].strip('"') == hashlib.sha256(whole.content).hexdigest()[:40]
    assert "immutable" in whole.headers["cache-control"]
    part = http.get(url, params={"format": "wav"}, headers={"range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, whole.content[4:10])
    known = http.get(url, params={"format": "wav"}, headers={"if-none-match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    head = http.head(url, params={"format": "wav"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    master = http.get(url)
    assert master.content.startswith(b"fLaC") and master.headers["x-sound-id"] == str(gong)
    for form, kind in (("ogg", "audio/ogg"), ("opus", "audio/ogg; codecs=opus"), ("mp3", "audio/mpeg")):
        assert http.get(url, params={"format": form}).headers["content-type"] == kind
    low = http.get(url, params={"format": "wav", "sample_rate": 8000, "download": "true"})
    assert soundfile.info(io.BytesIO(low.content)).samplerate == 8000
    assert low.headers["content-disposition"].startswith("attachment")
    for bad in ({"format": "aac"}, {"format": "wav", "bit_rate": 64}, {"bit_depth": 32}, {"loudness_profile": "loud"}):
        assert http.get(url, params=bad).status_code == 422, bad
    assert http.get("/v1/sounds/999999/audio").status_code == 404


def test_a_sound_can_be_looked_at(http: httpx.Client, gong: int) -> None:
    picture = http.get(f"/v1/sounds/{gong}/spectrogram.png", params={"dark": "true", "mel_bands": 64})
    assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")
    wave = http.get(f"/v1/sounds/{gong}/waveform.json", params={"buckets": 50})
    told = wave.json()
    assert wave.headers["content-type"] == "application/json" and told["length"] <= 50
    assert len(told["data"]) == told["length"] * told["channels"] * 2 and told["version"] == 2
    again = http.get(f"/v1/sounds/{gong}/waveform.json?buckets=50", headers={"if-none-match": wave.headers["etag"]})
    assert again.status_code == 304
    assert http.head(f"/v1/sounds/{gong}/spectrogram.png").status_code == 200
    tile = http.get(f"/v1/sounds/{gong}/tile.png")
    assert tile.content.startswith(b"\x89PNG") and len(tile.content) < 16_384 < len(picture.content)
    assert "immutable" in tile.headers["cache-control"]
    known = http.get(f"/v1/sounds/{gong}/tile.png", headers={"if-none-match": tile.headers["etag"]})
    assert known.status_code == 304
    assert http.get(f"/v1/sounds/{gong}/waveform.json?buckets=5000").status_code == 422


def test_marks_are_put_changed_and_taken_back(http: httpx.Client, gong: int) -> None:
    url = f"/v1/sounds/{gong}"
    assert http.put(f"{url}/rating", json={"rating": 4}).json()["rating"] == 4
    assert http.put(f"{url}/favourite").json()["favourite"] is True
    assert http.put(f"{url}/pin").json()["pinned"] is True
    assert http.put(f"{url}/tags", json={"tags": ["boss", "deep"]}).json()["tags"] == ["boss", "deep"]
    assert found(http, min_rating=4, favourite="true", pinned="true", tags="boss") == [gong]
    assert http.patch(url, json={"add_tags": ["metal"], "remove_tags": ["deep"]}).json()["tags"] == ["boss", "metal"]
    for name in ("rating", "favourite", "pin"):
        assert http.delete(f"{url}/{name}").status_code == 200
    told = http.get(url).json()
    assert (told["rating"], told["favourite"], told["pinned"]) == (None, False, False)
    wrong: list[tuple[str, dict[str, Any]]] = [("rating", {"rating": 6}), ("rating", {}), ("tags", {"tags": "x"})]
    for path, body in [*wrong, ("tags", {"tags": ["x"] * 33})]:
        assert http.put(f"{url}/{path}", json=body).status_code == 422, body
    assert http.patch(url, json={"rating": 3, "colour": "red"}).status_code == 422
    assert http.patch(url, content=b"{").status_code == 400


def test_a_removed_sound_is_gone_and_made_anew_when_asked_for(http: httpx.Client) -> None:
    entry = made(http, "a twig snaps")
    assert http.delete(f"/v1/sounds/{entry}").status_code == 204
    for path in ("", "/audio", "/waveform.json", "/spectrogram.png"):
        assert http.get(f"/v1/sounds/{entry}{path}").status_code == 404, path
    assert http.delete(f"/v1/sounds/{entry}").status_code == 404
    assert made(http, "a twig snaps") != entry


def test_the_pool_is_seen_without_its_paths(http: httpx.Client, pool: Pool, gong: int) -> None:
    engines = http.get("/v1/engines").json()["engines"]
    assert [one["name"] for one in engines] == ["procedural"] and engines[0]["state"] == "ready"
    assert http.get("/v1/engines/procedural").json() == engines[0]
    lost = http.get("/v1/engines/procedurall")
    assert lost.status_code == 404 and "procedural" in lost.json()["hint"]
    status, health = http.get("/v1/status"), http.get("/v1/health")
    assert status.json()["cache"] == "on" and status.json()["workers"]
    assert health.json()["state"] == "ready"
    told = http.post("/v1/explain", json={"prompt": "a gong of bronze", "duration_s": 0.5})
    assert told.json()["hit"] is True and told.json()["entries"][0]["id"] == gong
    assert http.get("/v1/voices").status_code == 200
    for answer in (status, health, told):
        assert answer.status_code == 200 and str(pool.place) not in answer.text


# -- keys


@pytest.fixture(scope="module")
def keyed(pool: Pool) -> Iterator[tuple[Gateway, dict[str, dict[str, str]]]]:
    """A gateway with keys, and the headers of each of them."""
    file, keys = pool.place / "library_keys.json", {}
    for name, *options in (("game", "--namespace", "shelf"), ("guest",), ("boss", "--operator")):
        command = [sys.executable, "-m", "audio_pool.cli", "keys", "http", "create", str(file), "--json"]
        done = subprocess.run([*command, "--name", name, *options], capture_output=True, text=True, check=True)
        keys[name] = {"authorization": f"Bearer {json.loads(done.stdout)['key']}"}
    gateway = Gateway(pool.place, pool.endpoint, config=f'[http]\nkeys_file = "{file}"\n', name="library_keys")
    with running(gateway):
        yield gateway, keys


def test_a_key_has_its_own_library_and_changes_no_other(
    keyed: tuple[Gateway, dict[str, dict[str, str]]], gong: int
) -> None:
    gateway, keys = keyed
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http:
        mine = made(http, "a coin falls", headers=keys["game"])
        listed = http.get("/v1/sounds", headers=keys["game"]).json()["sounds"]
        assert [(one["id"], one["namespace"]) for one in listed] == [(mine, "shelf")]
        for path in ("", "/audio", "/waveform.json", "/spectrogram.png"):
            answer = http.get(f"/v1/sounds/{gong}{path}", headers=keys["game"])
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
            assert http.get(f"/v1/sounds/{mine}{path}", headers=keys["game"]).status_code == 200, path
            other = http.get(f"/v1/sounds/{mine}{path}", headers=keys["guest"])
            assert other.status_code == 404, path
        named = http.get("/v1/sounds", params={"namespace": "default"}, headers=keys["game"])
        assert (named.status_code, named.json()["code"]) == (403, "refused")
        audio = http.get(f"/v1/sounds/{mine}/audio", headers=keys["game"])
        assert audio.headers["cache-control"].startswith("private")
        assert http.put(f"/v1/sounds/{mine}/rating", json={"rating": 5}, headers=keys["game"]).status_code == 200
        for method, path in (("PUT", "/pin"), ("DELETE", "")):
            answer = http.request(method, f"/v1/sounds/{gong}{path}", headers=keys["guest"])
            assert (answer.status_code, answer.json()["code"]) == (403, "refused")
        assert http.delete(f"/v1/sounds/{gong}/pin", headers=keys["boss"]).status_code == 200
        told = http.post("/v1/explain", json={"prompt": "a gong of bronze", "duration_s": 0.5}, headers=keys["game"])
        assert gong not in [one["id"] for one in told.json()["entries"]], "it is another's"
        assert http.delete(f"/v1/sounds/{mine}", headers=keys["game"]).status_code == 204
        for path in ("/v1/cache/eviction", "/v1/cache/duplicates"):
            answers = [http.get(path, headers=keys[name]).status_code for name in ("game", "guest", "boss")]
            assert answers == [403, 403, 200], path
        assert http.get("/v1/cache", headers=keys["game"]).json()["top_prompts"] == []
        mine = made(http, "a coin falls", headers=keys["game"])
        many = {"ids": [mine, gong]}
        for path in ("/v1/sounds/archive", "/v1/sounds/remove"):
            assert http.post(path, json=many, headers=keys["guest"]).status_code in (403, 404), path
        assert http.post("/v1/sounds/archive", json=many, headers=keys["game"]).status_code == 404
        done = http.post("/v1/sounds/remove", json=many, headers=keys["game"]).json()
        assert done["changed"] == [mine] and [one["id"] for one in done["failed"]] == [gong]
        status = http.get("/v1/status", headers=keys["guest"]).json()
        assert all(worker["at_work"] == [] for worker in status["workers"].values())
        assert http.get("/v1/sounds").status_code == 401
