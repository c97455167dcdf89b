"""Objects that no row names go, after a grace; and none that a row names, however putting and collecting interleave."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")

from tests.support.cache_sounds import sound

from audio_pool.cache.blobs import Placement
from audio_pool.cache.objects.collector import Collected, Collector
from audio_pool.cache.objects.files import ObjectFiles
from audio_pool.cache.objects.names import content_of
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify


class Order:
    """Lets two threads take their steps in a given order; whoever has ended takes none any more."""

    def __init__(self, steps: str) -> None:
        self._steps = list(steps)
        self._turn = threading.Condition()

    @contextmanager
    def step(self) -> Iterator[None]:
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        who = threading.current_thread().name
        with self._turn:
            assert self._turn.wait_for(lambda: not self._steps or self._steps[0] == who, 60)

    def leave(self) -> None:
        with self._turn:
            if self._steps:
                self._steps.pop(0)
            self._turn.notify_all()

    def end(self, who: str) -> None:
        with self._turn:
            self._steps = [step for step in self._steps if step != who]
            self._turn.notify_all()


class Stepped(ObjectFiles):
    """Its bucket is touched, and rows are committed, step by step."""

    order: Order | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in ("put", "look", "copy", "delete"):
            setattr(self.bucket, name, self._stepped(getattr(self.bucket, name)))

    def _stepped(self, operation: Any) -> Any:
        def step(*args: Any) -> Any:
            if self.order is None:
                return operation(*args)
            with self.order.step():
                return operation(*args)

        return step

    def place(self, source: Path, file: str) -> Placement:
        placed = super().place(source, file)
        if self.order is not None:
            self.order.enter()  # the commit is a step of its own
        return placed

    def settle(self, placement: Placement) -> None:
        if self.order is not None:
            self.order.leave()
        super().settle(placement)


class Bed:
    def __init__(self, place: Path) -> None:
        where = ObjectPlace(url=f"file://{place}/objects", grace_s=0.0)
        self.files = Stepped(place / "cache", where)
        self.store = SqliteStore(place / "cache", blobs=self.files, grace_s=0.0)
        self.collector = Collector(self.store, self.files.bucket, 0.0)
        self._count = 0

    def orphan(self) -> tuple[str, int]:
        """A sound that was kept and removed; its object is still there. Return its key, and how to keep it again."""
        self._count += 1
        entry = self.store.entries.put(sound(self.files.incoming, "a bell", seed=self._count), {})
        assert entry.id is not None
        kept = self.store.checks.master(entry.id)
        assert kept is not None
        self.store.entries.remove([entry.id])
        content = content_of(kept.file)
        assert content is not None
        return content.key, self._count

    def keep(self, seed: int) -> None:
        self.store.entries.put(sound(self.files.incoming, "a bell", seed=seed), {})

    def is_safe(self) -> bool:
        """The one entry can be served from its object; it is removed."""
        (kept,) = self.store.checks.masters()
        (self.files.root / kept.file).unlink(missing_ok=True)
        self.files.bring(kept.file, kept.size_bytes)
        self.store.entries.remove([kept.entry_id])
        return True


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    bed = Bed(tmp_path_factory.mktemp("collected"))
    yield bed
    bed.store.close()


ORDERS = ["".join("p" if at in chosen else "g" for at in range(10)) for chosen in itertools.combinations(range(10), 4)]


@pytest.mark.parametrize("killed", [False, True])
def test_no_order_of_keeping_and_collecting_loses_a_sound(bed: Bed, killed: bool) -> None:
    """All 210 orders of the collector's steps and the putter's; the collector may be killed after it has deleted."""
    met = set()
    for steps in ORDERS[:: 3 if killed else 1]:
        key, seed = bed.orphan()
        order = bed.files.order = Order(steps)
        known_files, delete = bed.store.checks.known_files, bed.files.bucket.delete

        def rows(folder: str = "", *, order: Order = order, known_files: Any = known_files) -> set[str]:
            if threading.current_thread().name != "g" or folder.startswith("renditions"):
                return known_files(folder)
            with order.step():
                return known_files(folder) | known_files(folder.replace("audio", "renditions"))

        def deleted(keys: list[str], *, delete: Any = delete) -> None:
            delete(keys)
            if killed:
                raise KeyboardInterrupt

        found: list[Collected] = []

        def collect(key: str = key, order: Order = order, found: list[Collected] = found) -> None:
            try:
                found.append(bed.collector.put_aside(key))
            except KeyboardInterrupt:
                pass
            finally:
                order.end("g")

        def put(seed: int = seed, order: Order = order) -> None:
            try:
                bed.keep(seed)
            finally:
                order.end("p")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bed.store.checks, "known_files", rows)
            patch.setattr(bed.files.bucket, "delete", deleted)
            threads = [threading.Thread(target=collect, name="g"), threading.Thread(target=put, name="p")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive(), steps
        bed.files.order = None
        met |= {one._replace(freed_bytes=0) for one in found}
        if killed and found == []:
            bed.collector.collect()  # the next one goes on
        assert bed.is_safe(), steps
    if not killed:  # each of its ways was gone: too late, put aside and stored again, brought back
        assert met == {Collected(), Collected(put_aside=1), Collected(brought_back=1)}


def test_an_orphan_is_put_aside_then_deleted_and_comes_back_while_it_lies_aside(bed: Bed) -> None:
    bed.collector.collect()
    bed.collector.collect()
    key, seed = bed.orphan()
    young = Collector(bed.store, bed.files.bucket, 3600.0)
    assert not any(young.collect()) and bed.files.bucket.look(key)
    assert young.put_aside(key, old_enough=False) == Collected()
    assert bed.collector.put_aside(key).put_aside == 1 and bed.files.bucket.look(key) is None
    assert list(bed.files.bucket.list("trash")) and not young.collect().deleted
    bed.keep(seed)  # stored anew: nothing depends on what lies aside
    kept = bed.store.checks.masters()[0]
    bed.files.bucket.delete([key])
    (bed.files.root / kept.file).unlink()
    bed.files.bring(kept.file, kept.size_bytes)  # and still it is found there
    assert bed.files.bucket.look(key)
    bed.store.entries.remove([kept.entry_id])
    assert not any(bed.store.leaving.files())
    total = bed.collector.collect().and_also(bed.collector.collect())
    assert total.deleted >= 2 and total.freed_bytes > 0
    assert not list(bed.files.bucket.list("sounds")) and not list(bed.files.bucket.list("trash"))


def test_what_is_leaving_keeps_its_object_for_its_grace(tmp_path: Path) -> None:
    place = ObjectPlace(url=f"file://{tmp_path}/objects", grace_s=0.0)
    files = ObjectFiles(tmp_path / "cache", place)
    store = SqliteStore(tmp_path / "cache", blobs=files, grace_s=3600.0)
    collector = Collector(store, files.bucket, 0.0)
    entry = store.entries.put(sound(files.incoming), {})
    assert entry.id is not None
    store.entries.remove([entry.id])
    assert not any(collector.collect()) and not files.released
    store.leaving.unlink_due(at_once=True)
    assert len(files.released) == 1
    assert collector.put_aside(files.released.pop(), old_enough=False).put_aside == 1
    store.close()


def test_one_of_many_servers_takes_its_turn(bed: Bed) -> None:
    other = Collector(bed.store, bed.files.bucket, 0.0)
    bed.collector.take_turn(3600.0)
    assert not other.take_turn(3600.0)
    assert other.take_turn(0.0)


def test_verify_knows_orphans_missing_objects_and_damaged_copies(tmp_path: Path) -> None:
    place = ObjectPlace(url=f"file://{tmp_path}/objects", grace_s=0.0)
    files = ObjectFiles(tmp_path / "cache", place)
    store = SqliteStore(tmp_path / "cache", blobs=files, grace_s=0.0)
    entries = [store.entries.put(sound(files.incoming, f"sound {n}", seed=n), {}) for n in range(8)]
    kept = {one.entry_id: one for one in store.checks.masters()}
    assert verify(store).ok
    for entry in entries[4:]:
        Path(entry.path).unlink()  # not here is nothing amiss
    assert verify(store).ok and verify(store, quick=True).ok

    def key_of(number: int) -> str:
        content = content_of(kept[entries[number].id or 0].file)
        assert content is not None
        return content.key

    objects = tmp_path / "objects"
    (objects / key_of(0)).unlink()
    (objects / key_of(4)).write_bytes(b"half")
    path = Path(entries[1].path)
    path.chmod(0o644)
    path.write_bytes(b"fLaC" + bytes(path.stat().st_size - 4))
    (objects / "sounds/ab").mkdir(exist_ok=True)
    (objects / f"sounds/ab/{'ab' * 32}.flac").write_bytes(b"fLaC")
    import os

    os.utime(objects / f"sounds/ab/{'ab' * 32}.flac", (1, 1))
    found = {(one.kind, one.what) for one in verify(store).problems}
    assert found == {
        ("missing_object", key_of(0)),
        ("damaged_object", key_of(4)),
        ("damaged_copy", kept[entries[1].id or 0].file),
        ("orphan_object", f"sounds/ab/{'ab' * 32}.flac"),
    }
    report = verify(store, fix=True)
    assert (report.fixed, report.unconfirmed) == (2, 2)  # nothing that nothing else knows
    assert not path.exists()
    files.bring(kept[entries[1].id or 0].file, kept[entries[1].id or 0].size_bytes)
    assert verify(store, fix=True, confirm=True).ok
    assert len(store.checks.masters()) == 6 and verify(store).ok
    for one in (objects / "sounds").rglob("*.flac"):
        one.unlink()
    assert any("right bucket" in why for why in verify(store, fix=True, confirm=True).refused)
    store.close()
