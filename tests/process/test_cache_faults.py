"""A served pool whose cache directory fails: everybody gets the sound, health says why it is not kept, and it heals."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import eventually


class Bed:
    """A served pool, somebody who asks, and the directory that things happen to."""

    def __init__(self, server: Served, ask: Asker) -> None:
        self.server = server
        self.ask = ask
        self.cache = server.place / "cache"
        self._count = 0

    def sound(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """The final reply, which is a sound that can be read."""
        self._count += 1
        name = f"sound-{self._count}"
        self.ask.generate(name, prompt, **fields)
        reply = self.ask.final(name)
        assert reply["type"] == "result", (reply, self.server.stderr())
        content = reply["frame"] if fields.get("delivery") == "inline" else Path(reply["path"]).read_bytes()
        assert content[:4] in (b"RIFF", b"fLaC", b"OggS")
        return reply

    def kept(self, prompt: str) -> str:
        """A sound that is in the cache."""
        self.sound(prompt)
        assert self.sound(prompt)["metadata"]["cached"] is True
        return prompt

    def unkept(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """A sound that was made, delivered and not kept; a few may slip in before the trouble is noticed."""

        def asked() -> dict[str, Any] | None:
            metadata = self.sound(f"{prompt} {self._count}", **fields)["metadata"]
            assert metadata["cached"] is False
            return metadata if any(line.startswith("not_kept: ") for line in metadata["warnings"]) else None

        return eventually(asked, "a sound that was not kept says so")

    def is_cached(self, prompt: str) -> bool:
        return bool(self.sound(prompt)["metadata"]["cached"])

    def degraded(self, word: str) -> None:
        def told() -> bool:
            health = self.ask.ask("health")
            return health["state"] == "degraded" and any(
                reason.startswith("cache: ") and word in reason for reason in health["reasons"]
            )

        eventually(told, f"health is degraded and says {word!r}")

    def healed(self) -> None:
        def well() -> bool:
            prompt = f"a tone after {self._count}"
            self.sound(prompt)
            return self.is_cached(prompt) and self.ask.ask("health")["state"] == "ready"

        eventually(well, "sounds are kept again and health says so")

    def renditions_work(self, prompt: str, cached: bool) -> None:
        """A hit in another format, made by a worker, both ways of delivery."""
        for number, delivery in enumerate(("path", "inline")):
            bits = (24, 32)[number]
            assert self.sound(prompt, bit_depth=bits, delivery=delivery)["metadata"]["cached"] is cached


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with Served(tmp_path / "s").ready() as server, Asker(server.endpoint) as ask:
        yield Bed(server, ask)
        server.signal()
        assert server.wait() == 0


def mount(*arguments: str) -> None:
    if subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here: run as root, e.g. in a container with CAP_SYS_ADMIN")


@contextlib.contextmanager
def unmounted_after(place: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def test_a_deleted_directory_is_made_anew(bed: Bed) -> None:
    bed.kept("a tone of old")
    shutil.rmtree(bed.cache)
    bed.sound("a tone right after")
    bed.sound("a tone right after", delivery="inline", format="flac")
    bed.healed()
    assert bed.cache.is_dir() and not bed.is_cached("a tone of old")


def test_emptied_folders_come_back_and_the_rows_with_them(bed: Bed) -> None:
    bed.kept("a tone of old")
    for item in bed.cache.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()
    bed.sound("a tone right after")
    bed.healed()
    assert not bed.is_cached("a tone of old") and bed.is_cached("a tone of old")


def test_a_directory_that_was_moved_away_is_waited_for_and_loses_nothing(bed: Bed, tmp_path: Path) -> None:
    prompts = [bed.kept(f"a tone of old {n}") for n in range(3)]
    os.rename(bed.cache, tmp_path / "away")
    bed.sound("a tone right after")
    bed.degraded("has been moved to")
    bed.unkept("a tone meanwhile")
    bed.unkept("a tone meanwhile", delivery="inline", format="ogg")
    for worker in bed.server.workers().values():
        worker.kill()
    bed.unkept("a tone of the next worker")
    assert not bed.cache.exists(), "it would be in the way"
    os.rename(tmp_path / "away", bed.cache)
    bed.healed()
    assert all(bed.is_cached(prompt) for prompt in prompts)


def test_another_directory_in_its_place_is_used_until_it_comes_back(bed: Bed, tmp_path: Path) -> None:
    old = bed.kept("a tone of old")
    os.rename(bed.cache, tmp_path / "away")
    bed.cache.mkdir()
    bed.sound("a tone right after")
    eventually(lambda: (bed.cache / "cache.sqlite3").exists(), "the other one is opened")
    bed.healed()
    new = bed.kept("a tone of new")
    assert not bed.is_cached(old)
    os.rename(bed.cache, tmp_path / "other")
    os.rename(tmp_path / "away", bed.cache)
    eventually(lambda: bed.is_cached(old), "what was kept before is offered again")
    bed.healed()
    assert not bed.is_cached(new) or len(list(bed.cache.glob("audio/*/*"))) > 1


def test_a_deleted_database_is_written_again_with_every_row(bed: Bed) -> None:
    prompts = [bed.kept(f"a tone of old {n}") for n in range(3)]
    (bed.cache / "cache.sqlite3").unlink()
    meanwhile = "a tone right after"
    bed.sound(meanwhile)
    eventually(lambda: (bed.cache / "cache.sqlite3").exists(), "it is written again")
    bed.healed()
    assert all(bed.is_cached(prompt) for prompt in prompts)
    with contextlib.closing(sqlite3.connect(bed.cache / "cache.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_damaged_database_costs_nobody_a_sound_and_a_backup_in_its_place_is_taken(bed: Bed, tmp_path: Path) -> None:
    old = bed.kept("a tone of old")
    database, backup = bed.cache / "cache.sqlite3", tmp_path / "backup"
    with contextlib.closing(sqlite3.connect(database)) as db, contextlib.closing(sqlite3.connect(backup)) as copy:
        db.backup(copy)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.write(os.urandom(os.path.getsize(database)))
    bed.unkept("a tone meanwhile")
    bed.degraded("")
    for ending in ("-wal", "-shm"):
        (bed.cache / f"cache.sqlite3{ending}").unlink(missing_ok=True)
    os.rename(backup, database)
    bed.healed()
    assert bed.is_cached(old)


def test_a_full_disk_costs_nobody_a_sound(tmp_path: Path) -> None:
    cache = tmp_path / "s" / "cache"
    cache.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(cache))
    with unmounted_after(cache), Served(tmp_path / "s").ready() as server, Asker(server.endpoint) as ask:
        bed = Bed(server, ask)
        old = bed.kept("a tone of old")
        with contextlib.suppress(OSError), (cache / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        bed.unkept("a tone meanwhile")
        bed.degraded("full")
        bed.unkept("a tone meanwhile", delivery="inline", format="ogg")
        for worker in server.workers().values():
            worker.kill()
        bed.unkept("a tone of the next worker")
        assert bed.is_cached(old), "what is there can be read"
        bed.renditions_work(old, cached=True)
        (cache / "ballast").unlink()
        bed.healed()
        assert bed.is_cached(old)
        server.signal()
        assert server.wait() == 0


def test_a_directory_that_takes_no_writes_is_served_from(bed: Bed) -> None:
    old = bed.kept("a tone of old")
    mount("--bind", str(bed.cache), str(bed.cache))
    with unmounted_after(bed.cache):
        mount("-o", "remount,ro,bind", str(bed.cache))
        bed.unkept("a tone meanwhile")
        bed.degraded("cannot be written to")
        assert bed.is_cached(old)
        bed.renditions_work(old, cached=True)
        mount("-o", "remount,rw,bind", str(bed.cache))
        bed.healed()
        assert bed.is_cached(old)


def test_a_pool_starts_on_a_directory_that_takes_no_writes(tmp_path: Path) -> None:
    cache, logs = tmp_path / "s" / "cache", str(tmp_path / "logs")
    with Served(tmp_path / "s", server={"log_dir": logs}).ready() as server, Asker(server.endpoint) as ask:
        old = Bed(server, ask).kept("a tone of old")
        server.signal()
        assert server.wait() == 0
    mount("--bind", str(cache), str(cache))
    with unmounted_after(cache):
        mount("-o", "remount,ro,bind", str(cache))
        with Served(tmp_path / "s", server={"log_dir": logs}).ready() as server, Asker(server.endpoint) as ask:
            bed = Bed(server, ask)
            bed.degraded("cannot be written to")
            assert bed.is_cached(old)
            bed.unkept("a tone meanwhile")
            mount("-o", "remount,rw,bind", str(cache))
            bed.healed()
            assert bed.is_cached(old)
            server.signal()
            assert server.wait() == 0


def test_a_database_that_another_process_holds_delays_nobody_twice(bed: Bed) -> None:
    old = bed.kept("a tone of old")
    with contextlib.closing(sqlite3.connect(bed.cache / "cache.sqlite3", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        bed.unkept("a tone meanwhile")
        bed.degraded("another process keeps")
        assert bed.is_cached(old)
        bed.renditions_work(old, cached=True)
        db.execute("ROLLBACK")
    bed.healed()


def test_writes_that_fail_cost_nobody_a_sound(bed: Bed) -> None:
    old = bed.kept("a tone of old")
    router = psutil.Process(bed.server.process.pid)
    before = router.rlimit(psutil.RLIMIT_FSIZE)
    router.rlimit(psutil.RLIMIT_FSIZE, (1, before[1]))  # every write beyond the first byte of a file fails
    bed.unkept("a tone meanwhile")
    bed.degraded("")
    assert bed.is_cached(old)
    router.rlimit(psutil.RLIMIT_FSIZE, before)
    bed.healed()
    assert bed.is_cached(old)


def test_what_was_spilled_stays_for_its_grace_and_goes_after_it(tmp_path: Path) -> None:
    with Served(tmp_path / "s", cache={"delivered_grace_s": 3.0}).ready() as server, Asker(server.endpoint) as ask:
        bed = Bed(server, ask)
        os.rename(bed.cache, tmp_path / "away")
        bed.degraded("has been moved to")
        path = Path(bed.sound("a tone meanwhile")["path"])
        assert path.exists() and not path.is_relative_to(tmp_path)
        eventually(lambda: not path.exists(), "memory is given back")
        os.rename(tmp_path / "away", bed.cache)
        server.signal()
        assert server.wait() == 0
