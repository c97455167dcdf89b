"""What is made of a given sound, and what is heard in sounds that are sent, through a real server far away."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import soundfile
from tests.support.asker import Asker
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool import AsyncAudioClient, AudioClient
from audio_pool.errors import BadMessage, InvalidAudio, InvalidRequest

RATE = 22_050


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal((round(seconds * RATE), 2))).astype(np.float32)


def file_of(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    sections: dict[str, Any] = {
        "defaults": {"engine": "procedural", "duration_s": 0.2},
        "cache": {"encoder": "off", "scorer": "listener", "tau_accept_new": -1.0},
        "sound": {"apply_highpass_filter": False, "sample_rate": RATE},
        "server": {"max_sent_audio_bytes": 3 << 20},
        "workers": [{"name": "w", "engines": ["procedural", "listener"], "credit": 1}],
    }
    place = tmp_path_factory.mktemp("served")
    with Served(place, bind="tcp://127.0.0.1:*", brings=("listener",), **sections).ready() as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[AudioClient]:
    with AudioClient(server.endpoint, timeout_s=PATIENCE_S) as opened:
        yield opened


def loud(level: float) -> list[float]:
    """What ``listener`` hears in a sound of this RMS."""
    return [level, float(np.sqrt(1 - level**2)), 0.0]


# -- a part anew, and more of it -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_a_given_sound_that_is_none_is_named_rather_than_the_engine(client: AudioClient, value: float) -> None:
    given = noise(1.0)
    given[5] = value
    with pytest.raises(InvalidAudio, match="init_audio: given a sound with 2 of 44,100 samples that are no number"):
        client.generate("rain", init_audio=file_of(given), extend_s=0.5)


def test_what_is_made_of_a_sound_is_found_again_by_who_has_it_and_by_nobody_else(client: AudioClient) -> None:
    given = file_of(noise(2.0))
    part = {"init_audio": given, "mask_start_s": 0.8, "mask_end_s": 1.2}
    first = client.generate("heavy rain", **part)
    assert (first.metadata.duration_s, first.metadata.cached, first.metadata.warnings) == (2.0, False, ())
    again = client.generate("heavy rain", **part)
    assert again.metadata.entry_id == first.metadata.entry_id
    longer = client.generate("heavy rain", init_audio=given, extend_s=0.5)
    assert (longer.metadata.duration_s, longer.metadata.cached) == (2.5, False)
    assert client.generate("heavy rain", init_audio=given, extend_s=0.5).metadata.cached
    others = ({"mask_end_s": 1.3}, {"init_audio": file_of(noise(2.0, seed=1))})
    assert not any(client.generate("heavy rain", **{**part, **other}).metadata.cached for other in others)
    for duration_s in (0.4, 1.2, 2.0, 2.5):
        plain = client.generate("heavy rain", duration_s=duration_s, duration_tolerance=1.0)
        assert plain.metadata.entry_id not in (first.metadata.entry_id, longer.metadata.entry_id)


def test_the_command_line_sends_the_sound_and_says_which_part(server: Served, tmp_path: Path) -> None:
    given, out = tmp_path / "given.wav", tmp_path / "out.wav"
    given.write_bytes(file_of(noise(2.0)))
    words = ["generate", "heavy rain", "--init-audio", str(given), "-o", str(out), "--connect", server.endpoint]
    done = command(*words, "--mask", "0.8:1.2", "--delivery", "inline")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(out).duration == 2.0
    done = command(*words, "--extend-s", "0.5", "--delivery", "inline", "--overwrite")
    assert done.returncode == 0 and soundfile.info(out).duration == 2.5, done.stderr
    wrong = command(*words, "--mask", "0.8", "--overwrite")
    assert wrong.returncode == 2 and "--mask: given '0.8', allowed is START:END in seconds" in wrong.stderr
    twice = command(*words, "--mask", "0:1", "--mask-start", "0", "--overwrite")
    assert twice.returncode == 2 and "--mask: given with --mask-start" in twice.stderr


# -- samples in place of a file ----------------------------------------------------------------------


def test_samples_come_as_they_lie_in_the_file(client: AudioClient, server: Served) -> None:
    result = client.generate("rain on a tin roof", duration_s=0.3, delivery="raw")
    wanted, rate = soundfile.read(result.path, dtype="float32")
    assert (result.metadata.sample_rate, result.data) == (rate, None)
    assert result.audio.dtype == np.float32 and result.audio.shape == (2, round(0.3 * rate))
    np.testing.assert_array_equal(result.audio, wanted.T)
    assert np.abs(result.audio).max() > 0.01 and (result.metadata.format, result.metadata.bit_depth) == ("wav", 32)

    async def asked() -> Any:
        async with AsyncAudioClient(server.endpoint, timeout_s=PATIENCE_S) as other:
            return await other.generate("rain on a tin roof", duration_s=0.3, delivery="raw")

    again = asyncio.run(asked())
    assert again.metadata.cached
    np.testing.assert_array_equal(again.audio, result.audio)
    kept = client.generate("rain on a tin roof", duration_s=0.3, delivery="raw", known=result.path)
    assert kept.audio is None and kept.path == result.path, "what the caller has already is not sent again"
    with Asker(server.endpoint) as ask:
        ask.generate("wire", "rain on a tin roof", duration_s=0.3, delivery="raw")
        told = ask.final("wire")
    assert told["samples"] == {"frames": 6615, "channels": 2, "sample_rate": RATE, "encoding": "f32le"}
    interleaved = np.frombuffer(told["frame"], "<f4").reshape(6615, 2)
    np.testing.assert_array_equal(interleaved.T, result.audio)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"format": "mp3"}, "format: given 'mp3' with delivery 'raw'"),
        ({"bit_depth": 16}, "bit_depth: given 16 with delivery 'raw'"),
        ({"durable": True}, "delivery: given 'raw' with durable"),
        ({"stream": True}, "stream: given with delivery = 'raw'"),
    ],
)
def test_what_does_not_go_with_samples_is_refused(client: AudioClient, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        client.generate("rain", delivery="raw", **fields)
    assert "--delivery raw" in command("generate", "rain", "--delivery", "raw", "--connect", "never").stderr


# -- CLAP of sounds that are sent --------------------------------------------------------------------


def test_sounds_that_are_sent_are_heard_beside_words(client: AudioClient, server: Served, tmp_path: Path) -> None:
    quiet, much = tmp_path / "quiet.wav", file_of(np.full((200_000, 2), 0.5, np.float32))
    quiet.write_bytes(file_of(np.full((RATE, 2), 0.25, np.float32)))
    assert len(much) > 1 << 20, "it travels in two frames, and begins in the middle of one"
    body = client.clap("embed", ["loud"], sounds=[quiet, much, bytearray(quiet.read_bytes())])
    np.testing.assert_allclose(body["sounds"], [loud(0.25), loud(0.5), loud(0.25)], atol=1e-6)
    assert body["texts"] == [[1.0, 0.0, 0.0]] and body["paths"] == []
    body = client.clap("similarity", ["loud"], sounds=[much])
    assert body["of"] == ["loud", "sound 1"] and body["similarity"][0][1] == pytest.approx(0.5)
    body = client.clap("zero-shot", ["loud", "other"], sounds=[quiet])
    assert body["paths"] == ["sound 1"]
    np.testing.assert_allclose(body["scores"], [[0.25, 0.0]], atol=1e-6)

    async def asked() -> Any:
        async with AsyncAudioClient(server.endpoint, timeout_s=PATIENCE_S) as other:
            return await other.clap("embed", sounds=[quiet])

    np.testing.assert_allclose(asyncio.run(asked())["sounds"], [loud(0.25)], atol=1e-6)
    told = command("clap", "embed", str(quiet), "loud", "--connect", server.endpoint, "--json")
    assert told.returncode == 0, told.stderr
    vectors = [row["vector"] for row in json.loads(told.stdout)["vectors"]]
    np.testing.assert_allclose(vectors, [loud(0.25), [1.0, 0.0, 0.0]], atol=1e-6)


def test_sounds_that_cannot_be_heard_are_refused(client: AudioClient, server: Served) -> None:
    fine = file_of(noise(0.1))
    with pytest.raises(InvalidAudio, match=r"sounds: 4,000,000 bytes were sent, allowed are 1 to 3,145,728"):
        client.clap("embed", sounds=[fine, bytes(4_000_000)])
    with pytest.raises(InvalidAudio):
        client.clap("embed", sounds=[fine, b"no sound at all"])
    with pytest.raises(InvalidRequest, match="sounds: given 0 bytes"):
        client.clap("embed", sounds=[b""])
    with pytest.raises(InvalidRequest, match=r"sounds: given 'a\.wav', allowed are the bytes"):
        client.clap("embed", sounds=["a.wav"])  # type: ignore[list-item]
    with Asker(server.endpoint) as ask:
        for name, sizes, frames in (("more", [3], [b"12345"]), ("fewer", [9], [b"12345"]), ("none", [5], [])):
            message = {"v": 1, "type": "clap", "request_id": name, "operation": "embed", "sounds": sizes}
            ask.socket.send_multipart([msgpack.packb(message), *frames])
            assert ask.final(name)["error"]["code"] == BadMessage.code, name
