"""The sounds of finished durable jobs as objects: any head hands them out; they go when their jobs are forgotten."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.waiting import eventually

from audio_pool.cache.objects.bucket import Bucket
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.errors import NotFound, StorageError
from audio_pool.pool.result_objects import ResultObjects

SOUND = os.urandom(40_000)


class Results(contextlib.ExitStack):
    """Heads' results in one object store."""

    def __init__(self, tmp_path: Path, place: ObjectPlace) -> None:
        super().__init__()
        self.tmp_path = tmp_path
        self.place = place
        self.store = Bucket(place)
        self.callback(self.store.close)
        self.source = tmp_path / "made.wav"
        self.source.write_bytes(SOUND)

    def head(self, name: str, **settings: Any) -> ResultObjects:
        settings = {"fetch_s": 8.0, "most_bytes": 0, "spare_s": 0.0, "orphan_grace_s": 3600.0, **settings}
        head = ResultObjects(Bucket(self.place), self.tmp_path / name, **settings)
        self.callback(head.close)
        return head

    @property
    def names(self) -> set[str]:
        return {one.key for one in self.store.list("jobs") if one.key != "jobs/clock"}


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    with Results(tmp_path, ObjectPlace(url=f"file://{tmp_path}/bucket")) as found:
        yield found


def copies(results: Results, name: str) -> list[Path]:
    return sorted((results.tmp_path / name).iterdir())


def test_what_one_head_kept_another_hands_out(results: Results) -> None:
    one, two = results.head("one"), results.head("two")
    kept = one.keep(str(results.source))
    assert results.names == {kept.name} and kept.size_bytes == len(SOUND)
    assert one.here(kept.name) == kept.path and two.here(kept.name) is None
    path = two.bring(kept.name)
    assert Path(path).read_bytes() == SOUND and os.stat(path).st_mode & 0o777 == 0o444
    assert Path(path).parent == results.tmp_path / "two" and copies(results, "two") == [Path(path)]
    results.store.delete([kept.name])
    assert two.bring(kept.name) == path, "it is here"
    os.unlink(path)
    with pytest.raises(NotFound, match="is gone"):
        two.bring(kept.name)


def test_an_object_that_is_not_what_was_stored_is_not_handed_out(results: Results) -> None:
    kept = results.head("one").keep(str(results.source))
    results.store.write(kept.name, SOUND[:-1] + b"x")
    with pytest.raises(StorageError, match="not what was stored"):
        results.head("two").bring(kept.name)
    assert copies(results, "two") == []


def test_each_job_has_an_object_of_its_own_that_goes_with_it(results: Results) -> None:
    one, two = results.head("one"), results.head("two")
    first, second = one.keep(str(results.source)), one.keep(str(results.source))
    two.bring(first.name)
    results.store.write("sounds/ab/other", b"a sound of the cache")
    outside = results.tmp_path / "outside.wav"
    outside.write_bytes(b"x")
    two.remove([first.name, "sounds/ab/other", "jobs/../sounds/ab/other", str(outside)])
    eventually(lambda: results.names == {second.name}, "the other job's stays")
    assert copies(results, "two") == [] and outside.exists()
    assert results.store.look("sounds/ab/other") is not None


def test_objects_that_no_job_knows_are_removed_after_a_grace(results: Results) -> None:
    one = results.head("one")
    known, orphan, young = (one.keep(str(results.source)).name for _ in range(3))
    for name in (known, orphan):
        old = time.time() - 7200.0
        os.utime(results.tmp_path / "bucket" / name, (old, old))
    one.sweep({known}, older_than_s=3600.0)
    eventually(lambda: results.names == {known, young}, "the old one that nobody knows is gone")
    assert len(copies(results, "one")) == 3, "copies are younger"
    one.sweep({known})
    assert [path.name for path in copies(results, "one")] == [os.path.basename(known)]


def test_copies_are_bounded_and_what_somebody_has_the_path_of_stays(results: Results) -> None:
    one = results.head("one", most_bytes=3 * len(SOUND))
    kept = [one.keep(str(results.source)) for _ in range(5)]
    assert len(copies(results, "one")) == 5, "all were handed out lately"
    for number, each in enumerate(kept):
        old = time.time() - 1000.0 + number
        os.utime(each.path, (old, old))
    assert one.here(kept[0].name), "which is a use"
    last = one.keep(str(results.source))
    assert {os.path.basename(path) for path in copies(results, "one")} == {
        os.path.basename(each.path) for each in (kept[0], last)
    }
    assert Path(one.bring(kept[1].name)).read_bytes() == SOUND


def test_what_lies_on_another_server_alone_is_said_to(results: Results) -> None:
    with pytest.raises(NotFound, match="lies on another server"):
        results.head("one").bring("/elsewhere/a.wav")
    mine = results.tmp_path / "b.wav"
    mine.write_bytes(b"x")
    assert results.head("one").bring(str(mine)) == str(mine)


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


def test_while_the_store_is_away_nothing_is_taken_for_kept(server: ObjectServer, tmp_path: Path) -> None:
    with Results(tmp_path, server.place()) as results:
        one, two = results.head("one"), results.head("two")
        kept = one.keep(str(results.source))
        server.proxy.set("gone")
        with pytest.raises(StorageError):
            one.keep(str(results.source))
        assert copies(results, "one") == [Path(kept.path)]
        with pytest.raises(StorageError):
            two.bring(kept.name)
        server.proxy.set("pass")
        path = eventually(lambda: _brought(two, kept.name), "it is there again")
        assert Path(path).read_bytes() == SOUND


def _brought(head: ResultObjects, name: str) -> str:
    with contextlib.suppress(StorageError):
        return head.bring(name)
    return ""
