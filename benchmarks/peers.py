"""The same null work (a worker that answers 1 kB with 1 kB) through LitServe, Mosec, Ray and this pool.

``make bench-peers`` installs the peers into .venv-peers, an environment of their own; what is not there is
said and left out. Each is measured in turns with the zmq ping-pong, its floor. HTTP peers are asked over a
kept-open connection by a client that does nothing but write and read bytes; Ray's actor by its own driver.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import routing
from benchmarks._pingpong import p50_us, ping_pong

PYTHON = Path(".venv-peers/bin/python")
TURNS, ROUNDS, SECONDS = 5, 200, 3.0
START_S = 120.0

_LITSERVE = """
import sys
import litserve

class Null(litserve.LitAPI):
    def setup(self, device): ...
    def decode_request(self, request): return request
    def predict(self, body): return body
    def encode_response(self, body): return body

if __name__ == "__main__":
    server = litserve.LitServer(Null(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), log_level="error", generate_client_file=False)
"""
_MOSEC = """
import sys
from mosec import Server, Worker

class Null(Worker):
    def deserialize(self, data): return data
    def serialize(self, data): return data
    def forward(self, data): return data

if __name__ == "__main__":
    server = Server()
    server.append_worker(Null, num=1)
    server.run()
"""
_RAY = """
import statistics, sys, threading, time
import ray
turns, rounds, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")

@ray.remote
class Null:
    def echo(self, body): return body

actor = Null.remote()
body = b"x" * 1000
for _ in range(200):
    ray.get(actor.echo.remote(body))
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "one":
        took = []
        for _ in range(rounds):
            started = time.perf_counter()
            ray.get(actor.echo.remote(body))
            took.append(time.perf_counter() - started)
        print(statistics.median(took) * 1e6, flush=True)
    else:
        done = [0] * 8
        end = time.perf_counter() + seconds
        def ask(number):
            while time.perf_counter() < end:
                ray.get(actor.echo.remote(body))
                done[number] += 1
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(sum(done) / seconds, flush=True)
ray.shutdown()
"""
_HTTP_LOAD = """
import sys, time
from benchmarks.peers import http_asker
ask = http_asker(int(sys.argv[1]), sys.argv[2])
done, end = 0, time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end:
    ask()
    done += 1
