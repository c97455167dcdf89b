"""The tensor hand-over's format, ends and leases, judged by safetensors' own readers and a model."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from audio_pool.errors import BadMessage, InvalidAudio, InvalidRequest, StorageError
from audio_pool.tasks import Grant, TensorRef
from audio_pool.transport import tensors
from audio_pool.transport.arena import Arena, sweep
from audio_pool.transport.tensors import SlotReader, SlotWriter, from_frames, to_frames

DTYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"]
KIB = 1024


@pytest.fixture
def arena(tmp_path: Path):
    arena = Arena.create(tmp_path / "arenas", 64 * KIB * KIB)
    yield arena
    arena.close()


@pytest.fixture
def writer(arena: Arena):
    writer = SlotWriter(arena.directory)
    yield writer
    writer.close()


@pytest.fixture
def reader(arena: Arena):
    reader = SlotReader(arena.directory)
    yield reader
    reader.close()


def leased(arena: Arena, payload_bytes: int = 1000, holder: str = "w") -> Grant:
    grant = arena.lease(payload_bytes, holder)
    assert grant is not None
    return grant


def sound(value: float, frames: int = 1000) -> np.ndarray:
    return np.full((2, frames), value, dtype=np.float32)


# --- the format


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of every dtype: empty ones, scalars, and sizes around a size class's edge."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    edge = draw(st.sampled_from([64 * KIB, 80 * KIB, 96 * KIB, 112 * KIB, 128 * KIB])) // dtype.itemsize
    flat = draw(st.sampled_from([0, 1, 2, 3, 1000]) | st.integers(edge - 2, edge + 2))
    shape = draw(st.sampled_from([(flat,), (flat, 1), (1, flat), (2, flat // 2), (2, 1, flat // 2), (), (0, 5)]))
    seed = draw(st.integers(0, 2**32 - 1))
    count = int(np.prod(shape))
    raw = np.random.default_rng(seed).integers(0, 256, count * dtype.itemsize, dtype=np.uint8)
    if dtype.kind == "b":
        raw &= 1
    return raw.view(dtype).reshape(shape)


REQUEST_IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=arrays(), request_id=REQUEST_IDS | st.just('"\\' * 64))
def test_a_slot_is_a_valid_file_for_safetensors_own_readers(
    arena: Arena, writer: SlotWriter, reader: SlotReader, array: np.ndarray, request_id: str
) -> None:
    grant = leased(arena, array.nbytes)
    ref = writer.write(grant, array, request_id)
    slack_bytes = grant.slot_bytes - 4096 - array.nbytes

    with safetensors.safe_open(ref.path, framework="np") as file:
        opened = file.get_tensor("tensor")
        metadata = file.metadata()
        assert set(file.keys()) == {"tensor", "_slack"}
    loaded = safetensors.numpy.load_file(ref.path)
    parts = dict(safetensors.deserialize(Path(ref.path).read_bytes()))
    for found in (opened, loaded["tensor"]):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()
    assert bytes(parts["tensor"]["data"]) == array.tobytes()
    assert loaded["_slack"].shape == (slack_bytes,)
    assert os.path.getsize(ref.path) == grant.slot_bytes
    assert metadata == {
        "generation": f"{grant.generation:020d}", "request_id": request_id, "owner": arena.owner,
    }  # fmt: skip

    with reader.borrow(ref) as mine:
        assert (mine.dtype, mine.shape, mine.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert not mine.flags.writeable
    assert ref.length == array.nbytes
    assert arena.release(ref)


@pytest.mark.parametrize("request_id", ["a" * 3000, "a" * 560 + " " * 2000 + "b", " " * 3000, '"}}' + " " * 900])
def test_a_header_of_any_length_is_read(
    arena: Arena, writer: SlotWriter, reader: SlotReader, request_id: str
) -> None:
    array = np.arange(10, dtype=np.float32)
    ref = writer.write(leased(arena, array.nbytes), array, request_id)
    assert (reader.read(ref) == array).all()


@settings(max_examples=100, deadline=None)
@given(array=arrays(), request_id=REQUEST_IDS)
def test_inline_frames_are_a_safetensors_file_in_two_parts(array: np.ndarray, request_id: str) -> None:
    header, payload = to_frames(array, request_id)
    document = header + bytes(payload)
    found = safetensors.numpy.load(document)["tensor"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    back = from_frames(header, payload)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert not back.flags.writeable


def test_strided_and_big_endian_arrays_arrive_as_the_same_numbers(
    arena: Arena, writer: SlotWriter, reader: SlotReader
) -> None:
    ramp = np.arange(600, dtype=np.float32).reshape(2, 300)
    for array in (ramp[:, ::3], ramp.T, ramp.astype(">f4")):
        grant = leased(arena)
        ref = writer.write(grant, array, "r")
        with reader.borrow(ref) as found:
            np.testing.assert_array_equal(found, array)
        header, payload = to_frames(array, "r")
        np.testing.assert_array_equal(from_frames(header, payload), array)
        arena.release(ref)


def test_what_does_not_fit_is_refused(arena: Arena, writer: SlotWriter) -> None:
    grant = leased(arena)
    with pytest.raises(InvalidRequest, match="slot for 65,536"):
        writer.write(grant, np.zeros(64 * KIB + 1, np.uint8), "r")
    with pytest.raises(InvalidAudio, match="complex64"):
        writer.write(grant, np.zeros(4, np.complex64), "r")
    with pytest.raises(InvalidRequest, match="shorter request id"):
        writer.write(grant, np.zeros(4, np.float32), "r" * 5000)


@pytest.mark.parametrize("damage", ["length", "json", "shape", "dtype", "short", "long"])
def test_frames_that_are_not_a_tensor_are_refused(damage: str) -> None:
    header, view = to_frames(sound(0.5), "r")
    payload = bytes(view)
    if damage == "length":
        header = b"\xff" * 8 + header[8:]
    elif damage == "json":
        header = header[:100] + b"\xff" + header[101:]
    elif damage == "shape":
        header = header.replace(b"[2,1000]", b"[2,1001]")
    elif damage == "dtype":
        header = header.replace(b'"F32"', b'"F99"')
    elif damage == "short":
        payload = payload[:-1]
    else:
        payload += b"x"
    with pytest.raises(InvalidAudio):
        from_frames(header, payload)


# --- generations


def test_a_stale_reference_is_an_error_and_never_anothers_sound(
    arena: Arena, writer: SlotWriter, reader: SlotReader
) -> None:
    old = writer.write(leased(arena), sound(0.25), "first")
    assert float(reader.read(old).max()) == 0.25
    arena.release(old)
    assert float(reader.read(old).max()) == 0.25, "the last sound may be read until the next is written"
    arena.transfer(writer.write(leased(arena), sound(0.5), "between"), "w", "reader")
    arena.reclaim("reader")
    grant = leased(arena)
    assert grant.path == old.path, "the slot was not used again"
    assert not grant.fresh
    new = writer.write(grant, sound(0.75), "second")
    with pytest.raises(StorageError, match="released"):
        reader.read(old)
    with pytest.raises(StorageError, match="released"):
        SlotReader(arena.directory).read(old)
    assert float(reader.read(new).min()) == 0.75


def test_a_slot_overwritten_while_borrowed_is_reported_at_the_end(
    arena: Arena, writer: SlotWriter, reader: SlotReader
) -> None:
    ref = writer.write(leased(arena), sound(0.25), "first")
    def misuse() -> None:
        with reader.borrow(ref):
            arena.release(ref)
            writer.write(leased(arena), sound(0.75), "second")

    with pytest.raises(StorageError, match="released"):
        misuse()


def test_a_write_cut_short_leaves_no_generation_that_could_be_read(
    arena: Arena, writer: SlotWriter, reader: SlotReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = writer.write(leased(arena), sound(0.25), "first")
    arena.release(old)
    grant = leased(arena)
    seen = []

    def cut_short(target: np.ndarray, array: np.ndarray) -> None:
        seen.append(json.loads(Path(grant.path).read_bytes()[8:4096])["__metadata__"])
        target[:1] = array[:1]
        raise KeyboardInterrupt

    monkeypatch.setattr(tensors.np, "copyto", cut_short)
    with pytest.raises(KeyboardInterrupt):
        writer.write(grant, sound(0.75), "second")
    assert seen[0]["generation"] == "0" * 20
    half = TensorRef(
        path=grant.path, length=8000, generation=grant.generation, owner=grant.owner, dtype="F32", shape=(2, 1000)
    )
    for ref in (old, half):
        with pytest.raises(StorageError, match="released"):
            reader.read(ref)


def test_the_reference_must_agree_with_what_lies_there(
    arena: Arena, writer: SlotWriter, reader: SlotReader
) -> None:
    ref = writer.write(leased(arena), sound(0.5), "r")
    with pytest.raises(BadMessage, match="the slot holds"):
        reader.read(msgspec.structs.replace(ref, shape=(2, 4000)))
    with pytest.raises(BadMessage, match="given to a reader of"):
        reader.read(msgspec.structs.replace(ref, owner="arena-1-000000000000"))


@pytest.mark.parametrize("left", [0, 4096, 8000])
def test_a_slot_that_is_cut_off_under_its_reader_is_an_error_and_no_signal(
    arena: Arena, writer: SlotWriter, reader: SlotReader, left: int
) -> None:
    """What is mapped and has no file behind it would be a SIGBUS."""
    grant = leased(arena, 100_000)
    reference = writer.write(grant, sound(1.0), "r")
    assert reader.read(reference).shape == (2, 1000)
    os.truncate(grant.path, left)
    with pytest.raises(StorageError, match=f"was cut off: its slot has {left:,} bytes"):
        reader.read(reference)


def test_only_slots_of_the_own_arena_are_touched(arena: Arena, writer: SlotWriter, tmp_path: Path) -> None:
    outside = tmp_path / "precious.safetensors"
    outside.write_bytes(b"precious")
    nested = f"{arena.directory}/../../precious.safetensors"
    for path in (str(outside), nested, f"{arena.directory}/lock"):
        with pytest.raises(BadMessage, match="not a slot"):
            writer.prepare(Grant(path=path, slot_bytes=8192, generation=1, owner=arena.owner))
        grant = leased(arena)
        with pytest.raises(BadMessage, match="not a slot"):
            writer.prepare(Grant(path=grant.path, slot_bytes=8192, generation=1, owner="x", retire=(path,)))
    link = arena.directory / "9999.safetensors"
    link.symlink_to(outside)
    with pytest.raises(StorageError):
        writer.prepare(Grant(path=str(link), slot_bytes=8192, generation=1, owner=arena.owner))
    assert outside.read_bytes() == b"precious"


# --- leases


def test_no_room_is_told_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arena = Arena.create(tmp_path / "arenas", 3 * (64 * KIB + 4096))
    grants = [arena.lease(1, "w") for _ in range(8)]
    assert [grant is None for grant in grants] == [False] * 3 + [True] * 5
    assert arena.stats()["no_room"] == 5
    assert len(caplog.records) == 3  # the first, second and fourth time
    assert arena.release(grants[1])
    assert arena.lease(1, "w") is not None
    assert arena.lease(10 * KIB * KIB, "w") is None
    arena.close()


def test_a_full_file_system_is_told_before_and_when_it_happens(
    arena: Arena, writer: SlotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    grant = leased(arena)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="No space left"):
        writer.write(grant, sound(0.5), "r")
    assert not os.path.exists(grant.path)
    assert arena.release(grant, unwritable=True)
    assert arena.stats()["unwritable"] == 1
    assert arena.stats()["bytes"] == arena.stats()["slots"] == 0
    real = os.statvfs(arena.directory)
    small = os.statvfs_result((*real[:3], 0, 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert arena.lease(1000, "w") is None


def test_a_double_release_does_not_free_the_next_holders_lease(arena: Arena) -> None:
    first = leased(arena)
    assert arena.release(first)
    second = leased(arena)
    assert second.path == first.path
    assert not arena.release(first)
    third = leased(arena)
    assert third.path != second.path


def test_a_reference_is_accepted_only_from_the_leases_holder(
    arena: Arena, writer: SlotWriter, tmp_path: Path
) -> None:
    ref = writer.write(leased(arena, holder="w1"), sound(0.5), "r")
    forged = [
        msgspec.structs.replace(ref, generation=ref.generation + 1),
        msgspec.structs.replace(ref, path=str(tmp_path / "x.safetensors")),
        msgspec.structs.replace(ref, owner="arena-1-000000000000"),
        msgspec.structs.replace(ref, length=1 << 40),
    ]
    for wrong in forged:
        with pytest.raises(BadMessage):
            arena.transfer(wrong, "w1", "w2")
    with pytest.raises(BadMessage):
        arena.transfer(ref, "w2", "w1")
    arena.transfer(ref, "w1", "w2")
    assert arena.reclaim("w1") == 0, "the writer's death takes the slot from its reader"
    assert arena.reclaim("w2") == 1
    with pytest.raises(BadMessage):
        arena.transfer(ref, "w2", "w1")


def test_room_is_made_by_giving_up_idle_slots_and_their_pages_come_back(tmp_path: Path) -> None:
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        arena = Arena.create(base / "arenas", 2 * KIB * KIB)
        writer, other = SlotWriter(arena.directory), SlotReader(arena.directory)
        refs = []
        for _ in range(20):
            refs.append(writer.write(leased(arena, 80 * KIB), sound(0.25), "small"))
            arena.transfer(refs[-1], "w", "reader")
            other.read(refs[-1])  # still mapped there afterwards
        for ref in refs:
            arena.release(ref)
        grant = leased(arena, 1500 * KIB)
        assert grant.fresh
        assert len(grant.retire) >= 10
        # that worker dies before it did anything: the next one gets the same to do
        arena.reclaim("w")
        again = leased(arena, 1500 * KIB)
        assert set(again.retire) == set(grant.retire)
        big = writer.write(again, sound(0.75, 150_000), "big")
        arena.transfer(big, "w", "reader")
        for path in again.retire:
            assert not os.path.exists(path)
        for ref in refs:
            if ref.path in again.retire:
                with pytest.raises(StorageError, match="released"):
                    other.read(ref)
        used = sum(file.stat().st_blocks * 512 for file in arena.directory.iterdir())
        assert used <= arena.stats()["bytes"] <= arena.quota_bytes
        writer.close()
        other.close()
        arena.close()
    finally:
        shutil.rmtree(base)


class Leases(RuleBasedStateMachine):
    """Any order of leases, writes, hand-ons, releases and deaths, against who should hold what."""

    grants = Bundle("grants")
    refs = Bundle("refs")
    workers = st.sampled_from(["w1", "w2", "w3"])

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.arena = Arena.create(self.base / "arenas", 1200 * KIB)
        self.writer = SlotWriter(self.arena.directory)
        self.reader = SlotReader(self.arena.directory)
        self.holders: dict[int, str] = {}
        self.paths: dict[int, str] = {}

    def teardown(self) -> None:
        self.writer.close()
        self.reader.close()
        self.arena.close()
        assert not self.arena.directory.exists()
        shutil.rmtree(self.base)

    @rule(target=grants, size=st.sampled_from([1, 64 * KIB, 70 * KIB, 100 * KIB, 300 * KIB, 900 * KIB]), worker=workers)
    def lease(self, size: int, worker: str):
        grant = self.arena.lease(size, worker)
        if grant is None:
            return multiple()
        assert grant.generation not in self.holders
        assert grant.slot_bytes >= size + 4096
        assert grant.path not in [self.paths[held] for held in self.holders], "a slot leased twice"
        assert not set(grant.retire) & {self.paths[held] for held in self.holders}, "a held slot given up"
        self.holders[grant.generation] = worker
        self.paths[grant.generation] = grant.path
        return grant

    @rule(target=refs, grant=consumes(grants))
    def write(self, grant: Grant):
        if grant.generation not in self.holders:
            return multiple()  # its holder is dead
        ref = self.writer.write(grant, np.full(100, grant.generation), "r")
        self.arena.transfer(ref, self.holders[grant.generation], "reader")
        self.holders[grant.generation] = "reader"
        return ref

    @rule(grant=grants)
    def prepare(self, grant: Grant) -> None:
        if grant.generation in self.holders:
            self.writer.prepare(grant)

    @rule(ref=refs)
    def read(self, ref: TensorRef) -> None:
        if self.holders.get(ref.generation) == "reader":
            assert set(self.reader.read(ref)) == {ref.generation}
            return
        try:
            assert set(self.reader.read(ref)) == {ref.generation}
        except StorageError:
            pass

    @rule(lease=consumes(grants) | consumes(refs))
    def release(self, lease: Grant | TensorRef) -> None:
        assert self.arena.release(lease) == (lease.generation in self.holders)
        self.holders.pop(lease.generation, None)

    @precondition(lambda self: self.holders)
    @rule(worker=workers | st.just("reader"))
    def die(self, worker: str) -> None:
        lost = [generation for generation, holder in self.holders.items() if holder == worker]
        assert self.arena.reclaim(worker) == len(lost)
        for generation in lost:
            del self.holders[generation]

    @invariant()
    def books_agree(self) -> None:
        stats = self.arena.stats()
        assert stats["leased"] == len(self.holders)
        on_disk = sum(file.stat().st_size for file in self.arena.directory.glob("*.safetensors"))
        assert on_disk <= stats["bytes"] <= stats["quota_bytes"]


TestLeases = Leases.TestCase
TestLeases.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


# --- the directory


def test_the_arena_is_private_and_gone_when_closed(tmp_path: Path) -> None:
    arena = Arena.create(tmp_path / "arenas", KIB)
    assert (tmp_path / "arenas").stat().st_mode & 0o777 == 0o700
    assert arena.directory.stat().st_mode & 0o777 == 0o700
    arena.close()
    arena.close()
    assert not arena.directory.exists()


def test_a_directory_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(StorageError, match="mode 0755"):
        Arena.create(tmp_path / "open", KIB)
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StorageError, match="must be a directory"):
        Arena.create(tmp_path / "link", KIB)


def test_sweep_removes_dead_arenas_and_nothing_else(tmp_path: Path) -> None:
    base = tmp_path / "arenas"
    living = Arena.create(base, KIB * KIB)
    dead = base / "arena-1-0123456789ab"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "0.safetensors").write_bytes(b"x" * 100)
    unlocked = base / "arena-2-0123456789ab"
    unlocked.mkdir()
    foreign = base / "notes"
    foreign.mkdir()
    (foreign / "lock").touch()
    assert sweep(base) == 2
    assert sorted(entry.name for entry in base.iterdir()) == sorted([".lock", "notes", living.directory.name])
    living.close()
    assert sweep(tmp_path / "nowhere") == 0
