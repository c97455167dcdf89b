"""What the HTTP door costs: a hit over HTTP against the same over ZMQ, LitServe and a bare endpoint.

All answer the same file (2 s of WAV, about 380 kB) in the same run, in turns. The bare endpoint is an ASGI function
that returns the bytes from memory, under uvicorn set as the gateway sets it. LitServe is left out, and that said, where
``make bench-peers`` has not installed it. Clients write and read bytes over connections that stay open, without a
library. Processor time is the serving process's own; it says more than the clock on a machine that does other things.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import zmq
from benchmarks import peers, routing
from benchmarks._pingpong import p50_us

TURNS, ROUNDS, SECONDS, CLIENTS = 7, 150, 3.0, 4
BESIDE_S = 1 / 300
"""Between two requests of who asks the gateway while the router's own hits are timed."""
MEMORY_REQUESTS = 20_000
SLOW_CLIENTS = 200
BARE, POST = "bare ASGI endpoint, from memory", "POST /v1/sounds"
SOUND = {"prompt": "wind", "duration_s": 2}
_HEAD = b"POST /v1/sounds HTTP/1.1\r\nHost: %s\r\nAccept: audio/*\r\nContent-Length: %d\r\n\r\n%s"

_BARE = """
import sys
import uvicorn

DATA = open(sys.argv[2], "rb").read()
HEADERS = [(b"content-type", b"audio/wav"), (b"content-length", b"%d" % len(DATA))]

async def app(scope, receive, send):
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": DATA})

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
            log_level="error", server_header=False, lifespan="off")
"""
_LITSERVE = """
import sys
import litserve
from fastapi import Response

class Sound(litserve.LitAPI):
    def setup(self, device): self.data = open(sys.argv[2], "rb").read()
    def decode_request(self, request): return request
    def predict(self, body): return self.data
    def encode_response(self, data): return Response(data, media_type="audio/wav")

if __name__ == "__main__":
    server = litserve.LitServer(Sound(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), log_level="error", generate_client_file=False)
"""
_LOAD = """
import sys
from benchmarks.http import asker, kept_up
print(kept_up(asker(int(sys.argv[1]), open(sys.argv[2], "rb").read()), float(sys.argv[3]), float(sys.argv[4])))
"""


class Way(NamedTuple):
    """One way to the sound."""

    ask: Callable[[], Any]
    load: Callable[[], float]
    """Requests a second of several clients."""
    pid: int
    """Of the process that answers."""


def rows() -> list[dict[str, Any]]:
    """One row a figure."""
    found: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(routing._Server(place))
        client = server.client()
        gateway = stack.enter_context(_Gateway(place, server.endpoint))
        body = json.dumps(SOUND).encode()
        hit = _HEAD % (f"127.0.0.1:{gateway.port}".encode(), len(body), body)
        data, head = asker(gateway.port, hit)(keep=True)
        (Path(place) / "sound.wav").write_bytes(data)
        ways = {BARE: stack.enter_context(_peer(place, sys.executable, _BARE, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))}
        ways["ZMQ, delivery inline"] = Way(
            lambda: _inline(client), lambda: _zmq_load(server, CLIENTS, SECONDS), server._process.pid
        )
        ways[POST] = Way(asker(gateway.port, hit), lambda: _load(place, gateway.port, hit), gateway.pid)
        entry = re.search(rb"x-sound-id: (\d+)", head)
        if entry is not None:
            get = b"GET /v1/sounds/%s/audio?format=wav HTTP/1.1\r\n" % entry[1]
            get += b"Host: 127.0.0.1:%d\r\n\r\n" % gateway.port
            with contextlib.suppress(RuntimeError):  # a gateway without this address
                asker(gateway.port, get)()
                ways["GET /v1/sounds/{id}/audio"] = Way(
                    asker(gateway.port, get), lambda: _load(place, gateway.port, get), gateway.pid
                )
        if peers.PYTHON.exists():
            post = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            ways["LitServe"] = stack.enter_context(_peer(place, str(peers.PYTHON), _LITSERVE, post))
        found += _in_turns(ways)
        if not peers.PYTHON.exists():
            found.append(_row("LitServe", "not installed: make bench-peers", "", ""))
        found += _beside(server, client, place, gateway.port, hit)
        found.append(_memory(gateway, hit))
        found += _slow_clients(gateway, hit, len(data))
    return found


