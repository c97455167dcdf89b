"""Sounds that are sent while they are made: a real server, real workers, both clients and a foreign one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import soundfile
import zmq
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient, AudioSemanticCache
from audio_pool.audio.codec import inspect
from audio_pool.errors import Cancelled, EngineError, Expired, InvalidRequest, WorkerDied
from audio_pool.results import AudioResult, Chunk

DTYPES = {"s16le": "<i2", "f32le": "<f4"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("stream")
    sections: dict[str, Any] = {
        "defaults": {"engine": "piecewise", "duration_s": 6.0},
        "limits": {"restart_backoff_s": 0.05},
        "workers": [{"name": "w", "engines": ["piecewise"], "credit": 1}],
    }
    with Served(place, brings=("piecewise",), **sections) as running:
        yield running.ready()


@pytest.fixture
def client(served: Served) -> Iterator[AudioClient]:
    with AudioClient(served.endpoint, timeout_s=PATIENCE_S) as one:
        yield one


def in_the_file(chunks: Iterable[Chunk], result: AudioResult) -> None:
    """Hold that the chunks, in a row and numbered, are the file's samples."""
    chunks = list(chunks)
    assert [chunk.number for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk.start for chunk in chunks] == [sum(one.frames for one in chunks[:n]) for n in range(len(chunks))]
    dtype = DTYPES[chunks[0].encoding]
    sent = np.frombuffer(b"".join(chunk.data for chunk in chunks), dtype).reshape(-1, chunks[0].channels)
    kept, rate = soundfile.read(result.path, dtype="int16" if dtype == "<i2" else "float32", always_2d=True)
    assert rate == chunks[0].sample_rate == result.metadata.sample_rate
    assert len(kept) == round(result.metadata.duration_s * rate)
    np.testing.assert_array_equal(sent, kept)


def touch(path: Path) -> None:
    path.write_text("")


