"""Routing and hits of this version and another one, in turns with the ping-pong: ratios, processor time, wake-ups.

``BESIDE=FOLDER/src`` is the other version's package; without it only this one is measured. Processor time is of all
threads of the server's own process (to the nanosecond), wake-ups are its threads' voluntary context switches.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import routing
from benchmarks._pingpong import p50_us, ping_pong

TURNS, ROUNDS = int(os.environ.get("TURNS", "15")), 200
LOADS, LOAD_S = 3, 2.0


class Used(NamedTuple):
    """By all threads of a process so far."""

    cpu_ns: int
    switches: int


def rows() -> list[dict[str, Any]]:
    """Medians over the turns, one row a version and kind of request."""
    versions = {"this": str(Path(__file__).resolve().parents[1] / "src")}
    if os.environ.get("BESIDE"):
        versions["beside"] = os.environ["BESIDE"]
    asked = {"routed round trip": routing._echo(), "exact hit": routing._generate()}
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {(w, v): [] for w in asked for v in versions}
    rates: dict[tuple[str, str], list[tuple[float, float]]] = {(w, v): [] for w in asked for v in versions}
    with contextlib.ExitStack() as rest:
        floor = rest.enter_context(ping_pong())
        servers = {
            version: rest.enter_context(
                routing._Server(rest.enter_context(tempfile.TemporaryDirectory()), source=source)
            )
            for version, source in versions.items()
        }
        clients = {version: server.client() for version, server in servers.items()}
        for client in clients.values():
            for message in (*asked.values(), *asked.values()):
                for _ in range(100):
                    routing._once(client, message)
        for turn in range(TURNS):
            ping = p50_us(lambda: routing._echo_floor(floor), ROUNDS)
            for version in list(versions)[:: 1 if turn % 2 else -1]:
                for what, message in asked.items():
                    before, client = _used(servers[version]), clients[version]
                    took = p50_us(lambda: routing._once(client, message), ROUNDS)  # noqa: B023 - called at once
                    after = _used(servers[version])
                    used = (after.cpu_ns - before.cpu_ns) / 1e3 / ROUNDS, (after.switches - before.switches) / ROUNDS
                    found[what, version].append((took, took / ping, *used))
        for _ in range(LOADS):
            for version, server in servers.items():
                for what, kind in (("routed round trip", "echo"), ("exact hit", "generate")):
                    before = _used(server)
                    rate = routing._load(server, kind, 8, 8, LOAD_S)
                    cpu_us = (_used(server).cpu_ns - before.cpu_ns) / 1e3 / (rate * LOAD_S)
                    rates[what, version].append((rate, cpu_us))
    rows = []
    for (what, version), figures in found.items():
        p50, ratio, cpu, switches = (statistics.median(column) for column in zip(*figures, strict=True))
        rate, loaded = (statistics.median(column) for column in zip(*rates[what, version], strict=True))
        rows.append(
            {"what": what, "version": version, "p50, us": round(p50), "times the ping-pong": round(ratio, 2),
             "server's processor, us": round(cpu), "its wake-ups": round(switches, 1),
             "1/s from 8 clients": round(rate), "server's processor then, us": round(loaded)}
        )  # fmt: skip
    return rows


def _used(server: routing._Server) -> Used:
    cpu, switches = 0, 0
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            cpu += int((task / "schedstat").read_text().split()[0])
            told = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)
            switches += int(told[1]) if told else 0
    return Used(cpu, switches)
