"""Copies of objects in the cache directory: their bound, several processes, kills, and a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

import msgspec
from tests.support.cache_sounds import sound
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.waiting import eventually

from audio_pool.cache.objects.files import ObjectFiles
from audio_pool.cache.objects.local_copies import LocalCopies
from audio_pool.cache.objects.names import name_for
from audio_pool.cache.objects.opening import open_files
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify
from audio_pool.errors import StorageError


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


@pytest.fixture(autouse=True)
def _well(server: ObjectServer) -> Iterator[None]:
    yield
    server.proxy.set("pass")


def opened(directory: Path, place: ObjectPlace) -> SqliteStore:
    return SqliteStore(directory, blobs=open_files(directory, place=place), grace_s=0.0)


def files_of(store: SqliteStore) -> ObjectFiles:
    assert isinstance(store.blobs, ObjectFiles)
    return store.blobs


# -- the bound

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 7), st.integers(1, 60)),
        st.tuples(st.just("use"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("foreign"), st.integers(0, 7), st.integers(1, 60)),
        st.tuples(st.just("tidy"), st.just(0), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.integers(1, 20), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_what_was_not_used_for_longest_goes_and_nothing_else(tmp_path_factory: Any, steps: list[Any]) -> None:
    """Against a model; after each tidying the bound is kept, but for what was used within the grace."""
    root = tmp_path_factory.mktemp("copies")
    clock = [1_000_000.0]
    most, spare_s = 200, 5.0
    copies = LocalCopies(root, most, spare_s, now=lambda: clock[0])
    names = [name_for("audio", bytes([number]) * 32, ".flac") for number in range(8)]
    model: dict[str, tuple[float, int]] = {}
    others: set[Path] = set()
    for what, number, size in steps:
        clock[0] += 1.0
        file = names[number % 8]
        path = root / file
        if what == "add":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))
            os.utime(path, (clock[0], clock[0]))
            copies.added(size)
            model[file] = (clock[0], size)
        elif what == "use" and file in model:
            copies.used(file)
            copies.write_down()
            model[file] = (clock[0], model[file][1])
        elif what == "foreign":  # a sound of before there was an object store: it has no other place
            other = root / "audio" / "aa" / f"{number:032x}.flac"
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(bytes(size))
            others.add(other)
        elif what == "wait":
            clock[0] += number
        elif what == "tidy":
            copies.tidy(size)
            total = sum(bytes_ for _, bytes_ in model.values())
            if total + size > most:
                for name, (used, bytes_) in sorted(model.items(), key=lambda item: item[1][0]):
                    if total + size <= 0.9 * most or used > clock[0] - spare_s:
                        break
                    del model[name]
                    total -= bytes_
            assert {name for name in names if (root / name).exists()} == set(model)
            assert copies.size_bytes == sum(bytes_ for _, bytes_ in model.values())
    assert all(other.is_file() for other in others)


def test_a_store_keeps_its_copies_within_their_bound_and_serves_everything(
    server: ObjectServer, tmp_path: Path
) -> None:
    store = opened(tmp_path / "cache", server.place(local_bytes=0))
    entries = [store.entries.put(sound(store.blobs.incoming, f"sound {n}", seed=n), {}) for n in range(6)]
    size = max(entry.size_bytes for entry in entries)
    store.close()
    bounded = files_of(store)
    limited = msgspec.structs.replace(bounded.settings, local_bytes=3 * size)
    place = ObjectPlace(url=bounded.bucket.location, settings=limited, grace_s=0.0)
    store = opened(tmp_path / "cache", place)
    for kept in store.checks.masters():
        path = tmp_path / "cache" / kept.file
        os.utime(path, (1, 1))
    files_of(store).copies.tidy()
    here = [kept for kept in store.checks.masters() if (tmp_path / "cache" / kept.file).exists()]
    assert len(here) == 2
    for kept in store.checks.masters():
        if kept not in here:
            for path in (tmp_path / "cache" / "audio").rglob("*.flac"):
                os.utime(path, (1, 1))  # long ago
            store.blobs.bring(kept.file, kept.size_bytes)  # makes room for itself first
            assert sum(path.stat().st_size for path in (tmp_path / "cache" / "audio").rglob("*.flac")) <= 3 * size
    assert verify(store).ok
    store.close()


# -- several processes, and kills

_FILL = """
import sys, threading
from audio_pool.cache.sqlite.store import SqliteStore
store = SqliteStore(sys.argv[1], create=False)
kept = store.checks.masters()
print("open", flush=True)
sys.stdin.readline()
for one in kept:
    store.blobs.bring(one.file, one.size_bytes)