print(done)
"""


def rows() -> list[dict[str, Any]]:
    """One row a system; p50 of one client, its ratio to the ping-pong, requests a second from eight."""
    if not PYTHON.exists():
        return [{"system": "LitServe, Mosec, Ray", "p50_us": "not installed: make bench-peers"}]
    found: list[dict[str, Any]] = []
    with ping_pong() as floor:

        def ping() -> None:
            routing._echo_floor(floor)

        found.append({"system": "zmq ipc ping-pong (floor)", "p50_us": p50_us(ping, 5 * ROUNDS), "x_floor": 1.0})
        for name, module, measured in (
            ("this pool, worker credit 2", "audio_pool", _ours),
            ("LitServe", "litserve", _litserve),
            ("Mosec", "mosec", _mosec),
            ("Ray actor", "ray", _ray),
        ):
            version = _version(module)
            if version is None:
                found.append({"system": name, "p50_us": "not installed"})
                continue
            try:
                p50, ratio, rate = measured(ping)
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as exc:
                found.append({"system": f"{name} {version}", "p50_us": f"did not run: {exc}"[:100]})
                continue
            found.append({"system": f"{name} {version}", "p50_us": p50, "x_floor": ratio, "per_s_8_clients": rate})
    return found


def _version(module: str) -> str | None:
    if module == "audio_pool":
        return ""
    ask = f"import importlib.metadata as m; print(m.version({module!r}))"
    done = subprocess.run([str(PYTHON), "-c", ask], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


def _in_turns(ping: Callable[[], None], peer_p50_us: Callable[[], float]) -> tuple[float, float]:
    """Median microseconds of the peer, and of its ratio to the ping-pong of the same moment."""
    pairs = [(peer_p50_us(), p50_us(ping, ROUNDS)) for _ in range(TURNS)]
    return statistics.median(p for p, _ in pairs), statistics.median(p / floor for p, floor in pairs)


def _ours(ping: Callable[[], None]) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as place, routing._Server(place) as server:
        client, message = server.client(), routing._echo()
        for _ in range(200):
            routing._once(client, message)
        p50, ratio = _in_turns(ping, lambda: p50_us(lambda: routing._once(client, message), ROUNDS))
        return p50, ratio, routing._load(server, "echo", 8, 1, SECONDS)


def _litserve(ping: Callable[[], None]) -> tuple[float, float, float]:
    port = _free_port()
    with _running([str(PYTHON), "-c", _LITSERVE, str(port)], script=_LITSERVE):
        return _over_http(ping, port, "/predict")


def _mosec(ping: Callable[[], None]) -> tuple[float, float, float]:
    port = _free_port()
    with _running([str(PYTHON), "-c", _MOSEC, "--port", str(port)], script=_MOSEC):
        return _over_http(ping, port, "/inference")


def _ray(ping: Callable[[], None]) -> tuple[float, float, float]:
    command = [str(PYTHON), "-c", _RAY, str(TURNS), str(ROUNDS), str(SECONDS)]
    with _running(command, script=_RAY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdin is not None and driver.stdout is not None

        def said() -> str:
            line: str = driver.stdout.readline()
            if not line:
                raise RuntimeError("Ray's driver ended")
            return line

        while said().strip() != "ready":
            pass

        def ask(what: str) -> float:
            driver.stdin.write(what + "\n")
            driver.stdin.flush()
            return float(said())

        p50, ratio = _in_turns(ping, lambda: ask("one"))
        return p50, ratio, ask("eight")


def _over_http(ping: Callable[[], None], port: int, path: str) -> tuple[float, float, float]:
    ask = _reached(port, path)
    for _ in range(200):
        ask()
    p50, ratio = _in_turns(ping, lambda: p50_us(ask, ROUNDS))
    command = [sys.executable, "-c", _HTTP_LOAD, str(port), path, str(SECONDS)]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    return p50, ratio, sum(int(client.communicate(timeout=60)[0]) for client in clients) / SECONDS


def _reached(port: int, path: str) -> Callable[[], None]:
    deadline = time.monotonic() + START_S
    while True:
        try:
            ask = http_asker(port, path)
            ask()
            return ask
        except (OSError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def http_asker(port: int, path: str) -> Callable[[], None]:
    """Posts 1 kB and reads the answer, over one connection and without a library."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    message = head.encode() + b'"' + b"x" * 998 + b'"'  # LitServe reads JSON; to Mosec it is bytes

    def ask() -> None:
        connection.sendall(message)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _more(connection)
        top, _, body = answer.partition(b"\r\n\r\n")
        if not top.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(top.split(b"\r\n")[0].decode())
        length = int(top.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        size = len(body)
        while size < length:
            size += len(_more(connection))
        if length != 1000:
            raise RuntimeError(f"{length} bytes came back, 1000 were sent")

    return ask


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise OSError("the server hung up")
    return data


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(command: list[str], *, script: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """A peer in a session of its own, every process of which is ended with it.

    The script goes to a file, as peers start their workers by importing it anew.
    """
    with tempfile.TemporaryDirectory() as place, (Path(place) / "log").open("w") as log:
        file = Path(place) / "peer.py"
        file.write_text(script)
        peer = subprocess.Popen(
            [command[0], str(file), *command[3:]],
            text=True,
            stderr=log,
            start_new_session=True,
            **{"stdout": log, **streams},
        )
        try:
            yield peer
        finally:
            if peer.stdin is not None:
                peer.stdin.close()  # Ray's driver then ends its own
                with contextlib.suppress(subprocess.TimeoutExpired):
                    peer.wait(20)
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(peer.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    peer.wait(10)
            if peer.stdout is not None:
                peer.stdout.close()
