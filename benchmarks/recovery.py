"""How long it takes until all is well again: a head, a worker, a node, the database or the object store was lost.

    python -m benchmarks.recovery [--runs 3] [head worker database standby objects node]

Two heads (``audio-pool serve``, a process each) on one PostgreSQL server, their sounds in an object store behind a
proxy that can be shut; a client that was given both addresses. The standby has a head of its own, and so has the Ray
cluster: two nodes with a worker each, which tells of a lost node after about a second
(``tests/support/ray_cluster.py``; Ray's own defaults are slower). Everything is on one machine, so that no network is
waited for. What is not installed is said and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from benchmarks._absent import Absent, postgres_folder
from benchmarks._shared_heads import Server, configured

PATIENCE_S = 120.0
_LOOK_S = 0.002
_names = itertools.count()
_NODES = """
[cluster]
launcher = "ray"
address = "{address}"
[cache]
encoder = "off"
[[workers]]
name = "far"
engines = ["procedural"]
roles = ["generate"]
resources = {{ far = 1 }}
count = 2
[[workers]]
name = "home"
engines = []
roles = ["master"]
local = true
"""
_OBJECTS = """blobs = "{url}"
[cache.objects]
endpoint = "{endpoint}"
allow_http = true
region = "us-east-1"
connect_timeout_s = 1.0
read_timeout_s = 2.0
retries = 1
retry_s = 2.0
"""
Times = dict[str, list[float]]


def _after(begun: float, well: Callable[[], bool]) -> float:
    """Return how many seconds after ``begun`` it is so."""
    while not well():
        if time.perf_counter() - begun > PATIENCE_S:
            raise TimeoutError(f"it is not well again after {PATIENCE_S:g} s")
        time.sleep(_LOOK_S)
    return time.perf_counter() - begun


def _new() -> str:
    """Words that nobody has asked for."""
    return f"rain, take {next(_names)}"


def _keeps(client: Any) -> bool:
    """Make a sound; return whether it was kept."""
    made = client.generate(_new(), duration_s=0.3, timeout_s=PATIENCE_S)
    return not any(told.startswith("not_kept") for told in made.metadata.warnings)


class _Bed:
    """Two heads, what they need, and a client of each."""

    def __init__(self, rest: contextlib.ExitStack) -> None:
        from tests.support.object_server import KEYS, served
        from tests.support.postgres import PostgresServer

        os.environ |= KEYS
        self._rest = rest
        self._place = Path(rest.enter_context(tempfile.TemporaryDirectory()))
        self.database = rest.enter_context(PostgresServer(postgres_folder()))
        self.objects = rest.enter_context(served())
        place = self.objects.place()
        text = configured(
            self.database.url(), _OBJECTS.format(url=place.url, endpoint=place.settings.endpoint)
        )
        self.heads: list[Server] = []
        for name in ("one", "two"):
            (self._place / name).mkdir()
            self.heads.append(Server(str(self._place / name), text=text, quiet=True))
        for head in self.heads:
            rest.enter_context(head)
        self._text = text

    def client(self, *numbers: int) -> Any:
        """A client of one head, or of both, the first of them asked first."""
        from audio_pool import AudioClient

        return AudioClient([self.heads[number].endpoint for number in numbers], order="given")

    def start_again(self, number: int) -> None:
        """Start a head that was killed, in its place."""
        self.heads[number] = self._rest.enter_context(
            Server(str(self._place / ("one", "two")[number]), text=self._text, quiet=True)
        )


def _head(bed: _Bed, runs: int) -> Iterator[tuple[str, float]]:
    for _ in range(runs):
        kept = _new()
        with bed.client(0, 1) as client, bed.client(1) as other:
            client.generate(kept, duration_s=0.3)
            _after(time.perf_counter(), lambda: other.generate(kept, duration_s=0.3).metadata.cached)  # noqa: B023
            os.kill(bed.heads[0].pid, signal.SIGKILL)
            begun = time.perf_counter()
            assert client.generate(kept, duration_s=0.3, timeout_s=PATIENCE_S).metadata.cached
            yield "head killed: a kept sound from the other, same client", time.perf_counter() - begun
            client.generate(_new(), duration_s=0.3, timeout_s=PATIENCE_S)
            yield "head killed: a new sound from the other, same client", time.perf_counter() - begun
        begun = time.perf_counter()
        bed.start_again(0)
        with bed.client(0) as client:
            assert client.generate(kept, duration_s=0.3, timeout_s=PATIENCE_S).metadata.cached
        yield "head started again: its first hit", time.perf_counter() - begun


def _worker_of(head: Server) -> psutil.Process:
    children = psutil.Process(head.pid).children()
    return next(child for child in children if "audio_pool.worker" in " ".join(child.cmdline()))


def _worker(bed: _Bed, runs: int) -> Iterator[tuple[str, float]]:
    with bed.client(0) as client:
        for _ in range(runs):
            client.generate(_new(), duration_s=0.3, timeout_s=PATIENCE_S)
            _worker_of(bed.heads[0]).kill()
            begun = time.perf_counter()
            client.generate(_new(), duration_s=0.3, timeout_s=PATIENCE_S)
            yield "the only worker killed: a new sound by the next", time.perf_counter() - begun


def _database(bed: _Bed, runs: int) -> Iterator[tuple[str, float]]:
    with bed.client(0) as client:
        for _ in range(runs):
            begun = time.perf_counter()
            with bed.database.gone():
                yield "database killed: said to be degraded", _after(begun, lambda: client.health().state != "ready")
            begun = time.perf_counter()
            yield "database back: ready again", _after(begun, lambda: client.health().state == "ready")
            yield "database back: a sound is kept", _after(begun, lambda: _keeps(client))


def _objects(bed: _Bed, runs: int) -> Iterator[tuple[str, float]]:
    with bed.client(0) as client:
        for _ in range(runs):
            bed.objects.proxy.set("gone")
            try:
                _after(time.perf_counter(), lambda: not _keeps(client) and client.health().state != "ready")
            finally:
                bed.objects.proxy.set("pass")
            begun = time.perf_counter()
            yield "object store back: ready again", _after(begun, lambda: client.health().state == "ready")
            yield "object store back: a sound is kept", _after(begun, lambda: _keeps(client))


def _standby(runs: int) -> Iterator[tuple[str, float]]:
    from tests.support.postgres import PostgresServer, StandbyServer

    from audio_pool import AudioClient

    for _ in range(runs):
        with (
            tempfile.TemporaryDirectory() as place,
            PostgresServer(postgres_folder()) as primary,
            StandbyServer(primary) as standby,
        ):
            standby.synchronous()
            text = configured(standby.either())
            with Server(place, text=text, quiet=True) as head, AudioClient(head.endpoint) as client:
                assert _keeps(client)
                begun = time.perf_counter()
                primary.stop(signal.SIGQUIT)
                standby.promote()
                promoted = time.perf_counter()
                ready = _after(promoted, lambda: _keeps(client))
                yield "standby promoted: a sound is kept", ready
                yield "primary killed, standby promoted: a sound is kept", ready + promoted - begun


def _node(runs: int) -> Iterator[tuple[str, float]]:
    try:
        from tests.support.ray_cluster import RayCluster

        cluster = RayCluster()
    except ModuleNotFoundError as error:
        raise Absent(f"{error.name} is not installed: make bench-cluster brings it") from None
    from audio_pool import AudioClient

    try:
        nodes = [cluster.add(far=1), cluster.add(far=1)]
        with (
            tempfile.TemporaryDirectory() as place,
            Server(place, text=_NODES.format(address=cluster.address), quiet=True) as head,
            AudioClient(head.endpoint) as client,
        ):

            def up() -> int:
                return sum(one.state == "ready" for one in client.status().workers.values())

            def asked() -> list[Any]:
                return [client.submit(_new(), duration_s=20.0, timeout_s=PATIENCE_S) for _ in range(8)]

            for _ in range(runs):
                _after(time.perf_counter(), lambda: up() == 3)
                begun = time.perf_counter()
                for pending in asked():
                    pending.result(PATIENCE_S)
                yield "eight sounds on two nodes", time.perf_counter() - begun
                waiting = asked()
                begun = time.perf_counter()
                cluster.kill(nodes.pop(0))
                yield "a node lost: its worker is taken for dead", _after(begun, lambda: up() < 3)
                for pending in waiting:
                    pending.result(PATIENCE_S)
                yield "the same eight, one of both nodes lost as they begin", time.perf_counter() - begun
                begun = time.perf_counter()
                nodes.append(cluster.add(far=1))
                yield "a node more: its worker is ready", _after(begun, lambda: up() == 3)
    finally:
        cluster.close()


ON_BED = {"head": _head, "worker": _worker, "database": _database, "objects": _objects}
APART = {"standby": _standby, "node": _node}


def rows(runs: int = 3, what: tuple[str, ...] = (*ON_BED, *APART)) -> list[dict[str, Any]]:
    """A row for each time that was taken."""
    found: Times = {}

    def take(times: Iterator[tuple[str, float]]) -> None:
        for name, seconds in times:
            found.setdefault(name, []).append(seconds)

    told: list[dict[str, Any]] = []
    with contextlib.ExitStack() as rest:
        wanted = [name for name in ON_BED if name in what]
        try:
            bed = _Bed(rest) if wanted else None
        except (Absent, ModuleNotFoundError) as missing:
            told.append({"what": f"{', '.join(wanted)}: skipped, {missing}"})
            bed = None
        for name in wanted if bed is not None else ():
            assert bed is not None
            take(ON_BED[name](bed, runs))
    for name in APART:
        if name in what:
            try:
                take(APART[name](runs))
            except (Absent, ModuleNotFoundError) as missing:
                told.append({"what": f"{name}: skipped, {missing}"})
    return [
        {
            "what": name,
            "runs": len(seconds),
            "median s": round(statistics.median(seconds), 3),
            "longest s": round(max(seconds), 3),
        }
        for name, seconds in found.items()
    ] + told


def main() -> None:
    """One run as asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*ON_BED, *APART, []], help="left out: all")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    print("\n".join(table(rows(asked.runs, tuple(asked.what) or (*ON_BED, *APART)))))


if __name__ == "__main__":
    main()