print("done", flush=True)
sys.stdin.readline()
store.close()
"""

_PUT = """
import sys
from pathlib import Path
from audio_pool.cache.sqlite.store import SqliteStore
from tests.support.cache_sounds import sound
store = SqliteStore(sys.argv[1], create=False)
made = sound(store.blobs.incoming, "put by another process", seed=77)
print("open", flush=True)
sys.stdin.readline()
store.entries.put(made, {})
print("done", flush=True)
"""


def process(script: str, cache: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), *sys.path))},
    )
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    return child


def told(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{word}\n")
    child.stdin.flush()


def heard(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def ended(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait(60)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    child.stdout.close()


def without_copies(store: SqliteStore) -> None:
    for kept in store.checks.masters():
        Path(store.blobs.path_of(kept.file)).unlink(missing_ok=True)


def test_two_processes_fetch_one_sound_at_a_time_and_both_have_it(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    for n in range(3):
        store.entries.put(sound(store.blobs.incoming, f"sound {n}", seed=n), {})
    without_copies(store)
    children = [process(_FILL, tmp_path / "cache") for _ in range(2)]
    try:
        server.proxy.set("hold")
        for child in children:
            told(child, "go")
        eventually(lambda: server.proxy.held >= 2, "both are fetching")
        server.proxy.set("pass")
        assert [heard(child) for child in children] == ["done", "done"]
    finally:
        for child in children:
            ended(child)
    assert verify(store).ok
    store.close()


def test_killed_while_it_fetches_a_process_leaves_no_part_of_a_sound(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    store.entries.put(sound(store.blobs.incoming), {})
    without_copies(store)
    child = process(_FILL, tmp_path / "cache")
    try:
        server.proxy.set("hold")
        told(child, "go")
        incoming = tmp_path / "cache" / "incoming"
        eventually(lambda: server.proxy.held and list(incoming.rglob("*.part")), "a part is there")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(60)
    finally:
        ended(child)
    server.proxy.set("pass")
    (kept,) = store.checks.masters()
    assert not Path(store.blobs.path_of(kept.file)).exists()
    store.sweep()
    assert not list((tmp_path / "cache" / "incoming").rglob("*.part"))
    store.blobs.bring(kept.file, kept.size_bytes)
    assert verify(store).ok
    store.close()


def test_killed_while_it_stores_a_process_leaves_no_row_and_the_sound_can_be_kept_anew(
    server: ObjectServer, tmp_path: Path
) -> None:
    store = opened(tmp_path / "cache", server.place())
    store.entries.put(sound(store.blobs.incoming), {})
    for held in (True, False):  # before the server has answered; and after, before the row
        child = process(_PUT, tmp_path / "cache")
        try:
            if held:
                server.proxy.set("hold")
                told(child, "go")
                eventually(lambda: server.proxy.held, "it is storing")
                os.kill(child.pid, signal.SIGKILL)
                child.wait(60)
            else:
                # the row waits for this process's own transaction; the object does not
                with store.database.writing("holding the database") as db:
                    db.execute("BEGIN IMMEDIATE")
                    told(child, "go")
                    masters = tmp_path / "cache" / "audio"
                    eventually(lambda masters=masters: len(list(masters.rglob("*.flac"))) == 2, "it is in place")
                    os.kill(child.pid, signal.SIGKILL)
                    child.wait(60)
                    db.execute("ROLLBACK")
        finally:
            server.proxy.set("pass")
            ended(child)
        store.sweep()
        assert len(store.checks.masters()) == 1 and verify(store).ok
    store.entries.put(sound(store.blobs.incoming, "put by another process", seed=77), {})
    assert len(store.checks.masters()) == 2 and verify(store).ok
    store.close()


# -- no room

_BOUNDED = """
import resource, sys
from audio_pool.cache.sqlite.store import SqliteStore
store = SqliteStore(sys.argv[1], create=False)
kept = store.checks.masters()
print("open", flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_FSIZE, (max(one.size_bytes for one in kept) - 1,) * 2)
told = []
for one in kept:
    try:
        store.blobs.bring(one.file, one.size_bytes)
        told.append("here")
    except Exception as exc:
        told.append(type(exc).__name__)
