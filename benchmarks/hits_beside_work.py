"""Hits while workers compute, and the longest steps of the router's loop under such a load.

Two workers make sounds without a pause; one client asks for a kept one five hundred times a second, as a game does.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import zmq
from benchmarks import routing
from benchmarks._pingpong import ping_pong

SECONDS = 8.0
EVERY_S = 0.002
_WORKERS = (
    '[cache]\nencoder = "off"\n[[workers]]\nname = "a"\nengines = ["procedural"]\n'
    '[[workers]]\nname = "b"\nengines = ["procedural"]\n'
)


def rows() -> list[dict[str, Any]]:
    """Latencies of a hit and of a ping-pong, idle and beside work; the longest steps of the loop."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place, ping_pong() as floor:
        probed = Path(place) / "steps.json"
        module = ["benchmarks._probed_server", str(probed)]
        with routing._Server(place, text=_WORKERS, module=module) as server:
            client = server.client()
            routing._once(client, routing._generate())
            found += _latencies(client, floor, "idle")
            stop = threading.Event()
            work = threading.Thread(target=_keep_busy, args=(server, stop))
            work.start()
            try:
                time.sleep(1.0)
                found += _latencies(client, floor, "while two workers compute")
                routing._load(server, "generate", 8, 8, 2.0)
            finally:
                stop.set()
                work.join(60)
        told = json.loads(probed.read_text())
    cpu, wall, what = told["longest"][0]
    found.append(
        {"what": f"longest of {told['steps']:,} steps of the router's loop, processor time", "value": round(cpu),
         "unit": "us", "against": f"{what}; {wall:.0f} us of wall time (reach 200 us)"}
    )  # fmt: skip
    for cpu, wall, what in told["longest"][1:6]:
        found.append({"what": "the next", "value": round(cpu), "unit": "us", "against": f"{what}; {wall:.0f} us"})
    return found


def _latencies(client: zmq.Socket[bytes], floor: zmq.Socket[bytes], when: str) -> list[dict[str, Any]]:
    hits, pings = [], []
    end = time.perf_counter() + SECONDS
    while (begun := time.perf_counter()) < end:
        routing._once(client, routing._generate())
        between = time.perf_counter()
        routing._echo_floor(floor)
        hits.append(between - begun)
        pings.append(time.perf_counter() - between)
        time.sleep(max(0.0, EVERY_S - (time.perf_counter() - begun)))
    rows = []
    for what, took, reach in (("a hit", hits, " (reach 5 ms)"), ("a zmq ping-pong", pings, "")):
        took.sort()
        p50, p99 = took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3
        rows.append(
            {"what": f"{what}, {when}, p50 / p99", "value": f"{p50:.2f} / {p99:.2f}", "unit": "ms",
             "against": f"longest {took[-1] * 1e3:.1f}, of {len(took)}{reach}"}
        )  # fmt: skip
    return rows


def _keep_busy(server: routing._Server, stop: threading.Event) -> None:
    """Ask for new sounds, four at a time, so that no worker is ever idle."""
    socket = server.dealer()
    number = 0

    def ask() -> None:
        nonlocal number
        number += 1
        request = {"prompt": f"rain on a tin roof {number}", "duration_s": 20, "format": "ogg"}
        socket.send(msgpack.packb({"v": 1, "type": "generate", "request_id": f"w{number}", "request": request}))

    for _ in range(4):
        ask()
    while not stop.is_set():
        if socket.poll(200):
            answer = msgpack.unpackb(socket.recv())
            assert answer["type"] == "result", answer
            ask()