def _in_turns(ways: dict[str, Way]) -> list[dict[str, Any]]:
    """Each way's p50, its ratio to the bare endpoint's of the same moment, processor time, and requests a second."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(100):
            way.ask()
    for _ in range(TURNS):
        for name, way in ways.items():
            before = _cpu_s(way.pid)
            took[name].append(p50_us(way.ask, ROUNDS))
            spent[name].append((_cpu_s(way.pid) - before) / ROUNDS * 1e6)
    found = []
    for what, figures in (("a hit, p50", took), ("processor time for each", spent)):
        for name in ways:
            if not statistics.median(figures[name]):
                continue  # several processes answer, not the one that was started
            ratio = statistics.median(one / bare for one, bare in zip(figures[name], figures[BARE], strict=True))
            reach = " (reach 2)" if "/v1/" in name and figures is took else ""
            value = statistics.median(figures[name])
            found.append(_row(f"{name}: {what}", value, "us", f"{ratio:.2f} x bare{reach}"))
    for name, way in ways.items():
        found.append(_row(f"{name}: hits/s, {CLIENTS} clients", way.load(), "1/s", "clients on the same cores"))
    return found


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far, to the nanosecond."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def _beside(
    server: routing._Server, client: zmq.Socket[bytes], place: str, port: int, hit: bytes
) -> list[dict[str, Any]]:
    """The router's hits over ZMQ, alone and with the gateway under load; and beside as much load over ZMQ itself."""

    def p50() -> float:
        return p50_us(lambda: routing._once(client, routing._generate()), 400)

    def beside(load: Callable[[float], float]) -> tuple[float, float]:
        rate: list[float] = []
        thread = threading.Thread(target=lambda: rate.append(load(SECONDS)))
        thread.start()
        time.sleep(0.7)  # its processes are up
        found = p50()
        thread.join(60)
        return found, rate[0]

    p50()
    alone = statistics.median(p50() for _ in range(3))
    over_http, http_rate = beside(lambda s: _load(place, port, hit, clients=1, seconds=s, every_s=BESIDE_S))
    over_zmq, zmq_rate = beside(lambda s: _zmq_load(server, 1, s, BESIDE_S))
    return [
        _row("a hit over ZMQ, the gateway idle, p50", alone, "us", ""),
        _row("the same beside a client of the gateway", over_http, "us", _against(over_http, alone, http_rate)),
        _row("the same beside a client over ZMQ", over_zmq, "us", _against(over_zmq, alone, zmq_rate)),
    ]


def _against(beside: float, alone: float, rate: float) -> str:
    return f"{beside / alone:.2f} x; {rate:.0f} requests a second of it"


def _memory(gateway: _Gateway, hit: bytes) -> dict[str, Any]:
    ask = asker(gateway.port, hit)
    for _ in range(2000):
        ask()
    start = gateway.rss_mb()
    for _ in range(MEMORY_REQUESTS):
        ask()
    grown = gateway.rss_mb() - start
    return _row(f"gateway's memory grown over {MEMORY_REQUESTS:,} requests", grown, "MB", f"from {start:.0f} MB (flat)")


def _slow_clients(gateway: _Gateway, hit: bytes, size: int) -> list[dict[str, Any]]:
    """What one client notices of two hundred who hardly read."""
    ask = asker(gateway.port, hit)
    alone, before = p50_us(ask, 400), gateway.rss_mb()
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(SLOW_CLIENTS):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(30)
            one.connect(("127.0.0.1", gateway.port))
            one.sendall(hit)
            slow.append(one)
        stop = threading.Event()

        def read_slowly() -> None:
            while not stop.wait(0.1):
                for one in slow:
                    one.recv(1000)

        reader = threading.Thread(target=read_slowly)
        reader.start()
        try:
            time.sleep(2.0)
            beside = p50_us(ask, 400)
            grown = gateway.rss_mb() - before
        finally:
            stop.set()
            reader.join(30)
    whole = SLOW_CLIENTS * size / 1e6
    return [
        _row(f"POST beside {SLOW_CLIENTS} slow clients (10 kB/s), p50", beside, "us", f"{beside / alone:.2f} x alone"),
        _row("gateway's memory grown by them", grown, "MB", f"{whole:.0f} MB are on their way to them"),
    ]


