"""Answers in time, by real workers: what stands in, the better sound after it, and who hears of that."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
import zmq
from tests.support.bench_pool import settings
from tests.support.engine_packages import engine_package
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AsyncAudioClient, AudioClient, AudioPool
from audio_pool.errors import Cancelled, Expired, InvalidRequest
from audio_pool.results import AudioResult

SOON_MS = 2500
"""What the built-in engine needs many times over; only where a deadline is what is tested."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AudioPool]:
    """The slow engine waits for files; the built-in one has a worker of its own."""
    folder = tmp_path_factory.mktemp("pool")
    package = engine_package(tmp_path_factory.mktemp("package"), "stage", "speaker")
    slow = {
        "name": "slow", "engines": ["stage", "speaker"], "credit": 1,
        "python": sys.executable, "env": {"PYTHONPATH": str(package)},
    }  # fmt: skip
    config = settings(
        folder,
        [slow, {"name": "quick", "engines": ["procedural"]}],
        engines={"stage": {"diary": str(folder / "diary")}},
        server={"bind": f"ipc://{folder}/s"},
        queue={"max_upgrades_per_client": 2},
    )
    with AudioPool.from_config(config, serve=True) as pool:
        pool.generate("a low hum", engine="procedural", duration_s=0.3, timeout_s=PATIENCE_S)
        yield pool


@pytest.fixture(scope="module")
def client(pool: AudioPool) -> Iterator[AudioClient]:
    with AudioClient(pool.endpoint, timeout_s=PATIENCE_S) as client:
        yield client


