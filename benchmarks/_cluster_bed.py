"""A whole cluster on one machine, and what can go wrong with each part of it.

Three Ray nodes, a PostgreSQL, an object store, and two heads, each of which reaches the database and the object store
through a proxy of its own. A fault is a generator: it does harm, yields for how many seconds, and mends it.

Owns: the parts, the faults, and when each one began and was over.
Must not know: clients, what is right.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
from benchmarks._cluster_judge import Harm
from tests.support.asker import Asker
from tests.support.fault_proxy import FaultProxy
from tests.support.object_server import KEYS, ObjectServer
from tests.support.postgres import PostgresServer, postgres_programs
from tests.support.ray_cluster import RayCluster
from tests.support.served import Served
from tests.support.waiting import eventually
from tests.support.worker_processes import worker_processes

__all__ = ["FAULTS", "Bed", "Fault", "Head"]

_LIMITS = {"heartbeat_s": 0.5, "missed_heartbeats": 8, "restart_backoff_s": 0.1, "restart_backoff_max_s": 2.0,
           "max_attempts": 4, "max_restarts": 1000, "breaker_max_s": 5.0, "poison_after": 20}  # fmt: skip
"""Workers are killed all the time here: a request that meets several is no poison."""
_STARTS = 4
START_S = 120.0
"""In which a head is up again, on a machine that does much else."""


class Head:
    """A head: its place, its proxies, and its process, which may be started many times."""

    def __init__(self, name: str, place: Path, settings: dict[str, Any], database: FaultProxy, objects: FaultProxy):
        self.name = name
        self.place = place
        self.database = database
        self.objects = objects
        self.endpoint = f"ipc://{place}/s"
        self._settings = settings
        self.served: Served | None = None
        self.up = False
        self.paused = False
        self.lives = 0
        self.samples: list[list[dict[str, float]]] = []
        """Of each life, a second apart."""

    @property
    def cache(self) -> Path:
        return self.place / "cache"

    def start(self) -> None:
        assert self.served is None
        self.served = Served(self.place, brings=(), **self._settings)
        self.lives += 1
        self.samples.append([])
        self.up = False

    def look(self) -> int | None:
        """Take note of its first words; return its exit code if it has ended by itself."""
        if self.served is None:
            return None
        with contextlib.suppress(queue.Empty):
            while True:
                self.up |= self.served.lines.get_nowait().startswith(("ready", "degraded"))
        code = self.served.process.poll()
        if code is not None:
            self.served.wait()
            self.served, self.up = None, False
        return code

    def kill(self) -> None:
        if self.served is not None:
            self.served.close()
            self.served, self.up, self.paused = None, False, False

    def sample(self) -> None:
        if self.served is not None and self.up and not self.paused:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(self.served.process.pid)
                found = {"MB": process.memory_info().rss / 1e6, "descriptors": process.num_fds()}
                self.samples[-1].append({**found, "threads": process.num_threads()})

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        with Asker(self.endpoint) as ask:
            return ask.ask(kind, **fields)

    def is_well(self) -> bool:
        return self.up and self.ask("health")["state"] == "ready"


class Bed(contextlib.ExitStack):
    """The parts; ``with`` starts them, and leaves nothing behind."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place
        self.harms: list[Harm] = []
        self.heads: dict[str, Head] = {}
        self.nodes: list[Any] = []
        self.ended: list[str] = []
        """Heads that ended by themselves."""

    def __enter__(self) -> Bed:
        super().__enter__()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        programs = postgres_programs()
        assert programs is not None, "there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER"
        port = _free_port()
        self.postgres = self.enter_context(PostgresServer(programs, port, ("listen_addresses=127.0.0.1",)))
        os.environ |= KEYS
        self.objects = ObjectServer()
        self.callback(self.objects.close)
        self.bucket = self.objects.place(fetch_s=4.0, retry_s=1.0, orphan_grace_s=120.0, collect_every_s=20.0)
        self.ray_port = _free_port()
        self.ray = RayCluster(self.ray_port, slow=True)
        self.callback(lambda: self.ray.close())
        self.nodes = [self.node() for _ in range(2)]
        for name in "ab":
            self.heads[name] = self._head(name, port)
            self.callback(self.heads[name].kill)
            self.heads[name].start()
        self.wait_well()

    def _head(self, name: str, port: int) -> Head:
        database, objects = FaultProxy("127.0.0.1", port), FaultProxy(self.objects.host, self.objects.port)
        self.callback(database.close)
        self.callback(objects.close)
        settings = msgspec.to_builtins(self.bucket.settings) | {"endpoint": objects.url}
        worker = {"engines": ["procedural"], "roles": ["generate"], "credit": 1, "env": {}}
        sections = {
            "cluster": {"launcher": "ray", "address": self.ray.address},
            "cache": {
                "store": f"postgresql://ap@127.0.0.1:{database.address[1]}/postgres",
                "store_timeout_s": 3.0,
                "store_connect_s": 1.0,
                "blobs": self.bucket.url,
                "objects": settings,
                "max_per_prompt": 1000,
                "delivered_grace_s": 20.0,
            },
            "defaults": {"engine": "procedural"},
            "limits": _LIMITS,
            "workers": [
                {**worker, "name": "far", "resources": {"audio": 1}, "count": 2},
                {"name": "home", "engines": [], "roles": ["master"], "local": True, "count": 2, "env": {}},
            ],
        }
        return Head(name, self.place / name, sections, database, objects)

    # -- how it is

    def node(self) -> Any:
        """A Ray node more; on a machine with too much to do its start may fail, and is tried again."""
        for _ in range(_STARTS):
            with contextlib.suppress(Exception):  # Ray raises just that
                return self.ray.add(audio=2)
        return self.ray.add(audio=2)

    def look(self) -> None:
        """Start again what has ended by itself, as whoever runs a service would."""
        for head in self.heads.values():
            code = head.look()
            if code is not None:
                self.ended.append(f"{time.monotonic():.1f} head {head.name} ended by itself with {code}")
                head.start()
            head.sample()
        for node in [one for one in self.nodes if not self.ray.is_up(one)]:
            with self.harm("Ray node lost by itself"):
                self.ray.kill(node)
                self.nodes[self.nodes.index(node)] = self.node()

    def wait_well(self, within_s: float = START_S) -> float:
        """Seconds until every head says that it is ready."""
        began = time.monotonic()

        def well() -> bool:
            self.look()
            return all(head.is_well() for head in self.heads.values())

        eventually(well, f"every head is well: {self.health}", within_s)
        return time.monotonic() - began

    @property
    def health(self) -> dict[str, Any]:
        return {name: head.ask("health") if head.up else "not up" for name, head in self.heads.items()}

    @contextlib.contextmanager
    def harm(self, what: str, *heads: str) -> Iterator[None]:
        """Note when this began and was over."""
        noted = Harm(what, heads or tuple(self.heads), time.monotonic())
        self.harms.append(noted)
        try:
            yield
        finally:
            noted.over = time.monotonic()

    def mend(self) -> None:
        """After whatever was broken off in the middle."""
        for head in self.heads.values():
            for proxy in (head.database, head.objects):
                if proxy.mode != "pass":
                    proxy.set("pass")
            if head.served is None:
                head.start()

    def database(self) -> str:
        """The address of the database itself."""
        return self.postgres.url()


