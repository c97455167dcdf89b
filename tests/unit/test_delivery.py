"""A finished sound's way to its place and to its caller: a real cache, real files, a writer run by hand."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.support.cache_sounds import sound, write_flac
from tests.support.hand_writer import HandWriter
from tests.support.requests import config, engine, request

from audio_pool.cache.entry import Entry
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.store import Store
from audio_pool.cache.uptime import clock_name, uptime_s
from audio_pool.errors import AudioPoolError, Cancelled, InvalidAudio, NotFound, StorageError
from audio_pool.pool import copying
from audio_pool.pool.delivery import Delivery, copy_file
from audio_pool.pool.replies import Reply
from audio_pool.pool.resolve import ResolvedRequest, resolve
from audio_pool.pool.spill import Spill
from audio_pool.pool.turns import Turns
from audio_pool.results import FinishedSound, RenditionReport, SoundMetadata
from audio_pool.scheduler.answers import HitFile, StoredSound
from audio_pool.types import Query

METADATA = SoundMetadata(prompt="rain", format="wav")


class Desk:
    """A delivery, its writer and its cache."""

    def __init__(self, root: Path, cache: SoundCache | None, max_inline_bytes: int = 1 << 20) -> None:
        self.root = root
        self.cache = cache
        self.writer = HandWriter()
        self.renders = root / "renders"
        self.incoming = cache.incoming if cache is not None else root
        self.keeper = CacheKeeper(lambda _: cache) if cache is not None else None
        arena = root / "arenas" / f"{len(list(root.glob('arenas/*')))}"
        arena.mkdir(parents=True)
        self.arenas = arena.parent
        start = hashlib.blake2b(clock_name().encode(), digest_size=6).hexdigest()
        self.spilled = self.arenas / f"spilled-{start}"
        spill = Spill(arena, 600.0)
        self.delivery = Delivery(Turns(self.writer, 3), self.keeper, self.renders, spill, max_inline_bytes)

    def store(self, made: FinishedSound, **fields: Any) -> StoredSound | AudioPoolError:
        done: list[StoredSound | AudioPoolError] = []
        self.delivery.store(made, {}, asked(**fields), "r", done.append)
        assert not done, "not on the caller's thread"
        self.writer.run()
        (result,) = done
        return result

    def stored(self, made: FinishedSound, **fields: Any) -> StoredSound:
        result = self.store(made, **fields)
        assert isinstance(result, StoredSound), result
        return result

    def deliver(self, path: Path | str, **fields: Any) -> Reply:
        replies: list[Reply] = []
        reply = self.delivery.deliver(request(**fields), str(path), METADATA, replies.append)
        self.writer.run()
        return reply or replies[0]

    def left(self) -> list[str]:
        """Files that nobody has taken out of the folder for new ones."""
        return [path.name for path in self.incoming.iterdir() if not path.name.startswith(".")]


def asked(**fields: Any) -> ResolvedRequest:
    return resolve(request(**fields), config(), {"tone": engine()})


def hit_of(entry: Entry) -> HitFile:
    assert entry.id is not None
    return HitFile(entry=entry.id, master=entry.path, path=None, metadata=METADATA)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SoundCache]:
    cache = SoundCache(tmp_path / "cache", render_dir=tmp_path / "renders")
    yield cache
    cache.close()


@pytest.fixture
def desk(tmp_path: Path, cache: SoundCache) -> Desk:
    return Desk(tmp_path, cache)


def rendered(made: FinishedSound) -> FinishedSound:
    """The sound with an OGG beside its master."""
    path = Path(made.path).with_suffix(".ogg")
    path.write_bytes(b"OggS")
    report = RenditionReport(format="ogg", sample_rate=44_100, warnings=("softer: x",))
    return msgspec.structs.replace(made, delivered_path=str(path), delivered=report)


# -- storing ---------------------------------------------------------------------------------------


def test_a_sound_is_stored_and_found_again(desk: Desk, cache: SoundCache) -> None:
    made = sound(desk.incoming)
    stored = desk.stored(made)
    assert Path(stored.path).is_file() and not Path(made.path).exists()
    assert stored.metadata.timings_ms.store > 0
    hit = cache.find_exact(msgspec.structs.replace(made.recipe, seed=None), Query()).hit
    assert hit is not None and hit.entry.path == stored.path
    assert not list(desk.renders.iterdir()) and desk.left() == []


def test_the_rendition_asked_for_is_what_is_delivered_and_both_are_stored(desk: Desk, cache: SoundCache) -> None:
    made = rendered(sound(desk.incoming))
    stored = desk.stored(made, format="ogg")
    assert stored.path.endswith(".ogg") and Path(stored.path).read_bytes() == b"OggS"
    assert stored.metadata.format == "ogg" and stored.metadata.warnings[-1] == "softer: x"
    hit = cache.find_exact(msgspec.structs.replace(made.recipe, seed=None), Query()).hit
    assert hit is not None and hit.entry.id is not None and hit.entry.path.endswith(".flac")
    assert cache.find_rendition(hit.entry.id, asked(format="ogg").rendition) == stored.path
    assert desk.left() == []


@pytest.mark.parametrize("how", ["store=False", "no cache", "not accepted"])
def test_what_is_not_kept_goes_where_such_results_go(desk: Desk, how: str) -> None:
    if how == "no cache":
        desk = Desk(desk.root, None)
    made = rendered(sound(desk.incoming, accepted=how != "not accepted"))
    stored = desk.stored(made, store=how != "store=False", format="ogg")
    assert Path(stored.path).parent == desk.renders and Path(stored.path).read_bytes() == b"OggS"
    assert not Path(made.path).exists(), "nobody asked for the master"
    if desk.cache is not None:
        assert desk.cache.find_exact(msgspec.structs.replace(made.recipe, seed=None), Query()).hit is None


def test_a_master_that_is_not_kept_is_delivered_itself(desk: Desk) -> None:
    made = sound(desk.incoming, accepted=False)
    stored = desk.stored(made, format="flac")
    assert stored.path.endswith(".flac") and Path(stored.path).parent == desk.renders
    assert Path(stored.path).is_file()


def test_a_cache_that_fails_costs_the_entry_and_not_the_sound(
    desk: Desk, cache: SoundCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(cache, "put", full)
    stored = desk.stored(sound(desk.incoming), format="flac")
    assert stored.metadata.warnings == ("not_kept: no space left",)
    assert Path(stored.path).parent == desk.renders and Path(stored.path).is_file()


@pytest.mark.parametrize("error", [StorageError("the object store is away"), NotFound("its bytes are gone")])
def test_a_sound_that_another_head_kept_first_is_delivered_though_that_ones_does_not_come(
    desk: Desk, cache: SoundCache, monkeypatch: pytest.MonkeyPatch, error: AudioPoolError
) -> None:
    first = desk.stored(sound(cache.incoming, seed=5))
    second = sound(cache.incoming, seed=5)
    whole = Path(second.path).read_bytes()

    def does_not_come(store: Store, entry_id: int) -> None:
        raise error

    monkeypatch.setattr("audio_pool.pool.delivery.bring_entry", does_not_come)
    monkeypatch.setattr(type(cache.store.blobs), "remote", True)
    given = desk.stored(second)
    assert given.path != first.path and Path(given.path).read_bytes() == whole
    assert any(told.startswith("not_kept") for told in given.metadata.warnings) and given.metadata.entry_id is None
    assert desk.left() == []


def test_where_the_render_directory_takes_nothing_memory_does(desk: Desk) -> None:
    desk.renders.rmdir()
    desk.renders.write_text("a file where the directory should be")
    stored = desk.stored(rendered(sound(desk.incoming)), store=False, format="ogg")
    assert Path(stored.path).read_bytes() == b"OggS" and Path(stored.path).parent.parent == desk.arenas


@pytest.mark.parametrize("how", ["no folder", "no room"])
def test_where_nothing_can_be_written_the_request_still_gets_its_answer(desk: Desk, how: str) -> None:
    desk.renders.rmdir()
    desk.renders.write_text("a file where the directory should be")
    if how == "no folder":
        desk.spilled.write_text("another")
    else:
        desk.spilled.mkdir()
        with (desk.spilled / f"{uptime_s():.0f}-big.wav").open("wb") as file:
            file.truncate(256 << 20)
    result = desk.store(rendered(sound(desk.incoming)), store=False, format="ogg")
    assert isinstance(result, StorageError) and result.message.startswith("no disk takes the sound")
    assert desk.left() == [], "its files would fill the disk further"
    assert isinstance(desk.stored(sound(desk.incoming, "wind")), StoredSound), "and the writer goes on"


def test_a_forced_sound_with_a_seed_replaces_the_entry_of_that_seed(desk: Desk, cache: SoundCache) -> None:
    for seed, force, count in ((1, True, 1), (1, True, 1), (2, True, 2), (3, False, 3)):
        made = sound(desk.incoming, seed=seed)
        desk.stored(made, seed=seed, force=force)
        assert cache.count(msgspec.structs.replace(made.recipe, seed=None), Query()) == count


def test_a_sound_that_another_server_has_taken_over_is_dropped_with_its_files(desk: Desk, cache: SoundCache) -> None:
    def overtaken(_db: Any, _entry_id: int) -> None:
        raise Cancelled("another server has it")

    made, done = sound(desk.incoming), list[Any]()
    desk.delivery.store(made, {}, asked(seed=4), "r", done.append, also=overtaken)
    desk.writer.run()
    assert isinstance(done[0], Cancelled) and not os.path.exists(made.path)
    assert cache.store.entries.identical(made) is None and not list(desk.incoming.glob("*.flac"))
    assert desk.keeper is not None and desk.keeper.takes_sounds, "nothing is wrong with the cache"


def test_vectors_go_to_the_cache_with_the_sound(desk: Desk, cache: SoundCache, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    put = cache.put

    def noting(made: FinishedSound, vectors: Any, *, replace: bool = False, **how: Any) -> Any:
        given.append((vectors, replace))
        return put(made, {}, replace=replace, **how)

    monkeypatch.setattr(cache, "put", noting)
    vector = np.ones(3, np.float32)
    done: list[Any] = []
    desk.delivery.store(sound(desk.incoming), {"words": vector}, asked(seed=4), "r", done.append)
    desk.writer.run()
    assert given == [({"words": vector}, False)] and isinstance(done[0], StoredSound)


def test_files_that_nobody_wants_are_removed_later(desk: Desk, tmp_path: Path) -> None:
    path = write_flac(tmp_path / "x.flac")
    desk.delivery.unlink([str(path), str(tmp_path / "gone")])
    assert path.exists()
    desk.writer.run()
    assert not path.exists()


# -- delivering ------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sound.wav"
    path.write_bytes(b"RIFF" + bytes(1000))
    path.chmod(0o600)
    return path


def test_a_path_is_delivered_at_once(desk: Desk, file: Path) -> None:
    reply = desk.delivery.deliver(request(), str(file), METADATA, lambda _: pytest.fail("there is nothing to wait for"))
    assert reply == Reply(kind="result", path=str(file), metadata=METADATA) and not desk.writer.waiting


def test_inline_bytes_are_read_by_the_writer(desk: Desk, file: Path) -> None:
    reply = desk.deliver(file, delivery="inline")
    assert (reply.kind, reply.path, reply.data) == ("result", str(file), file.read_bytes())


def test_inline_has_a_limit(tmp_path: Path, file: Path) -> None:
    reply = Desk(tmp_path, None, max_inline_bytes=1003).deliver(file, delivery="inline")
    assert reply.kind == "error" and reply.failure is not None and reply.failure.code == "bad_audio"
    assert "the file has 1,004 bytes, delivered inline are at most 1,003" in reply.failure.message
    raw = Desk(tmp_path, None, max_inline_bytes=1003).deliver(file, delivery="raw")
    assert raw.failure is not None and raw.failure.message.endswith("'path' or a shorter sound")
    assert Desk(tmp_path, None, max_inline_bytes=1004).deliver(file, delivery="inline").kind == "result"


def test_a_copy_is_delivered_where_the_caller_wants_it(desk: Desk, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "mine.wav"
    reply = desk.deliver(file, output_path=str(target), delivery="inline")
    assert (reply.path, reply.data) == (str(target), file.read_bytes()) and target.read_bytes() == file.read_bytes()


def test_a_sound_that_has_vanished_is_an_error(desk: Desk, tmp_path: Path) -> None:
    reply = desk.deliver(tmp_path / "gone.wav", delivery="inline")
    assert reply.failure is not None and reply.failure.code == "storage" and "No such file" in reply.failure.message


@pytest.mark.parametrize(
    "target", ["file.txt/x.wav", "n" * 300 + ".wav", "zero\0byte.wav"], ids=["under a file", "too long", "a zero byte"]
)
def test_an_impossible_place_fails_again(desk: Desk, file: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    reply = desk.deliver(file, output_path=f"{tmp_path}/{target}")
    assert reply.kind == "error" and reply.failure is not None
    assert (reply.failure.code, reply.failure.retryable) == ("storage", False)


@pytest.mark.parametrize(
    ("number", "retryable"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, True), (errno.EACCES, False), (errno.EROFS, False)],
)
def test_a_full_disk_may_have_room_the_next_time(
    desk: Desk, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, retryable: bool
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copying.fcntl, "ioctl", fail)
    monkeypatch.setattr(copying.shutil, "copyfileobj", fail)
    reply = desk.deliver(file, output_path=str(tmp_path / "copy.wav"))
    assert reply.failure is not None and reply.failure.retryable is retryable
    assert not (tmp_path / "copy.wav").exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")], "nothing half-written stays"


def test_a_bug_while_delivering_is_an_answer_too(desk: Desk, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda self: {}["a bug"])
    reply = desk.deliver(file, delivery="inline")
    assert reply.kind == "error" and reply.failure is not None and reply.failure.code == "storage"


# -- renditions of hits ----------------------------------------------------------------------------


def test_a_rendition_of_a_hit_is_kept_for_the_next(desk: Desk, cache: SoundCache, tmp_path: Path) -> None:
    entry = cache.put(sound(desk.incoming), {})
    assert entry.id is not None
    replies: list[Reply] = []
    paths = []
    for number in range(2):  # a second caller joined the job
        made = desk.incoming / f"render-{number}.ogg"
        made.write_bytes(b"OggS")
        desk.delivery.deliver_rendered(hit_of(entry), asked(format="ogg"), str(made), METADATA, replies.append)
        desk.writer.run()
        paths.append(replies[-1].path)
    assert paths[0] == paths[1] == cache.find_rendition(entry.id, asked(format="ogg").rendition)
    assert [reply.kind for reply in replies] == ["result", "result"]


def test_a_rendition_of_an_entry_that_is_gone_is_still_good(desk: Desk, cache: SoundCache) -> None:
    entry = cache.put(sound(desk.incoming), {})
    assert entry.id is not None
    cache.remove([entry.id])
    made = desk.incoming / "render.ogg"
    made.write_bytes(b"OggS")
    replies: list[Reply] = []
    desk.delivery.deliver_rendered(
        hit_of(entry), asked(format="ogg", delivery="inline"), str(made), METADATA, replies.append
    )
    desk.writer.run()
    assert replies[0].data == b"OggS" and replies[0].path == str(desk.renders / "render.ogg")


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_copys_mode_follows_the_umask(file: Path, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        copy_file(file, tmp_path / "copy.wav")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy.wav").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("cloned", [True, False])
def test_a_copy_is_never_a_link(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloned: bool) -> None:
    """An edit of it reaches nobody else's file, whether the file system can share blocks or not."""
    if not cloned:

        def cannot(*_: Any) -> None:
            raise OSError(errno.EOPNOTSUPP, "not here")

        monkeypatch.setattr(copying.fcntl, "ioctl", cannot)
    original = file.read_bytes()
    copy = Path(copy_file(file, tmp_path / "copy.wav"))
    assert copy.read_bytes() == original and copy.stat().st_ino != file.stat().st_ino
    assert not copy.is_symlink() and file.stat().st_nlink == copy.stat().st_nlink == 1
    copy.write_bytes(b"edited")
    assert file.read_bytes() == original