# -- who is asked ----------------------------------------------------------------------------------


class _Gateway:
    """``audio-pool gateway`` in a process of its own."""

    def __init__(self, place: str, endpoint: str) -> None:
        command = [sys.executable, "-m", "audio_pool.cli", "gateway", "--connect", endpoint, "--bind", "127.0.0.1:0"]
        self._process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True, cwd=place,
                                         env={**os.environ, "PYTHONPATH": str(Path("src").absolute())})  # fmt: skip

    def __enter__(self) -> _Gateway:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if told.get("event") == "listening":
                self.port = int(told["url"].rpartition(":")[2])
                return self
        raise RuntimeError("the gateway did not start")

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def pid(self) -> int:
        return self._process.pid


@contextlib.contextmanager
def _peer(place: str, python: str, script: str, request: bytes) -> Iterator[Way]:
    port = peers._free_port()
    command = [python, "-c", script, str(port), f"{place}/sound.wav"]
    with peers._running(command, script=script) as peer:
        deadline = time.monotonic() + peers.START_S
        while True:
            try:
                ask = asker(port, request)
                ask()
                break
            except (OSError, RuntimeError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield Way(ask, lambda: _load(place, port, request), peer.pid)


def asker(port: int, request: bytes) -> Callable[..., Any]:
    """Return what sends a request and reads its whole answer, over one connection and without a library."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    room = memoryview(bytearray(1 << 20))

    def ask(keep: bool = False) -> tuple[bytes, bytes]:
        connection.sendall(request)
        size, end = 0, -1
        while end < 0:
            size += _more(connection, room[size:])
            end = bytes(room[: min(size, 4096)]).find(b"\r\n\r\n")
        head = bytes(room[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.split(b"\r\n")[0].decode())
        whole = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        while size < whole:
            size += _more(connection, room[size:])
        return (bytes(room[end + 4 : whole]), head) if keep else (b"", b"")

    return ask


def _more(connection: socket.socket, room: memoryview) -> int:
    got = connection.recv_into(room)
    if not got:
        raise OSError("the server hung up")
    return got


def _load(
    place: str, port: int, request: bytes, *, clients: int = CLIENTS, seconds: float = SECONDS, every_s: float = 0.0
) -> float:
    """Requests a second of several clients, each in a process of its own."""
    file = Path(place) / f"request-{port}"
    file.write_bytes(request)
    command = [sys.executable, "-c", _LOAD, str(port), str(file), str(seconds), str(every_s)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    return sum(int(one.communicate(timeout=120)[0]) for one in running) / seconds


_ZMQ_LOAD = """
import sys
from benchmarks.http import inline_asker, kept_up
print(kept_up(inline_asker(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
"""


def kept_up(ask: Callable[[], Any], seconds: float, every_s: float) -> int:
    """Ask for so long, no oftener than so; return how often."""
    done, begun = 0, time.perf_counter()
    while (now := time.perf_counter()) < begun + seconds:
        ask()
        done += 1
        if every_s:
            time.sleep(max(0.0, begun + done * every_s - now))
    return done


def _zmq_load(server: routing._Server, clients: int, seconds: float, every_s: float = 0.0) -> float:
    command = [sys.executable, "-c", _ZMQ_LOAD, server.endpoint, str(seconds), str(every_s)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    return sum(int(one.communicate(timeout=120)[0]) for one in running) / seconds


def inline_asker(endpoint: str) -> Callable[[], None]:
    """Return what asks for the sound over ZMQ and has its bytes sent."""
    client = zmq.Context.instance().socket(zmq.DEALER)
    client.setsockopt(zmq.LINGER, 0)
    client.setsockopt(zmq.RCVTIMEO, 30_000)
    client.connect(endpoint)
    return lambda: _inline(client)


_INLINE = msgpack.packb({"v": 1, "type": "generate", "request_id": "i", "request": {**SOUND, "delivery": "inline"}})


def _inline(client: zmq.Socket[bytes]) -> None:
    client.send(_INLINE)
    head, data = client.recv_multipart()
    assert len(data) > 100_000, msgpack.unpackb(head)


def _row(what: str, value: float | str, unit: str, against: str) -> dict[str, Any]:
    shown = value if isinstance(value, str) else round(value, 2)
    return {"what": what, "value": shown, "unit": unit, "against": against}
