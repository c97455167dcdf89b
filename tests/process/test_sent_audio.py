"""A sound to start from that is sent with its request, through a real server and over its death."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path

import msgpack
import numpy as np
import pytest
import soundfile
import zmq
from tests.support.asker import Asker
from tests.support.command_line import command
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient
from audio_pool.errors import Conflict, InvalidAudio


def sound(seconds: float = 0.1, hz: float = 200.0) -> bytes:
    file = io.BytesIO()
    audio = 0.3 * np.sin(2 * np.pi * hz * np.arange(int(44_100 * seconds)) / 44_100)
    soundfile.write(file, audio, 44_100, format="WAV")
    return file.getvalue()


async def awaited(endpoint: str, start: Path) -> bool:
    async with AsyncAudioClient(endpoint, timeout_s=PATIENCE_S) as client:
        return (await client.generate("tone from it", init_audio=start, init_strength=0.5)).metadata.cached


def generate(ask: Asker, name: str, *pieces: bytes, kind: str = "generate", **request: object) -> dict[str, object]:
    message = {"v": 1, "type": kind, "request_id": name}
    if kind == "generate":
        message["request"] = {"prompt": "tone from wire", **request}
    ask.socket.send_multipart([msgpack.packb(message), *pieces])
    return ask.final(name)


def test_the_same_bytes_are_the_same_sound_however_they_come_and_jobs_keep_them(tmp_path: Path) -> None:
    start = tmp_path / "start.wav"
    start.write_bytes(sound())
    large = sound(15.0)  # over a frame's bound: it travels in two
    config = {"server": {"max_sent_audio_bytes": 2 << 20}}
    with Served(tmp_path / "server", bind="tcp://127.0.0.1:*", **config).ready() as server:
        with AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client:
            # the very same bytes are the same sound, named, sent, or read here and sent
            first = client.generate("tone from it", init_audio=str(start), init_strength=0.5)
            assert first.metadata.cache_type == "new_generation"
            for given in (sound(), start, bytearray(sound())):
                again = client.generate("tone from it", init_audio=given, init_strength=0.5)
                assert again.metadata.cache_type == "exact" and again.metadata.entry_id == first.metadata.entry_id
            assert not client.generate("tone from it", init_audio=sound(hz=300.0), init_strength=0.5).metadata.cached
            assert client.generate("tone from much", init_audio=large).metadata.cache_type == "new_generation"
            with pytest.raises(InvalidAudio, match=r"bytes were sent, allowed are 1 to 2,097,152"):
                client.generate("tone from more", init_audio=bytes((2 << 20) + 1))
            with pytest.raises(InvalidAudio):
                client.generate("tone from noise", init_audio=b"no sound at all")
        assert asyncio.run(awaited(server.endpoint, start))
        words = ["tone from it", "--init-audio", str(start), "--init-strength", "0.5", "-o", str(tmp_path / "out.wav")]
        told = command("generate", *words, "--connect", server.endpoint, "--delivery", "inline")
        assert told.returncode == 0 and "from the cache" in told.stdout, told.stderr

        # others than ours: nobody in particular may send what it may not name; in any pieces; from a REQ socket
        with Asker(server.endpoint) as ask, Asker(server.endpoint, zmq.REQ) as req:
            named = generate(ask, "named", init_audio=str(start))
            assert named["error"]["code"] == "path_not_allowed"  # type: ignore[index]
            assert generate(ask, "sent", sound())["type"] == "result"
            pieces = [sound()[at : at + 1000] for at in range(0, len(sound()), 1000)]
            assert generate(ask, "pieces", *pieces)["metadata"]["cached"]  # type: ignore[index]
            assert generate(req, "req", sound())["metadata"]["cached"]  # type: ignore[index]
            for name, code, frames, kind in (
                ("both", "bad_request", [sound()], "generate"),
                ("nothing", "bad_audio", [b""], "generate"),
                ("crumbs", "bad_message", [b"x"] * 1025, "generate"),
                ("question", "bad_message", [b"x"], "health"),
            ):
                request = {"init_audio": str(start)} if name == "both" else {}
                refused = generate(ask, name, *frames, kind=kind, **request)
                assert refused["error"]["code"] == code, name  # type: ignore[index]
            assert ask.quiet(0.05)

        with AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client:
            gate = tmp_path / "gate"
            held = f"hold {gate} from it"
            client.submit(held, durable=True, request_id="held", init_audio=start)
            eventually(lambda: client.job("held").state == "running", "it runs")
            with pytest.raises(Conflict), AudioClient(server.endpoint, timeout_s=PATIENCE_S) as other:
                other.generate(held, durable=True, request_id="held", init_audio=sound(hz=300.0))
            client.submit("tone noise", durable=True, request_id="noise", init_audio=b"no sound at all")
            assert client.job("noise").state == "pending"  # asked at once, it waits until the sound is known
        server.signal(signal.SIGKILL)
        server.wait()
    gate.touch()
    start.unlink()
    with (
        Served(tmp_path / "server", bind=server.endpoint, **config).ready() as server,
        AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client,
    ):
        assert client.fetch("held").metadata.prompt == held
        joined = client.generate(held, durable=True, request_id="held", init_audio=sound())
        assert joined.metadata.prompt == held and server.diary().count(held) == 2  # begun twice, recorded once
        with pytest.raises(InvalidAudio):
            client.fetch("noise")
        client.retry("noise")
        with pytest.raises(InvalidAudio):
            client.fetch("noise")
