"""What the routing costs: round trips through a worker, exact hits, many clients, memory.

The floor is a zmq ipc ping-pong of the same bytes in the same run, in turns with what it is held against.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import zmq
from benchmarks._pingpong import p50_us, ping_pong

ROUNDS = 2000
PAYLOAD = b"x" * 1000
_LOAD = """
import sys, time, msgpack, zmq
endpoint, kind, seconds, window = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.RCVTIMEO, 10000)
socket.setsockopt(zmq.LINGER, 0)
socket.connect(endpoint)
number = done = 0
def ask():
    global number
    number += 1
    message = {"v": 1, "type": kind, "request_id": str(number)}
    if kind == "echo":
        message["payload"] = b"x" * 1000
    else:
        message["request"] = {"prompt": "wind", "duration_s": 2}
    socket.send(msgpack.packb(message))
for _ in range(window):
    ask()
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    assert msgpack.unpackb(socket.recv())["type"] == "result"
    done += 1
    ask()
print(done)
"""


def rows() -> list[dict[str, Any]]:
    """One row a figure, its ratio to the ping-pong of the same run."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place, ping_pong() as floor, _Server(place) as server:
        client = server.client()
        _once(client, _generate())
        for _ in range(200):
            _echo_floor(floor)
            _once(client, _echo())
        pings, echoes, hits = [], [], []
        for _ in range(10):  # in turns: the machine's mood is the same for all
            pings.append(p50_us(lambda: _echo_floor(floor), ROUNDS // 10))
            echoes.append(p50_us(lambda: _once(client, _echo()), ROUNDS // 10))
            hits.append(p50_us(lambda: _once(client, _generate()), ROUNDS // 10))
        ping, echo, hit = (sorted(x)[len(x) // 2] for x in (pings, echoes, hits))
        ratio = sorted(e / p for e, p in zip(echoes, pings, strict=True))[5]
        found.append(_row("zmq ipc ping-pong, 1 kB, p50", ping, "us", "floor"))
        found.append(_row("routed round trip through a worker, 1 kB, p50", echo, "us", f"{ratio:.2f} x (reach 3)"))
        hits_ratio = sorted(h / p for h, p in zip(hits, pings, strict=True))[5]
        found.append(_row("exact hit, served, p50", hit, "us", f"{hits_ratio:.2f} x (reach 2.5)"))
        for what, message, reach in (("hit", _generate(), "reach 120 us"), ("routed round trip", _echo(), "")):
            used = []
            for _ in range(15):  # the middle one: others on the machine make some of them dearer
                before = server.cpu_s()
                for _ in range(100):
                    _once(client, message)
                used.append((server.cpu_s() - before) * 1e4)
            found.append(_row(f"server's processor time for each {what}", sorted(used)[7], "us", reach))
        for clients in (1, 8):
            before = server.cpu_s()
            rate = _load(server, "generate", clients, 8)
            each = (server.cpu_s() - before) / (3 * rate) * 1e6
            reach = f"{each:.0f} us of the server's processor time each (reach 10,000/s from 8)"
            found.append(_row(f"hits/s, {clients} clients", rate, "1/s", reach))
        for clients in (1, 8):
            found.append(_row(f"echoes/s, {clients} clients", _load(server, "echo", clients, 8), "1/s", ""))
        start = server.rss_mb()
        _many(server, 50_000)
        grown = server.rss_mb() - start
        found.append(_row("server memory grown over 50,000 requests", grown, "MB", f"from {start:.0f} MB"))
    for credit in (1, 2, 8):
        with tempfile.TemporaryDirectory() as place, _Server(place, credit=credit) as server:
            found.append(_row(f"echoes/s, worker credit {credit}, 8 clients", _load(server, "echo", 8, 8), "1/s", ""))
    return found


def _row(what: str, value: float, unit: str, against: str) -> dict[str, Any]:
    return {"what": what, "value": round(value, 2), "unit": unit, "against": against}


class _Server:
    """``audio-pool serve`` in a process of its own."""

    def __init__(
        self,
        place: str,
        credit: int = 2,
        text: str = "",
        module: Sequence[str] = (),
        source: str = "",
        quiet: bool = False,
    ) -> None:
        """
        Args:
            text: of the configuration, in place of one worker's with this credit.
            module: what is run in place of the command line, with its own arguments.
            source: the folder of another version's package.
            quiet: what it tells of faults that are meant is not shown.
        """
        self.endpoint = f"ipc://{place}/serve"
        config = Path(place) / "bench.toml"
        config.write_text(
            text
            or '[cache]\nencoder = "off"\n[[workers]]\nname = "w"\nengines = ["procedural"]\n'
            f"credit = {credit}\naux_credit = {credit}\n"
        )
        command = [sys.executable, "-m", *(module or ["audio_pool.cli"]), "serve", "--config", str(config)]
        command += ["--bind", self.endpoint, "--cache-dir", f"{place}/cache"]
        env = {**os.environ, "PYTHONPATH": source} if source else None
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True, env=env
        )
        self._context = zmq.Context()

    def __enter__(self) -> _Server:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ready"):
                return self
        raise RuntimeError("the server did not come up")

    def __exit__(self, *exc: object) -> None:
        self._context.destroy(0)
        self._process.terminate()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def client(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.REQ)
        socket.setsockopt(zmq.RCVTIMEO, 30_000)
        socket.connect(self.endpoint)
        return socket

    @property
    def pid(self) -> int:
        return self._process.pid

    def dealer(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.RCVTIMEO, 30_000)
        socket.connect(self.endpoint)
        return socket

    def cpu_s(self) -> float:
        """Processor time of the server's own process so far; to the nanosecond, other than ``stat`` of it."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _echo_floor(floor: zmq.Socket[bytes]) -> None:
    floor.send(PAYLOAD)
    floor.recv()


def _echo() -> bytes:
    return msgpack.packb({"v": 1, "type": "echo", "request_id": "e", "payload": PAYLOAD})


def _generate() -> bytes:
    request = {"prompt": "wind", "duration_s": 2}
    return msgpack.packb({"v": 1, "type": "generate", "request_id": "g", "request": request})


def _once(client: zmq.Socket[bytes], message: bytes) -> None:
    client.send(message)
    assert b"result" in client.recv()[:64]


def _load(server: _Server, kind: str, clients: int, window: int, seconds: float = 3.0) -> float:
    """Answers a second to so many client processes, each with ``window`` requests in flight."""
    command = [sys.executable, "-c", _LOAD, server.endpoint, kind, str(seconds), str(window)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    return sum(int(process.communicate(timeout=60)[0]) for process in processes) / seconds


def _many(server: _Server, count: int) -> None:
    """So many requests, eight at a time from each of two threads."""

    def run(share: int) -> None:
        client = server._context.socket(zmq.DEALER)
        client.setsockopt(zmq.RCVTIMEO, 30_000)
        client.connect(server.endpoint)
        for number in range(share):
            client.send(_echo() if number % 2 else _generate().replace(b"\xa1g", b"\xa2g" + b"%d" % (number % 10), 1))
            if number >= 1:
                client.recv()
        client.close(0)

    threads = [threading.Thread(target=run, args=(count // 2,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 600
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