def test_chunks_come_while_the_rest_is_not_made(client: AudioClient, served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with client.stream(f"wait {go}", duration_s=8) as stream:
        first = next(stream)
        assert first.number == 1 and first.start == 0 and first.channels == 2 and first.encoding == "s16le"
        assert not stream.pending.done()
        touch(go)
        chunks = [first, *stream]
        result = stream.result()
    in_the_file(chunks, result)
    told = result.metadata
    assert told.duration_s == 8 and told.stream.pieces == "engine" and told.stream.gain_from_s == 3
    # the gain is that of the quiet beginning: what is louder later is held under the ceiling
    assert told.stream.limited_db > 1 and told.true_peak_dbfs <= -2.0
    assert told.loudness_lufs > -23
    assert served.diary().count(f"wait {go}") == 1


def test_a_streamed_sound_is_kept_and_comes_in_chunks_again(client: AudioClient, served: Served) -> None:
    first = client.stream("a tone to keep", bit_depth=32)
    in_the_file(first, first.result())
    assert first.result().metadata.entry_id is not None
    with AudioSemanticCache(served.place / "cache") as cache:  # the sound stays, the file that was sent goes in time
        leaving = cache._store.leaving.files()
    assert Path(first.result().path).name in {Path(file).name for file in leaving}
    again = client.stream("a tone to keep", bit_depth=32)
    in_the_file(again, again.result())
    assert again.result().metadata.cached
    plain = client.generate("a tone to keep")
    assert plain.metadata.entry_id == first.result().metadata.entry_id
    assert plain.metadata.loudness_lufs == pytest.approx(-23, abs=0.2)  # who asks for all of it gets it at its level


def test_what_is_made_ahead_is_no_stream(client: AudioClient, served: Served) -> None:
    stream = client.stream("a tone to have more of", prefetch=2)
    in_the_file(stream, stream.result())
    assert stream.result().metadata.stream.pieces == "engine"
    eventually(lambda: served.diary().count("a tone to have more of") == 2, "another is made")
    other = client.generate("a tone to have more of", variant=2)
    assert other.metadata.get("stream") is None and other.metadata.loudness_lufs == pytest.approx(-23, abs=0.2)


def test_who_joins_late_gets_all_chunks_from_the_first(client: AudioClient, served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    first = client.stream(f"wait {go}")
    begun = next(first)
    second = client.stream(f"wait {go}")
    eventually(lambda: client.status().requests == 2, "the second is there")
    touch(go)
    in_the_file([begun, *first], first.result())
    in_the_file(second, second.result())
    assert second.result().metadata.cache_type == "joined" and served.diary().count(f"wait {go}") == 1


def test_a_plain_request_does_not_join_a_stream(client: AudioClient, served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    stream = client.stream(f"wait {go}", force=False)
    begun = next(stream)
    plain = client.submit(f"wait {go}")
    eventually(lambda: client.status().requests == 2, "the second is there")
    touch(go)
    in_the_file([begun, *stream], stream.result())
    assert plain.result(PATIENCE_S).metadata.cache_type != "joined"


def test_whoever_leaves_cancels(client: AudioClient, tmp_path: Path) -> None:
    never = tmp_path / "never"
    with client.stream(f"wait {never}") as stream:
        next(stream)
    with pytest.raises(Cancelled):
        stream.result(PATIENCE_S)
    assert client.generate("after the cancel").path


def test_a_deadline_in_the_middle_ends_the_stream(client: AudioClient, tmp_path: Path) -> None:
    chunks = []
    with pytest.raises(Expired):  # noqa: PT012
        for chunk in client.stream(f"wait {tmp_path / 'never'}", deadline_ms=1500):
            chunks.append(chunk)
    assert client.generate("after the deadline").path


def test_a_worker_that_dies_in_the_middle_ends_the_stream(
    client: AudioClient, served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    stream = client.stream(f"die {path}")
    next(stream)
    touch(tmp_path / "x.now")
    with pytest.raises(WorkerDied):
        list(stream)
    assert served.diary().count(f"die {path}") == 1


def test_a_worker_that_dies_before_the_first_chunk_is_made_good(
    client: AudioClient, served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    stream = client.stream(f"early {path}")
    in_the_file(stream, stream.result())
    assert served.diary().count(f"early {path}") == 2


def test_an_engine_that_fails_in_the_middle_ends_the_stream(client: AudioClient) -> None:
    stream = client.stream("stop")
    with pytest.raises(EngineError):
        list(stream)


def test_what_cannot_be_streamed_is_refused(client: AudioClient) -> None:
    with pytest.raises(InvalidRequest, match="candidates = 2: the best of several"):
        list(client.stream("x", candidates=2))


def test_asyncio(served: Served) -> None:
    async def go() -> None:
        async with AsyncAudioClient(served.endpoint, timeout_s=PATIENCE_S) as client:
            async with client.stream("a tone for asyncio") as stream:
                chunks = [chunk async for chunk in stream]
                result = await stream.pending
            in_the_file(chunks, result)
            fields = {"sample_rate": 96_000, "bit_depth": 32}
            results = await asyncio.gather(*(whole(client, f"tone {n}", **fields) for n in range(2)))
            assert all(results)

    async def whole(client: AsyncAudioClient, prompt: str, **fields: Any) -> bool:
        stream = client.stream(prompt, **fields)
        chunks = [chunk async for chunk in stream]
        in_the_file(chunks, await stream.pending)
        return True

    asyncio.run(go())


def test_the_command_line_writes_it_while_it_is_made(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = [sys.executable, "-m", "audio_pool.cli", "generate", "--connect", served.endpoint, "--stream"]
    with subprocess.Popen([*command, f"wait {go}", "-o", "-"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        begun = process.stdout.read(44 + 4 * 32_000)
        go.write_text("")
        rest = process.stdout.read()
    assert process.returncode == 0 and begun[:4] == b"RIFF"
    with AudioClient(served.endpoint, timeout_s=PATIENCE_S) as client:
        kept = client.generate(f"wait {go}")
    assert len(begun + rest) - 44 == 4 * round(kept.metadata.duration_s * kept.metadata.sample_rate)
    target = tmp_path / "again.wav"
    told = subprocess.run([*command, "a tone to a file", "-o", target, "--json"], check=True, capture_output=True)
    assert json.loads(told.stdout)["path"] == str(target)
    assert soundfile.info(target).duration == 6  # its head says so, now that it is known
    found = inspect(target)
    assert found["recipe"]["prompt"] == "a tone to a file" and found["recipe"]["engine"] == "piecewise"
    odd = [*command, "a tone to an odd end", "--duration", "1.00002", "--bit-depth", "24"]
    subprocess.run([*odd, "--loudness", "game", "-o", tmp_path / "odd.wav"], check=True, capture_output=True)
    told = inspect(tmp_path / "odd.wav")
    assert told["channels"] * told["frames"] % 2 and told["recipe"]["prompt"] == "a tone to an odd end"
    failed = subprocess.run([*command, "stop", "-o", tmp_path / "none.wav"], capture_output=True, check=False)
    assert failed.returncode and b"gear" not in failed.stdout and not (tmp_path / "none.wav").exists()
    whole = target.read_bytes()
    again = [*command, "stop", "--overwrite", "-o", target]
    assert subprocess.run(again, capture_output=True, check=False).returncode
    assert target.read_bytes() == whole, "what was there is lost, and nothing took its place"
    again[again.index("stop")] = "another tone"
    subprocess.run(again, check=True, capture_output=True)
    assert inspect(target)["recipe"]["prompt"] == "another tone"
    assert {path.name for path in tmp_path.iterdir()} == {"go", "again.wav", "odd.wav"}
    refused = subprocess.run([*command, "a tone"], capture_output=True, check=False)
    assert refused.returncode == 2 and b"--stream: given without a file" in refused.stderr


# -- a foreign client


def ask(socket: zmq.Socket[bytes], request_id: str, *, events: bool = True, **fields: Any) -> None:
    request = {"stream": True, **fields}
    message = {"v": 1, "type": "generate", "request_id": request_id, "events": events, "request": request}
    socket.send(msgpack.packb(message))


def replies(socket: zmq.Socket[bytes]) -> Iterator[list[Any]]:
    while True:
        assert socket.poll(PATIENCE_S * 1000), "no message"
        head, *frames = socket.recv_multipart()
        message = msgpack.unpackb(head)
        yield [message, *frames]
        if message["type"] not in ("accepted", "progress", "chunk"):
            return


@pytest.mark.parametrize(("kind", "events"), [(zmq.REQ, True), (zmq.DEALER, False)])
def test_who_asks_for_no_events_gets_the_final_reply_alone(served: Served, kind: int, events: bool) -> None:
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.connect(served.endpoint)
        ask(socket, "r", events=events, prompt="a tone without events")
        (final, *frames), = replies(socket)
        assert final["type"] == "result" and not frames and final["metadata"]["stream"]["pieces"] == "engine"


def test_a_slow_reader_gets_everything_and_holds_up_nobody(
    served: Served, client: AudioClient, tmp_path: Path
) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.rcvhwm, socket.rcvbuf = 1, 1 << 16
        socket.linger = 0
        socket.connect(served.endpoint)
        # 38 MB: more than zmq and the server keep for a client
        ask(socket, "slow", prompt="a long tone", duration_s=50, sample_rate=96_000, bit_depth=32)
        eventually(lambda: "a long tone" in served.diary(), "it is made")
        assert client.generate("while another reads nothing").path
        received = list(replies(socket))
    *chunks, final = [one for one in received if one[0]["type"] in ("chunk", "result")]
    assert final[0]["type"] == "result"
    numbers = [head["body"]["number"] for head, _ in chunks]
    assert numbers == list(range(1, len(chunks) + 1))
    samples = np.frombuffer(b"".join(data for _, data in chunks), "<f4").reshape(-1, 2)
    kept, _ = soundfile.read(final[0]["path"], dtype="float32", always_2d=True)
    np.testing.assert_array_equal(samples, kept)
    assert os.path.getsize(final[0]["path"]) > 38_000_000
