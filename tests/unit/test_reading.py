"""Files that requests name: hashed by turns, within bounds, and no longer than anybody wants them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.hand_writer import HandWriter

from audio_pool.errors import AudioPoolError, Busy, Cancelled, InvalidAudio, NotFound
from audio_pool.pool import reading as module
from audio_pool.pool.reading import FileReading, Turn


class World:
    """Files and who asked for them."""

    def __init__(self, place: Path, **bounds: int) -> None:
        self.place = place
        self.threads = HandWriter()
        usual = {"max_bytes": 1000, "client_files": 3, "client_bytes": 250}
        self.files = FileReading(self.threads, **{**usual, **bounds})
        self.found: list[tuple[str, str | AudioPoolError]] = []

    def ask(self, client: str, size: int = 100, name: str = "", opened: Callable[[], None] = lambda: None) -> Turn:
        name = name or f"{client}{len(list(self.place.iterdir()))}"
        path = self.place / name
        path.write_bytes(os.urandom(size))

        def open_file() -> int:
            opened()
            return os.open(path, os.O_RDONLY)

        return self.files.submit(client, name, open_file, lambda found: self.found.append((name, found)))

    def hashes(self) -> bool:
        """Whether every answer is its file's hash."""
        return all(
            isinstance(found, str) and found == hashlib.sha256((self.place / name).read_bytes()).hexdigest()
            for name, found in self.found
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_file_is_hashed(tmp_path: Path) -> None:
    world = World(tmp_path, max_bytes=10 << 20, client_bytes=20 << 20)
    for size in (0, 1, (3 << 20) + 17):
        world.ask("a", size)
    world.threads.run()
    assert len(world.found) == 3 and world.hashes()


def test_clients_take_turns_whoever_came_first(world: World) -> None:
    for client in ("a", "a", "b", "c", "c"):
        world.ask(client, 50)
    world.threads.run()
    assert [name[0] for name, _ in world.found] == ["a", "b", "c", "a", "c"] and world.hashes()


def test_a_client_has_its_share_of_files_and_the_host_has_no_bound(world: World) -> None:
    for _ in range(3):
        world.ask("a", 10)
    with pytest.raises(Busy, match="3 files of this client wait to be read, allowed are 3"):
        world.ask("a", 10)
    for _ in range(10):
        world.ask("", 90)
    world.threads.run()
    assert len(world.found) == 13 and world.hashes()
    world.ask("a", 10)


def test_a_client_has_its_share_of_bytes_and_one_file_always_fits(world: World) -> None:
    for _ in range(3):
        world.ask("a", 100)
    world.ask("b", 900)
    world.threads.run()
    found = dict(world.found)
    assert sum(isinstance(one, Busy) for one in found.values()) == 1 and len(found) == 4
    world.found.clear()
    world.ask("a", 100)
    world.threads.run()
    assert world.hashes() and not world.files._bytes and not world.files._files and not world.files._waiting


def test_a_file_that_is_too_large_or_grows_is_refused(world: World) -> None:
    world.ask("a", 1001, "large")
    looks: list[int] = []

    def grow() -> None:
        looks.append(1)
        if len(looks) == 2:
            (world.place / "grows").write_bytes(bytes(2000))

    world.ask("a", 10, "grows", grow)
    world.threads.run()
    assert [str(found) for _, found in world.found] == [
        "large has 1,001 bytes, allowed are 1,000",
        "grows has more than 1,000 bytes, which are allowed",
    ]
    assert all(isinstance(found, InvalidAudio) for _, found in world.found)


def test_what_is_given_up_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 10)
    world = World(tmp_path)
    turns: list[Turn] = []
    looks: list[int] = []

    def opened() -> None:
        looks.append(1)
        if len(looks) == 2:  # the second time it is opened to be read
            turns[0].give_up()

    turns.append(world.ask("a", 100, "x", opened))
    world.ask("a", 100, "y").give_up()
    world.threads.run()
    assert [(name, type(found)) for name, found in world.found] == [("y", Cancelled), ("x", Cancelled)]
    assert not world.files._files


def test_what_cannot_be_opened_costs_its_own_answer(world: World) -> None:
    def fail() -> None:
        raise FileNotFoundError(2, "No such file or directory")

    world.ask("a", 10, "gone", fail)
    world.ask("a", 10, "here")
    world.threads.run()
    (_, gone), (_, here) = world.found
    assert isinstance(gone, NotFound) and str(gone) == "gone cannot be read: No such file or directory"
    assert isinstance(here, str)


def test_closed_it_reads_no_further(world: World) -> None:
    world.ask("a", 10)
    world.files._closed = True
    world.threads.run()
    assert isinstance(world.found[0][1], Cancelled)


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError(), SystemExit()])
def test_whatever_reading_a_file_meets_is_an_answer(world: World, error: BaseException) -> None:
    def broken() -> None:
        raise error

    world.ask("a", opened=broken)
    world.ask("a")
    world.threads.run()
    assert len(world.found) == 2
    told = world.found[0][1]
    assert isinstance(told, AudioPoolError) and told.code == "internal"
