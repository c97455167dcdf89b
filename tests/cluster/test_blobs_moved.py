"""A whole cache carried into another store and back, and compared entry by entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

from click.testing import CliRunner
from tests.cluster.whole_cache import OGG, beside, filled, known
from tests.support.cache_sounds import sound
from tests.support.object_server import KEYS, ObjectServer, served

from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.opening import open_store
from audio_pool.cache.shared import SharedStore
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.cli.cache import group
from audio_pool.errors import StorageError
from audio_pool.exchange.moving import MoveLog, move
from audio_pool.library import SoundMarks


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


def in_objects(directory: Path, place: ObjectPlace) -> SqliteStore:
    return SqliteStore(directory, blobs=open_files(directory, place=place), grace_s=0.0)


def test_everything_of_every_entry_goes_there_and_back(server: ObjectServer, tmp_path: Path) -> None:
    source = filled(tmp_path / "here")
    before = known(source)
    there = in_objects(tmp_path / "there", server.place())
    log = MoveLog(tmp_path / "log")
    report = move(source, there, log, copies=False)
    assert (report.carried, report.renditions, report.skipped) == (10, 3, {})
    assert not list((tmp_path / "there" / "audio").rglob("*.flac"))  # nothing but objects
    assert known(there) == before and known(source) == before
    assert beside(there) == beside(source)
    assert verify(there).ok
    assert [one.given.verdict for one in there.judgements.since(0)] == ["right", "wrong"]
    assert move(source, there, log).carried == 0  # again: nothing is left to do
    log.close()
    back = SqliteStore(tmp_path / "back", grace_s=0.0)
    log = MoveLog(tmp_path / "log back")
    assert move(there, back, log).carried == 10
    assert known(back) == before and beside(back) == beside(source) and verify(back).ok
    for store in (source, there, back):
        store.close()
    log.close()


def test_everything_goes_into_a_shared_database_and_back(server: ObjectServer, tmp_path: Path, database: str) -> None:
    """By the command; then by a head, which offers it all, and by another one, which has only the addresses."""
    source = filled(tmp_path / "here")
    before = known(source)
    place, here = server.place(), tmp_path / "here"

    def run(*arguments: str) -> Any:
        found = CliRunner().invoke(group, [*arguments, "--json"])
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)

    there = ["--to", database, "--blobs", place.url, "--endpoint", server.proxy.url]
    assert run("move", "--cache-dir", str(here), *there)["carried"] == 10
    assert not list(tmp_path.glob("moving-*"))
    source.entries.put(sound(source.blobs.incoming, "kept since", seed=100), {})
    source.entries.remove([source.checks.masters()[0].entry_id])
    again = run("move", "--cache-dir", str(here), *there)
    assert (again["carried"], again["removed"]) == (1, 1)
    head = open_store(
        tmp_path / "head", shared=SharedStore(url=database), blobs=open_files(tmp_path / "head", place=place)
    )
    now = known(source)
    assert known(head) == now and set(now) != set(before)
    assert beside(head) == beside(source)
    assert verify(head).ok
    head.close()
    assert run("move", "--cache-dir", str(tmp_path / "head"), "--to", str(tmp_path / "back"))["carried"] == 10
    back = SqliteStore(tmp_path / "back")
    assert known(back) == now and beside(back) == beside(source) and verify(back).ok
    for store in (source, back):
        store.close()


def test_what_changes_meanwhile_is_carried_too(server: ObjectServer, tmp_path: Path) -> None:
    source = filled(tmp_path / "here")
    there = in_objects(tmp_path / "there", server.place())
    log = MoveLog(tmp_path / "log")
    rounds = []

    def told(done: int, wanted: int) -> None:  # a server goes on while the first entries are carried
        if not rounds:
            rounds.append(done)
            source.entries.put(sound(source.blobs.incoming, "kept meanwhile", seed=100), {})
            first = source.checks.masters()[0].entry_id
            source.entries.remove([first])

    move(source, there, log, told=told)
    assert known(there) == known(source)
    ids = [one.entry_id for one in source.checks.masters()]
    source.marks.mark(ids[0], SoundMarks(rating=5))
    source.pins.pin([ids[-1]])
    source.pins.unpin([ids[1]])
    made = source.blobs.incoming / "later.ogg"
    made.write_bytes(b"OggS" + bytes(77))
    source.renditions.put(ids[-1], OGG, made)
    source.entries.remove([ids[4]])
    source.vectors.keep("another encoder", {ids[5]: np.ones(4, np.float32)})
    report = move(source, there, log)
    assert (report.carried, report.removed, report.renditions) == (0, 1, 1)
    assert known(there) == known(source)
    for store in (source, there):
        store.close()
    log.close()


def test_a_move_that_is_broken_off_goes_on_and_makes_nothing_twice(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import audio_pool.exchange.moving as moving

    monkeypatch.setattr(moving, "_AT_ONCE", 3)
    source = filled(tmp_path / "here")
    there = in_objects(tmp_path / "there", server.place())

    class Killed(BaseException):
        pass

    class Log(MoveLog):
        left = 2

        def note(self, found: Any) -> None:
            self.left -= 1
            if self.left == 0:  # carried, and not written down
                raise Killed
            super().note(found)

    log = Log(tmp_path / "log")
    with pytest.raises(Killed):
        move(source, there, log)
    assert len(there.checks.masters()) == 6 and len(log.known()) == 3
    server.proxy.set("gone")
    with pytest.raises(StorageError):  # and then the object store is away
        move(source, there, log)
    assert not list(there.blobs.incoming.glob("*.flac"))
    server.proxy.set("pass")
    from tests.support.waiting import eventually

    eventually(lambda: not there.blobs.trouble, "the store is there again")
    log.left = -1
    move(source, there, log)
    assert known(there) == known(source)
    for store in (source, there):
        store.close()
    log.close()


def test_a_sound_that_cannot_be_read_is_told_and_keeps_nobody(server: ObjectServer, tmp_path: Path) -> None:
    source = filled(tmp_path / "here")
    there = in_objects(tmp_path / "there", server.place())
    lost = source.checks.masters()[4]
    Path(source.blobs.path_of(lost.file)).unlink()
    log = MoveLog(tmp_path / "log")
    report = move(source, there, log)
    assert report.carried == 9 and list(report.skipped) == [lost.entry_id]
    for store in (source, there):
        store.close()
    log.close()


def test_the_command_carries_a_cache_and_collects_what_is_left_over(server: ObjectServer, tmp_path: Path) -> None:
    source = filled(tmp_path / "here")
    place = server.place()
    place_options = ["--blobs", place.url, "--endpoint", server.proxy.url]

    def run(*arguments: str, code: int = 0) -> Any:
        found = CliRunner().invoke(group, [*arguments, "--json"])
        assert found.exit_code == code, found.output
        return json.loads(found.stdout)

    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    refused = CliRunner().invoke(group, ["move", "--cache-dir", here, "--to", place.url])
    assert refused.exit_code == 2 and "s3:// is neither a directory nor postgresql://" in refused.output
    assert run("move", "--cache-dir", here, "--to", there, *place_options)["carried"] == 10
    again = run("move", "--cache-dir", here, "--to", there, *place_options)
    assert (again["carried"], again["there_before"]) == (0, 10)
    assert run("move", "--cache-dir", there, "--to", str(tmp_path / "back"))["carried"] == 10
    back = SqliteStore(tmp_path / "back")
    assert known(back) == known(source)
    assert run("gc", "--cache-dir", there, "--dry-run")["put_aside"] == 0
    assert run("gc", "--cache-dir", there)["deleted"] == 0
    assert run("verify", "--cache-dir", there)["ok"]
    for store in (source, back):
        store.close()