print(" ".join(told), flush=True)
"""


def test_a_sound_for_which_there_is_no_room_is_refused_and_others_are_fetched(
    server: ObjectServer, tmp_path: Path
) -> None:
    """A bound of the process on the size of files stands for a disk that is full."""
    store = opened(tmp_path / "cache", server.place())
    made = [sound(store.blobs.incoming, f"sound {n}", seed=n) for n in range(2)]
    from tests.support.cache_sounds import write_flac

    write_flac(Path(made[1].path), 9, frames=4000)
    for one in made:
        store.entries.put(one, {})
    without_copies(store)
    child = process(_BOUNDED, tmp_path / "cache")
    try:
        told(child, "go")
        assert heard(child) == "here DiskFull"
    finally:
        ended(child)
    assert verify(store).ok
    store.close()


def test_on_a_full_disk_copies_make_room_for_others(server: ObjectServer, tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this user may mount nothing")
    try:
        from tests.support.cache_sounds import write_flac

        place = server.place(local_bytes=0)
        store = opened(tmp_path / "cache", place)
        for n in range(8):
            one = sound(store.blobs.incoming, f"sound {n}", seed=n)
            write_flac(Path(one.path), n, frames=70_000)  # 400 kB each: four fit
            store.entries.put(one, {})
        store.close()
        without_copies(store := opened(tmp_path / "cache", place))
        os.rmdir(tmp_path / "cache" / "renditions")
        for folder in ("audio", "incoming"):
            (mounted / folder).mkdir()
        files = files_of(store)
        kept = store.checks.masters()
        small = ObjectFiles(mounted, place)
        for one in kept:
            for path in mounted.rglob("*.flac"):
                os.utime(path, (1, 1))
            small.bring(one.file, one.size_bytes)
            assert Path(small.path_of(one.file)).stat().st_size == one.size_bytes
        assert 0 < len(list(mounted.rglob("*.flac"))) < len(kept)
        small.release()
        files.restore()
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_threads_that_offer_while_copies_go_never_get_a_part(server: ObjectServer, tmp_path: Path) -> None:
    store = opened(tmp_path / "cache", server.place())
    for n in range(4):
        store.entries.put(sound(store.blobs.incoming, f"sound {n}", seed=n), {})
    kept, wrong = store.checks.masters(), list[str]()

    def offer() -> None:
        import hashlib

        for _ in range(10):
            for one in kept:
                try:
                    store.blobs.bring(one.file, one.size_bytes)
                    data = Path(store.blobs.path_of(one.file)).read_bytes()
                except (StorageError, FileNotFoundError):
                    continue  # it went between the two
                if hashlib.sha256(data).digest() != one.sha256:
                    wrong.append(one.file)

    threads = [threading.Thread(target=offer) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        without_copies(store)
    assert not wrong
    store.close()