def test_a_regular_file_is_replaced_as_a_whole(file: Path, tmp_path: Path) -> None:
    target, other_name = tmp_path / "old.wav", tmp_path / "its other name"
    target.write_bytes(b"old")
    os.link(target, other_name)
    with target.open("rb") as reading:
        copy_file(file, target)
        assert reading.read() == b"old", "who reads the old one goes on reading it"
    assert target.read_bytes() == file.read_bytes() and other_name.read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["fifo", "symlink", "dangling symlink", "directory", "device"])
def test_nothing_but_a_regular_file_is_replaced(file: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "there"
    match kind:
        case "fifo":
            os.mkfifo(target)
        case "symlink":
            target.symlink_to(file)
        case "dangling symlink":
            target.symlink_to(tmp_path / "nowhere")
        case "directory":
            target.mkdir()
        case _:
            target = Path("/dev/null")
    before = target.lstat()
    with pytest.raises(InvalidAudio, match="is there and is not a regular file; only those are replaced"):
        copy_file(file, target)
    assert target.lstat().st_ino == before.st_ino and stat.S_IFMT(target.lstat().st_mode) == stat.S_IFMT(before.st_mode)


def test_a_relative_place_is_refused(file: Path) -> None:
    with pytest.raises(InvalidAudio, match=r"output_path: given 'a.wav', allowed is an absolute path"):
        copy_file(file, Path("a.wav"))


def test_a_name_as_long_as_names_may_be(file: Path, tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".wav")
    assert copy_file(file, target) == str(target)


def test_a_copy_that_fails_at_the_end_leaves_no_trace(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "copies" / "copy.wav"

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "a broken disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="a broken disk"):
        copy_file(file, target)
    assert list(target.parent.iterdir()) == []


def test_who_has_many_files_copied_waits_behind_itself_and_is_told_when_there_are_too_many(
    desk: Desk, tmp_path: Path
) -> None:
    file = tmp_path / "sound.wav"
    file.write_bytes(b"RIFF")
    told: list[tuple[str, Reply]] = []

    def ask(client: str, number: int) -> None:
        wanted = request(output_path=str(tmp_path / f"{client}-{number}.wav"))
        desk.delivery.deliver(wanted, str(file), METADATA, lambda reply: told.append((client, reply)), client=client)

    for number in range(5):
        ask("flood", number)
    ask("neighbour", 0)
    assert [(client, reply.kind) for client, reply in told] == [("flood", "busy")] * 2
    failure = told[0][1].failure
    assert failure is not None and failure.code == "busy" and failure.retry_after_ms
    desk.writer.run()
    assert [client for client, _ in told[2:]] == ["flood", "neighbour", "flood", "flood"]
    assert all(reply.kind == "result" for _, reply in told[2:])
