"""The hand-over between real processes: kills of either side and of the owner, two pools, a full tmpfs."""

from __future__ import annotations

import contextlib
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors

from audio_pool.errors import BadMessage, StorageError
from audio_pool.tasks import TensorRef
from audio_pool.transport.arena import Arena, sweep
from audio_pool.transport.tensors import SlotReader, SlotWriter

FRAMES = 300_000  # 2.4 MB: long enough to be killed in the midst of a copy
SLOTS = 4
QUOTA = 64 << 20
DEADLINE_S = 20.0

WRITER = """
import sys, msgspec, numpy as np
from audio_pool.transport.tensors import Grant, SlotWriter
writer = SlotWriter(sys.argv[1])
for line in sys.stdin.buffer:
    grant = msgspec.json.decode(line, type=Grant)
    ref = writer.write(grant, np.full((2, int(sys.argv[2])), grant.generation, np.int32), "r")
    sys.stdout.buffer.write(msgspec.json.encode(ref) + b"\\n")
    sys.stdout.buffer.flush()
"""

READER = """
import sys, msgspec
from audio_pool.transport.tensors import SlotReader, TensorRef
reader = SlotReader(sys.argv[1])
for line in sys.stdin.buffer:
    ref = msgspec.json.decode(line, type=TensorRef)
    with reader.borrow(ref) as array:
        low, high = int(array.min()), int(array.max())
    sys.stdout.buffer.write(msgspec.json.encode([ref.generation, low, high]) + b"\\n")
    sys.stdout.buffer.flush()
"""

OWNER = """
import sys, time, numpy as np
from pathlib import Path
from audio_pool.transport.arena import Arena
from audio_pool.transport.tensors import SlotWriter
arena = Arena.create(Path(sys.argv[1]), 1 << 24)
writer = SlotWriter(arena.directory)
while True:
    grant = arena.lease(100_000, "w")
    arena.release(writer.write(grant, np.zeros(25_000, np.float32), "r"))
    print(arena.directory, flush=True)
"""


