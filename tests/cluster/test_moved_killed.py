"""A cache is carried there and back by commands that are killed again and again, while servers on it go on and are
killed, too: in the end all is there, and as it was, entry by entry."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

import msgspec
from tests.cluster.whole_cache import beside, filled, known
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient
from audio_pool.cache.opening import open_store
from audio_pool.cache.verify import verify
from audio_pool.errors import AudioPoolError


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


class Asker(threading.Thread):
    """Has sounds made, asked for again, marked and removed by a server, whichever lives at its address."""

    def __init__(self, endpoint: str, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.dice, self.made = endpoint, dice, 0
        self.ending = threading.Event()

    def run(self) -> None:
        with AudioClient(self.endpoint, timeout_s=5.0) as client:
            while not self.ending.is_set():
                try:
                    self.one(client)
                except AudioPoolError:  # its server has been killed
                    self.ending.wait(0.2)
                self.ending.wait(0.05)

    def one(self, client: AudioClient) -> None:
        result = client.generate(f"sound of a server {self.dice.randrange(30)}", format="flac")
        self.made += 1
        entry = result.metadata.entry_id
        drawn = self.dice.random()
        if entry is not None and drawn < 0.2:
            client.library.mark(entry, rating=self.dice.randint(1, 5), add_tags=[f"tag{self.made}"])
        elif entry is not None and drawn < 0.35:
            client.library.remove(entry)

    def end(self) -> None:
        self.ending.set()
        self.join(PATIENCE_S)


def carried(dice: random.Random, *arguments: str, kills: int) -> dict[str, Any]:
    """Carry by the command, and kill it so many times on its way; return what the last one tells."""
    command = [sys.executable, "-m", "audio_pool.cli", "cache", "move", *arguments, "--json"]
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(dice.uniform(0.5, 2.5))  # from its imports to its last steps
            process.kill()
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def moved_while_served(place: Path, dice: random.Random, *arguments: str, **cache: Any) -> None:
    """Move a head's cache while it serves, is killed and started again; then once more, when it is quiet."""
    sections = {"cache": {"encoder": "off", **cache}}
    head = Served(place, **sections).ready()
    asker = Asker(head.endpoint, dice)
    asker.start()
    try:
        eventually(lambda: asker.made >= 3, "it serves")
        carried(dice, *arguments, kills=2)
        head.close()
        head = Served(place, **sections)
        carried(dice, *arguments, kills=2)
        before = asker.made
        eventually(lambda: asker.made > before, "it serves again")
    finally:
        asker.end()
        head.signal()
        assert head.wait() == 0
        head.close()
    assert carried(dice, *arguments, kills=1)["skipped"] == []


def test_nothing_is_lost_where_movers_and_servers_are_killed(
    server: ObjectServer, database: str, tmp_path: Path
) -> None:
    dice = random.Random(1)
    place, here = server.place(), tmp_path / "here"
    (here / "cache").mkdir(parents=True)
    filled(here / "cache", 40).close()
    there = ["--cache-dir", str(here / "cache"), "--to", database, "--blobs", place.url]
    moved_while_served(here, dice, *there, "--endpoint", server.proxy.url)
    head = {"store": database, "blobs": place.url, "objects": msgspec.to_builtins(place.settings)}

    # a head takes over, which has never seen any of it
    with Served(tmp_path / "head", cache={"encoder": "off", **head}) as started:
        started.ready().signal()
        assert started.wait() == 0
    source, target = open_store(here / "cache"), open_store(tmp_path / "head" / "cache", create=False)
    now = known(source)
    assert len(now) > 40 and known(target) == now and beside(target) == beside(source)
    assert verify(source).ok and verify(target).ok
    source.close()
    target.close()

    # and back, into an empty directory, while the head goes on
    back = tmp_path / "back"
    moved_while_served(
        tmp_path / "head", dice, "--cache-dir", str(tmp_path / "head" / "cache"), "--to", str(back), **head
    )
    source, target = open_store(tmp_path / "head" / "cache", create=False), open_store(back, create=False)
    then = known(source)
    assert then.keys() - now.keys(), "it has kept something meanwhile"
    assert known(target) == then and beside(target) == beside(source)
    assert verify(source).ok and verify(target).ok
    source.close()
    target.close()