# -- faults ----------------------------------------------------------------------------------------

Fault = Callable[[Bed, random.Random], Iterator[float]]


def head_killed(bed: Bed, dice: random.Random) -> Iterator[float]:
    head = bed.heads[dice.choice("ab")]
    with bed.harm(f"head {head.name} killed", head.name):
        head.kill()
        yield dice.uniform(0.1, 4.0)
        if head.served is None:
            head.start()
        while not head.up:
            yield 0.1


def head_paused(bed: Bed, dice: random.Random) -> Iterator[float]:
    head = bed.heads[dice.choice("ab")]
    served = head.served
    if served is None or not head.up:
        return
    with bed.harm(f"head {head.name} paused", head.name):
        paused_s = dice.uniform(0.5, 10.0)
        served.signal(signal.SIGSTOP)
        head.paused = True
        # by a clock of its own: another fault may keep this thread waiting for much longer, for a Ray node's start
        going_on = threading.Timer(paused_s, served.signal, (signal.SIGCONT,))
        going_on.start()
        yield paused_s
        going_on.join()
        head.paused = False


def worker_killed(bed: Bed, dice: random.Random) -> Iterator[float]:
    found = [(name, one) for name, head in bed.heads.items() if head.served for one in _workers_of(head)]
    if found:
        name, victim = dice.choice(found)
        with bed.harm("worker killed", name), contextlib.suppress(psutil.Error):
            if dice.random() < 0.2:
                victim = victim.parent() or victim  # its actor
                heads = [one.served.process.pid for one in bed.heads.values() if one.served]
                if victim.pid in (os.getpid(), *heads):
                    return
            victim.kill()
            yield 1.0