class Gate:
    """A prompt whose sound is not made before it is opened."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / name
        self.prompt = f"hold {self.file}"

    def open(self) -> None:
        self.file.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path, "gate")
    yield gate
    gate.open()


def test_the_built_in_engine_answers_by_the_deadline_and_the_real_sound_follows(pool: AudioPool, gate: Gate) -> None:
    pending = pool.submit(gate.prompt, deadline_ms=SOON_MS, best_by_deadline=True, upgrade=True)
    first = pending.result(PATIENCE_S)
    assert first.metadata.approximate is True and first.metadata.rung == "built_in"
    assert first.metadata.engine == "procedural" and Path(first.path).exists()
    better = pending.upgraded
    assert better is not None and better.request_id == first.metadata.upgrade_id and not better.done()
    gate.open()
    made = better.result(PATIENCE_S)
    assert made.metadata.engine == "stage" and made.metadata.approximate is False
    assert made.metadata.upgrade_of == first.request_id
    again = pool.generate(gate.prompt, deadline_ms=SOON_MS, best_by_deadline=True, timeout_s=PATIENCE_S)
    assert again.metadata.rung == "exact" and again.metadata.engine == "stage" and again.metadata.approximate is False
    plain = pool.generate(gate.prompt, timeout_s=PATIENCE_S)
    assert plain.metadata.cached and plain.metadata.engine == "stage" and "rung" not in plain.metadata


def test_without_an_upgrade_nobody_goes_on(pool: AudioPool, gate: Gate) -> None:
    pending = pool.submit(gate.prompt, deadline_ms=SOON_MS, best_by_deadline=True)
    first = pending.result(PATIENCE_S)
    assert first.metadata.approximate is True and pending.upgraded is None
    eventually(lambda: not pool.status().requests, "nobody waits")


def test_a_client_hears_of_the_better_sound_once_and_by_its_own_id(client: AudioClient, gate: Gate) -> None:
    told: Future[AudioResult] = Future()
    first = client.generate(gate.prompt, stand_in=True, on_upgrade=told.set_result)
    assert first.metadata.approximate is True
    gate.open()
    made = told.result(PATIENCE_S)
    assert made.metadata.engine == "stage" and made.metadata.request_id == first.metadata.upgrade_id


def test_the_better_sound_can_be_awaited(pool: AudioPool, gate: Gate) -> None:
    async def ask() -> tuple[AudioResult, AudioResult]:
        client = AsyncAudioClient(pool.endpoint, timeout_s=PATIENCE_S)
        try:
            pending = client.submit(gate.prompt, stand_in=True)
            first = await pending
            gate.open()
            assert pending.upgraded is not None
            return first, await pending.upgraded
        finally:
            await client.close()

    first, made = asyncio.run(ask())
    assert first.metadata.engine == "procedural" and made.metadata.engine == "stage"


def test_a_better_sound_is_cancelled_by_its_id(client: AudioClient, gate: Gate) -> None:
    pending = client.submit(gate.prompt, stand_in=True)
    first = pending.result(PATIENCE_S)
    assert pending.upgraded is not None and isinstance(first.metadata.upgrade_id, str)
    assert client.cancel(first.metadata.upgrade_id).cancelled
    with pytest.raises(Cancelled):
        pending.upgraded.result(PATIENCE_S)


def test_a_looser_match_is_marked_and_another_thing_is_never_offered(pool: AudioPool, tmp_path: Path) -> None:
    pool.generate("heavy rain on a tin roof", engine="procedural", duration_s=0.3, timeout_s=PATIENCE_S)
    # the slow engine is held up by somebody else's sound, and what it would make comes too late
    held = Gate(tmp_path, "held")
    busy = pool.submit(held.prompt)
    asked: dict[str, Any] = {"stand_in": True, "timeout_s": PATIENCE_S}
    try:
        like = pool.generate("light rain on a tin roof", **asked)
        assert like.metadata.rung == "looser" and like.metadata.approximate is True
        assert like.metadata.matched_prompt == "heavy rain on a tin roof"
        assert 0 < (like.metadata.cache_similarity or 0) < 1
        other = pool.generate("a dog barking on a tin roof", **asked)
        assert other.metadata.rung == "built_in", "a dog for rain is no answer"
        seeded = pool.generate("light rain on a tin roof", seed=7, **asked)
        assert seeded.metadata.approximate is True
        fresh = pool.generate("light rain on a tin roof", force=True, **asked)
        assert fresh.metadata.rung == "built_in" and not fresh.metadata.cached
        unkept = pool.generate("light rain on a pond", store=False, force=True, **asked)
        assert unkept.metadata.rung == "built_in" and unkept.metadata.entry_id is None
        one_of_many = pool.generate("soft wind", any_engine=True, **asked)
        assert one_of_many.metadata.rung == "built_in" and one_of_many.metadata.entry_id is None
        with pytest.raises(Expired):
            pool.generate(
                "light rain on a tin roof", strict=True, best_by_deadline=True, deadline_ms=100, timeout_s=PATIENCE_S
            )
    finally:
        held.open()
    busy.result(PATIENCE_S)
    eventually(lambda: not pool.status().requests, "nobody waits")


def test_what_stands_in_tells_what_presets_said_to_its_own_engine(pool: AudioPool, gate: Gate) -> None:
    pending = pool.submit(f"{gate.prompt} a dog barks", presets=["cathedral"], stand_in=True, force=True)
    first = pending.result(PATIENCE_S).metadata
    assert first.engine == "procedural" and first.options == {"space": "hall"}
    assert first.presets[0].contributed["scene"]["space"] == {"options": {"space": "hall"}}
    gate.open()
    assert pending.upgraded is not None
    better = pending.upgraded.result(PATIENCE_S).metadata
    assert better.presets[0].contributed["scene"]["space"] == {"words": "hall acoustics"}


def test_nothing_stands_in_for_a_sound_of_a_given_one_or_for_spoken_words(
    pool: AudioPool, gate: Gate, tmp_path: Path
) -> None:
    given = tmp_path / "given.wav"
    soundfile.write(given, np.sin(np.arange(13_230) / 9.0) / 4, 44_100)
    changed = pool.submit(gate.prompt, init_audio=str(given), stand_in=True)
    spoken = pool.submit("good morning to everybody", engine="speaker", stand_in=True)
    with pytest.raises(Expired):
        pool.generate(
            gate.prompt, init_audio=str(given), best_by_deadline=True, deadline_ms=400, timeout_s=PATIENCE_S
        )
    assert not changed.done(), "there is nothing at hand that is made of this sound"
    gate.open()
    other = pool.submit("good morning to everyone", engine="speaker", stand_in=True)
    for pending, engine in ((changed, "stage"), (spoken, "speaker"), (other, "speaker")):
        told = pending.result(PATIENCE_S).metadata
        assert (told.rung, told.approximate, told.engine) == ("made", False, engine)
        assert pending.upgraded is None


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"best_by_deadline": True}, "deadline_ms"),
        ({"upgrade": True}, "best_by_deadline"),
        ({"stand_in": True, "stream": True}, "stream"),
        ({"stand_in": True, "strict": True}, "strict"),
    ],
)
def test_wishes_that_exclude_each_other_are_refused(pool: AudioPool, fields: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        pool.generate("rain", **fields)


def test_a_durable_request_has_one_result(client: AudioClient, gate: Gate) -> None:
    with pytest.raises(InvalidRequest, match="durable"):
        client.generate(gate.prompt, durable=True, stand_in=True, upgrade=True)
    at_hand = client.generate(gate.prompt, durable=True, stand_in=True)
    assert at_hand.metadata.approximate is True and "upgrade_id" not in at_hand.metadata
    first = client.generate(gate.prompt, durable=True, best_by_deadline=True, deadline_ms=SOON_MS)
    assert first.metadata.approximate is True
    report = client.job(first.request_id)
    assert report.state == "done" and report.metadata is not None and report.metadata.approximate is True


def test_one_who_hears_no_events_finds_the_better_sound_in_the_cache(pool: AudioPool, gate: Gate) -> None:
    request = {"prompt": gate.prompt, "stand_in": True}
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = int(PATIENCE_S * 1000)
        assert pool.endpoint is not None
        socket.connect(pool.endpoint)

        def ask(**message: Any) -> dict[str, Any]:
            socket.send(msgspec.msgpack.encode({"v": 1, **message}))
            answer: dict[str, Any] = msgspec.msgpack.decode(socket.recv_multipart()[0])
            return answer

        first = ask(type="generate", request_id="r1", request=request, events=True)
        assert first["type"] == "result" and first["metadata"]["approximate"] is True
        gate.open()
        eventually(lambda: not pool.status().requests, "nobody waits")
        again = ask(type="generate", request_id="r2", request=request)
        assert again["request_id"] == "r2" and again["metadata"]["rung"] == "exact"
        assert again["metadata"]["engine"] == "stage"


def test_one_client_has_so_many_better_sounds_under_way(client: AudioClient, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"g{n}") for n in range(3)]
    asked = [client.submit(one.prompt, stand_in=True) for one in gates]
    results = [one.result(PATIENCE_S) for one in asked]
    for one in gates:
        one.open()
    refused = [one for one in results if any(word.startswith("no_upgrade") for word in one.metadata.warnings)]
    assert len(refused) == 1 and "upgrade_id" not in refused[0].metadata
    for pending in asked:
        if pending.upgraded is not None:
            assert pending.upgraded.result(PATIENCE_S).metadata.engine == "stage"


def test_the_command_prints_the_first_and_then_the_better_one(pool: AudioPool, gate: Gate) -> None:
    asked = ["--deadline", str(SOON_MS / 1000), "--best-by-deadline", "--upgrade", "--json"]
    words = [sys.executable, "-m", "audio_pool.cli", "generate", gate.prompt, "--connect", str(pool.endpoint), *asked]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline()]
        gate.open()  # not before the first is told: then the real sound would be in time
        lines += running.stdout.read().splitlines()
        assert running.wait(PATIENCE_S) == 0
    first, better = (json.loads(line) for line in lines)
    assert first["approximate"] is True and better["approximate"] is False and better["engine"] == "stage"