class Worker:
    """A child process that answers lines with lines."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._buffer = b""

    @property
    def holder(self) -> str:
        return str(self.process.pid)

    def send(self, message: msgspec.Struct) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(msgspec.json.encode(message) + b"\n")
            self.process.stdin.flush()

    def lines(self, timeout_s: float) -> Iterator[bytes]:
        """What has arrived, waiting at most so long for the first."""
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            return
        self._buffer += os.read(self.process.stdout.fileno(), 1 << 16)
        *whole, self._buffer = self._buffer.split(b"\n")
        yield from whole

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


@pytest.fixture
def base() -> Iterator[Path]:
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=root) as directory:
        yield Path(directory) / "arenas"


def hand_over_under_kills(base: Path, kills: int, seed: int) -> int:
    """Runs tensors through a writer and a reader, killing one of them at a random moment, ``kills`` times.

    Every tensor read is checked; after each kill the books must balance. Returns how many were read.
    """
    rng = random.Random(seed)
    arena = Arena.create(base, QUOTA)
    writer, reader = (Worker(WRITER, str(arena.directory), str(FRAMES)), Worker(READER, str(arena.directory)))
    reading: dict[int, TensorRef] = {}
    read = killed = 0
    writing: set[int] = set()

    def step(timeout_s: float) -> None:
        nonlocal read
        while len(writing) + len(reading) < SLOTS:
            grant = arena.lease(8 * FRAMES, writer.holder)
            assert grant is not None, f"slots leaked: {arena.stats()}"
            writing.add(grant.generation)
            writer.send(grant)
        for line in writer.lines(timeout_s):
            ref = msgspec.json.decode(line, type=TensorRef)
            arena.transfer(ref, writer.holder, reader.holder)
            writing.remove(ref.generation)
            reading[ref.generation] = ref
            reader.send(ref)
        for line in reader.lines(timeout_s):
            generation, low, high = msgspec.json.decode(line)
            assert low == high == generation, "another's sound"
            assert arena.release(reading.pop(generation))
            read += 1

    try:
        while killed < kills:
            before, deadline = read, time.monotonic() + DEADLINE_S
            while read < before + 3:  # both sides are at work again
                assert time.monotonic() < deadline, "the hand-over stands still"
                step(0.05)
            moment = time.monotonic() + rng.uniform(0, 0.02)
            while time.monotonic() < moment:
                step(0.0)
            if rng.random() < 0.5:
                writer.kill()
                arena.reclaim(writer.holder)
                writing.clear()
                writer = Worker(WRITER, str(arena.directory), str(FRAMES))
            else:
                reader.kill()
                arena.reclaim(reader.holder)
                reading.clear()
                reader = Worker(READER, str(arena.directory))
            killed += 1
            stats = arena.stats()
            assert stats["leased"] == len(writing) + len(reading)
            assert stats["slots"] <= SLOTS, "a kill cost a slot"
            assert stats["no_room"] == 0
    finally:
        writer.kill()
        reader.kill()
    arena.reclaim(writer.holder)
    arena.reclaim(reader.holder)
    assert arena.stats()["leased"] == 0
    slots = [file for file in arena.directory.iterdir() if file.name != "lock"]
    assert len(slots) == arena.stats()["slots"] <= SLOTS
    assert all(file.stat().st_size == arena.stats()["bytes"] // len(slots) for file in slots)
    arena.close()
    assert [entry.name for entry in base.iterdir()] == [".lock"]
    return read


def test_kill_9_of_either_side_leaks_no_slot(base: Path) -> None:
    assert hand_over_under_kills(base, 30, seed=1) >= 90


@pytest.mark.slow
def test_two_hundred_kills_leak_no_slot(base: Path) -> None:
    assert hand_over_under_kills(base, 200, seed=2) >= 600


def test_a_killed_owners_arena_is_swept_and_a_living_ones_is_not(base: Path) -> None:
    living = Arena.create(base, 1 << 20)
    for attempt in range(4):
        owner = Worker(OWNER, str(base))
        deadline = time.monotonic() + DEADLINE_S
        lines: list[bytes] = []
        while not lines:
            assert time.monotonic() < deadline, "the owner does not start"
            lines = list(owner.lines(0.1))
        directory = Path(lines[0].decode())
        assert sweep(base) == 0, "a living owner's arena was swept"
        owner.kill()
        assert directory.exists()
        if attempt % 2:
            assert sweep(base) == 1
        else:
            Arena.create(base, 1 << 20).close()  # sweeps at start
        assert not directory.exists()
    assert living.directory.exists()
    living.close()


def test_an_owner_killed_at_any_moment_of_its_start_leaves_nothing_that_stays(base: Path) -> None:
    rng = random.Random(3)
    for _ in range(6):
        owner = Worker(OWNER, str(base))
        time.sleep(rng.uniform(0.05, 0.3))
        owner.kill()
    sweep(base)
    assert not base.exists() or [entry.name for entry in base.iterdir()] in ([], [".lock"])


def test_two_pools_on_one_machine_do_not_meet(base: Path) -> None:
    arenas = [Arena.create(base, QUOTA) for _ in range(2)]
    writers = [Worker(WRITER, str(arena.directory), "1000") for arena in arenas]
    try:
        refs: list[TensorRef] = []
        for arena, writer in zip(arenas, writers, strict=True):
            grant = arena.lease(8000, "w")
            assert grant is not None
            writer.send(grant)
            deadline = time.monotonic() + DEADLINE_S
            lines: list[bytes] = []
            while not lines:
                assert time.monotonic() < deadline
                lines = list(writer.lines(0.1))
            refs.append(msgspec.json.decode(lines[0], type=TensorRef))
        # the same generation in both, so that only the owner tells them apart
        assert refs[0].generation == refs[1].generation
        with pytest.raises(BadMessage):
            arenas[1].transfer(refs[0], "w", "router")
        with pytest.raises(BadMessage):
            SlotReader(arenas[1].directory).read(refs[0])
        # a grant that strays into the other pool's worker ends that worker's job, not the other's slot
        stray = arenas[0].lease(8000, "w")
        assert stray is not None
        with pytest.raises(BadMessage):
            SlotWriter(arenas[1].directory).prepare(stray)
        arenas[0].close()
        assert set(SlotReader(arenas[1].directory).read(refs[1]).flat) == {refs[1].generation}
    finally:
        for writer in writers:
            writer.kill()
        for arena in arenas:
            arena.close()


def test_another_process_reads_a_slot_with_safetensors_alone(base: Path) -> None:
    arena = Arena.create(base, QUOTA)
    grant = arena.lease(8 * 1000, "w")
    assert grant is not None
    ref = SlotWriter(arena.directory).write(grant, np.arange(2000, dtype=np.float32).reshape(2, 1000), "rain-1")
    script = """
import sys, safetensors
with safetensors.safe_open(sys.argv[1], "np") as file:
    print(int(file.get_tensor("tensor").sum()), file.metadata()["request_id"])
"""
    shown = subprocess.run(
        [sys.executable, "-c", script, ref.path], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert shown.stdout.split() == ["1999000", "rain-1"]
    arena.close()


@pytest.fixture
def tiny_tmpfs(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "tmpfs"
    mount.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(mount)],
            capture_output=True, timeout=DEADLINE_S,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True, timeout=DEADLINE_S)


def test_a_full_tmpfs_is_an_error_that_says_so_and_no_sigbus(tiny_tmpfs: Path) -> None:
    arena = Arena.create(tiny_tmpfs / "arenas", 1 << 30)
    writer, reader = SlotWriter(arena.directory), SlotReader(arena.directory)
    first, second = (arena.lease(3 << 20, worker) for worker in ("w1", "w2"))
    assert first is not None
    assert second is not None, "room is there as long as the first is not made"
    sound = np.full(3 << 18, 0.5, np.float32)
    ref = writer.write(first, sound, "r")
    with pytest.raises(StorageError, match="No space left"):
        writer.write(second, sound, "r")
    assert not os.path.exists(second.path)
    arena.release(second, unwritable=True)
    assert arena.lease(3 << 20, "w2") is None, "it is known before, now that the first is made"
    assert float(reader.read(ref).min()) == 0.5
    arena.release(ref)
    again = arena.lease(3 << 20, "w2")
    assert again is not None
    assert again.path == first.path
    with safetensors.safe_open(writer.write(again, sound, "r").path, "np") as file:
        assert file.get_tensor("tensor").shape == sound.shape
    writer.close()
    reader.close()
    arena.close()