def _workers_of(head: Head) -> list[psutil.Process]:
    assert head.served is not None
    with contextlib.suppress(psutil.Error):
        home = [*worker_processes(head.served.process.pid).values()]
        far = [
            one
            for one in psutil.process_iter(["cmdline", "environ"])
            if "audio_pool.worker.start" in " ".join(one.info["cmdline"] or ())
            and one.info["cmdline"][4].startswith("tcp://")
        ]
        ports = {str(one.laddr.port) for one in psutil.Process(head.served.process.pid).net_connections("tcp")}
        return home + [one for one in far if one.cmdline()[4].rsplit(":", 1)[-1] in ports]
    return []


def driver_killed(bed: Bed, dice: random.Random) -> Iterator[float]:
    head = bed.heads[dice.choice("ab")]
    if head.served is None:
        return
    with bed.harm(f"Ray's process of head {head.name} killed", head.name), contextlib.suppress(psutil.Error):
        for child in psutil.Process(head.served.process.pid).children():
            if "audio_pool.pool.launchers.ray_driver" in child.cmdline():
                child.kill()
        yield 2.0


def node_lost(bed: Bed, dice: random.Random) -> Iterator[float]:
    if len(bed.nodes) < 2:
        return
    with bed.harm("Ray node lost"):
        node = bed.nodes.pop(dice.randrange(len(bed.nodes)))
        bed.ray.kill(node)
        yield dice.uniform(1.0, 8.0)
        bed.nodes.append(bed.node())


def node_paused(bed: Bed, dice: random.Random) -> Iterator[float]:
    """It may be declared dead meanwhile, while its workers go on; then it ends as soon as it hears of that."""
    if not bed.nodes:
        return
    with bed.harm("Ray node paused"), contextlib.suppress(psutil.Error):
        raylet = bed.ray.raylet(dice.choice(bed.nodes))
        raylet.suspend()
        yield dice.uniform(1.0, 12.0)
        raylet.resume()


def ray_lost(bed: Bed, dice: random.Random) -> Iterator[float]:
    """Its head, and with it every node; later there is a new cluster at the same address."""
    with bed.harm("Ray's head lost"):
        bed.nodes = []
        bed.ray.lose()
        yield dice.uniform(2.0, 6.0)
        bed.ray.close()
        bed.ray = RayCluster(bed.ray_port, slow=True)
        bed.nodes = [bed.node() for _ in range(2)]
        yield 5.0


def postgres_crashed(bed: Bed, dice: random.Random) -> Iterator[float]:
    how, said = dice.choice([(signal.SIGQUIT, "crashed"), (signal.SIGINT, "stopped")])
    with bed.harm(f"PostgreSQL {said}"):
        bed.postgres.stop(how)
        yield dice.choice([0.0, 1.0, 4.0, 10.0]) * dice.random()
        bed.postgres.start()


def database_cut(bed: Bed, dice: random.Random) -> Iterator[float]:
    heads = dice.choice([("a",), ("b",), ("a", "b")])
    mode = dice.choice(["gone", "hang", "slow"])
    with bed.harm(f"database {mode} for {' and '.join(heads)}", *heads):
        for name in heads:
            bed.heads[name].database.set(mode, delay_s=dice.uniform(0.05, 0.5))
        yield dice.uniform(0.5, 8.0)
        for name in heads:
            bed.heads[name].database.set("pass")


def objects_cut(bed: Bed, dice: random.Random) -> Iterator[float]:
    heads = dice.choice([("a",), ("b",), ("a", "b")])
    mode = dice.choice(["error", "gone", "slow", "truncate", "hang"])
    with bed.harm(f"object store {mode} for {' and '.join(heads)}", *heads):
        for name in heads:
            bed.heads[name].objects.set(mode, delay_s=dice.uniform(0.05, 1.0))
        yield dice.uniform(0.5, 8.0)
        for name in heads:
            bed.heads[name].objects.set("pass")


FAULTS: dict[Fault, tuple[float, str]] = {
    head_killed: (3.0, "head"),
    head_paused: (2.0, "head"),
    worker_killed: (4.0, ""),
    driver_killed: (1.0, ""),
    node_lost: (1.5, "ray"),
    node_paused: (1.0, "ray"),
    postgres_crashed: (2.0, "postgres"),
    database_cut: (3.0, "database"),
    objects_cut: (3.0, "objects"),
    ray_lost: (0.0, "ray"),
}
"""How often each is drawn, and what it must not be done to twice at a time."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
