"""Sounds that go out over HTTP while they are made: our own route, and those of the dialects that are called so."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import resource
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.gateway.spool import Spool


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    sections: dict[str, Any] = {
        "defaults": {"engine": "piecewise", "duration_s": 6.0},
        "workers": [{"name": "w", "engines": ["piecewise"], "credit": 1}],
    }
    with Served(tmp_path_factory.mktemp("live"), brings=("piecewise",), **sections) as one:
        yield one.ready()


@pytest.fixture(scope="module")
def door(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    gateway = Gateway(tmp_path_factory.mktemp("door"), served.endpoint)
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def samples_of(data: bytes) -> tuple[Any, int]:
    """The samples of a WAV whose head does not say how many there are, and its rate."""
    assert data[:4] == b"RIFF" and data[36:40] == b"data"
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, 20)
    assert (kind, bits) == (1, 16) and struct.unpack_from("<I", data, 40)[0] == 0xFFFF_FFFF
    return np.frombuffer(data[44:], "<i2").reshape(-1, channels), rate


@pytest.mark.parametrize(("address", "body"), [
    ("/v1/sounds?stream=true", {"prompt": "wait {}"}),
    ("/v1/audio/speech",
     {"input": "wait {}", "model": "piecewise", "response_format": "wav", "stream_format": "audio"}),
    ("/v1/audio/generate", {"input": "wait {}", "model": "piecewise", "stream_format": "audio"}),
    ("/v1/music/stream?output_format=wav_32000",
     {"prompt": "wait {}", "model_id": "piecewise", "music_length_ms": 6000, "duration_tolerance": 0}),
])  # fmt: skip
def test_samples_come_while_the_rest_is_not_made(
    door: httpx.Client, tmp_path: Path, address: str, body: dict[str, Any]
) -> None:
    go = tmp_path / "go"
    field = "input" if "input" in body else "prompt"
    with door.stream("POST", address, json=body | {field: f"wait {go}"}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "audio/wav" and answer.headers["x-sound-channels"] == "2"
        assert "content-length" not in answer.headers
        coming = answer.iter_bytes()
        data = next(coming)
        while len(data) < 32_000:
            data += next(coming)
        go.write_text("")
        data += b"".join(coming)
    samples, rate = samples_of(data)
    assert len(samples) == 6 * rate and str(rate) == answer.headers["x-sound-sample-rate"]


def test_a_sound_over_http_is_the_file_of_the_pool(door: httpx.Client, served: Served) -> None:
    answer = door.post("/v1/sounds?stream=true", json={"prompt": "a tone for both"}, headers={"accept": "audio/wav"})
    with AudioClient(served.endpoint, timeout_s=PATIENCE_S) as client:
        again = client.stream("a tone for both")
        kept = np.frombuffer(b"".join(chunk.data for chunk in again), "<i2").reshape(-1, 2)
        assert again.result().metadata.cached
    # the kept one has the level of the whole; what was sent, that of its beginning
    np.testing.assert_allclose(np.corrcoef(samples_of(answer.content)[0][:, 0], kept[:, 0])[0, 1], 1.0, atol=0.2)
    hit = door.post("/v1/sounds?stream=true", json={"prompt": "a tone for both"})
    np.testing.assert_array_equal(samples_of(hit.content)[0], kept)
    assert soundfile.info(io.BytesIO(hit.content)).frames == len(kept)  # readers know such a head


def test_pcm_has_no_head(door: httpx.Client) -> None:
    answer = door.post("/v1/sounds?stream=true", json={"prompt": "a tone"}, headers={"accept": "audio/pcm"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/pcm" and answer.headers["x-sound-channels"] == "1"
    assert len(answer.content) == 2 * 6 * int(answer.headers["x-sound-sample-rate"])


def test_events_hold_the_samples(door: httpx.Client) -> None:
    asked = {"input": "a tone", "model": "piecewise", "response_format": "pcm", "stream_format": "sse"}
    answer = door.post("/v1/audio/speech", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    data = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert len(data) == 2 * 6 * 24_000 and events[-1]["type"] == "speech.audio.done"


def test_who_goes_away_cancels(door: httpx.Client, served: Served, tmp_path: Path) -> None:
    with door.stream("POST", "/v1/sounds?stream=true", json={"prompt": f"wait {tmp_path / 'never'}"}) as answer:
        next(answer.iter_bytes())
    with AudioClient(served.endpoint, timeout_s=PATIENCE_S) as client:
        eventually(lambda: client.status().requests == 0, "the request has ended")
        assert client.status().answers["cancelled"] >= 1


def test_what_breaks_off_does_not_look_whole(door: httpx.Client) -> None:
    with door.stream("POST", "/v1/sounds?stream=true", json={"prompt": "stop"}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            list(answer.iter_bytes())
    assert door.get("/health").status_code == 200


@pytest.mark.parametrize(("body", "headers", "status", "says"), [
    ({"prompt": "x", "candidates": 2}, {}, 422, "candidates"),
    ({"prompt": "x", "format": "mp3"}, {}, 422, "wav and pcm"),
    ({"prompt": "x"}, {"accept": "application/json"}, 406, "audio/wav"),
    ({"prompt": "x"}, {"accept": "audio/flac"}, 406, "audio/wav"),
    ({"prompt": "x"}, {"idempotency-key": "k"}, 422, "Idempotency-Key"),
    ({"prompt": "x"}, {"prefer": "respond-async"}, 422, "Prefer"),
])  # fmt: skip
def test_what_cannot_be_streamed_is_refused_before_it_begins(
    door: httpx.Client, body: dict[str, Any], headers: dict[str, str], status: int, says: str
) -> None:
    answer = door.post("/v1/sounds?stream=true", json=body, headers=headers)
    assert answer.status_code == status and says in answer.json()["detail"]


def test_a_spool_gives_what_it_was_given_at_any_pace() -> None:
    data = np.random.default_rng(0).bytes(5_000_000)

    async def through() -> bytes:
        spool, got = Spool(), b""
        for start in range(0, len(data), 300_000):
            spool.put(data[start : start + 300_000])
            if start % 900_000 == 0:
                got += await spool.get()
        spool.end()
        while part := await spool.get():
            got += part
        spool.close()
        return got

    assert asyncio.run(through()) == data


def test_a_spool_that_finds_no_room_can_still_be_closed() -> None:
    spool = Spool()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):  # noqa: PT012
            while True:
                spool.put(bytes(4_000))
        spool.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
