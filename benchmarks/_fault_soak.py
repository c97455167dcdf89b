"""Many requests while workers are killed: each has one answer, its own, and the server does not grow.

Owns: the soak, its counts and its table.
Must not know: the fault matrix (faults.py).
"""

from __future__ import annotations

import collections
import contextlib
import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from benchmarks._fault_bed import LIMITS, files_left, leftovers_of, rogues, said, tree_of
from tests.support.asker import Asker
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

__all__ = ["Soak", "soak"]

CLIENTS = 4
WINDOW = 8
"""Requests that a client has in flight."""
COMMON = 40
"""Prompts that are asked for again and again."""


@dataclass(kw_only=True)
class Soak:
    """What became of so many requests."""

    requests: int
    kills: int
    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    cached: int = 0
    faults: list[str] = field(default_factory=list)
    """Answers that were lost, doubled or crossed."""
    left: list[str] = field(default_factory=list)
    quarters: list[dict[str, float]] = field(default_factory=list)
    """Means of the server's memory, descriptors and threads."""

    @property
    def wrong(self) -> bool:
        return bool(self.faults or self.left)

    def markdown(self) -> list[str]:
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.answers.items(), key=lambda one: -one[1]))
        lines = [
            f"{self.requests:,} requests of {CLIENTS} clients, {self.kills} workers killed, {self.seconds:.0f} s "
            f"({self.requests / self.seconds:.0f} a second; {self.cached:,} from the cache): {told}; "
            f"**{len(self.faults)} lost, doubled or crossed**; left: {', '.join(self.left) or 'nothing'}.",
            "",
            "| the server | first quarter | last quarter |",
            "| --- | --- | --- |",
        ]
        first, last = self.quarters[0], self.quarters[-1]
        lines += [f"| {name} | {first[name]:.1f} | {last[name]:.1f} |" for name in first]
        return lines + self.faults[:5]


class _Client(threading.Thread):
    def __init__(self, endpoint: str, number: int, requests: int, fresh: float, tally: _Tally) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.number, self.requests, self.fresh, self.tally = endpoint, number, requests, fresh, tally
        self.dice = random.Random(number)
        self.asked: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.seen: set[str] = set()

    def run(self) -> None:
        with Asker(self.endpoint) as ask:
            sent, last = 0, time.monotonic()
            while sent < self.requests or self.waiting:
                while sent < self.requests and len(self.waiting) < WINDOW:
                    self._send(ask, sent)
                    sent += 1
                if ask.socket.poll(100):
                    self._take(ask.take())
                    ask.finals.clear()
                    last = time.monotonic()
                elif time.monotonic() - last > PATIENCE_S:
                    break
            ask.quiet(0.5)
            while ask.socket.poll(0):
                self._take(ask.take())
        self.tally.faults += [f"{name} was lost" for name in self.waiting]

    def _send(self, ask: Asker, number: int) -> None:
        name, dice = f"c{self.number}-{number}", self.dice.random()
        fields: dict[str, Any] = {}
        if dice >= self.fresh:
            prompt = f"tone in common {self.dice.randrange(COMMON)}"
        else:
            prompt = f"tone of {name}"
            fields = {"store": False}
        if self.dice.random() < 0.1:
            fields["delivery"] = "inline"
        self.asked[name] = prompt
        self.waiting.add(name)
        ask.generate(name, prompt, **fields)

    def _take(self, reply: dict[str, Any]) -> None:
        name, tally = reply["request_id"], self.tally
        if name in self.seen or name not in self.waiting:
            tally.faults.append(f"{name} was answered twice, or never asked")
            return
        self.seen.add(name)
        self.waiting.discard(name)
        if reply["type"] == "result":
            metadata = reply["metadata"]
            if metadata["prompt"] != self.asked[name] or metadata["request_id"] != name:
                tally.faults.append(f"{name} was answered with {metadata['prompt']!r}")
            tally.cached += bool(metadata["cached"])
        tally.answers[said(reply)] += 1


class _Tally:
    def __init__(self) -> None:
        self.answers: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.cached = 0

    @property
    def done(self) -> int:
        return sum(self.answers.values())


def soak(place: Path, requests: int, kills: int, fresh: float = 0.2) -> Soak:
    """Ask for so many sounds while so many workers are killed, evenly spread.

    Args:
        fresh: the share of requests that nobody has made before.
    """
    found = Soak(requests=requests, kills=kills)
    settings: dict[str, Any] = {
        "workers": [rogues(3, credit=2)],
        "brings": ("rogue",),
        "limits": {**LIMITS, "max_attempts": 4},
        "defaults": {"engine": "rogue"},
        "cache": {"delivered_grace_s": 5.0},
    }
    with Served(place / "s", **settings).ready() as server:
        pids = set(tree_of(server.process.pid))
        tally, watched = _Tally(), psutil.Process(server.process.pid)
        share = [requests // CLIENTS + (number < requests % CLIENTS) for number in range(CLIENTS)]
        clients = [_Client(server.endpoint, number, share[number], fresh, tally) for number in range(CLIENTS)]
        began = time.monotonic()
        for client in clients:
            client.start()
        samples: list[tuple[int, dict[str, float]]] = []
        killed, dice = 0, random.Random(0)
        while any(client.is_alive() for client in clients):
            if killed < kills and tally.done >= (killed + 1) * requests / (kills + 1):
                workers = server.workers()
                if workers:
                    victim = workers[dice.choice(sorted(workers))]
                    pids.add(victim.pid)
                    with contextlib.suppress(psutil.Error):
                        victim.kill()
                        killed += 1
            samples.append((tally.done, _sample(watched)))
            time.sleep(0.05)
        found.seconds = time.monotonic() - began
        found.kills = killed
        with Asker(server.endpoint) as ask:
            eventually(lambda: ask.ask("status")["requests"] == 0, "nothing is in flight any more")
            eventually(lambda: ask.ask("health")["state"] == "ready", "whoever died is back")
        pids |= set(tree_of(server.process.pid))
        server.signal()
        code = server.wait()
    found.answers, found.cached, found.faults = dict(tally.answers), tally.cached, tally.faults
    if code:
        found.faults.append(f"the server ended with {code}")
    for number in range(4):
        low, high = number * requests / 4, (number + 1) * requests / 4
        part = [one for done, one in samples if low <= done <= high] or [samples[-1][1]]
        found.quarters.append({name: statistics.median(one[name] for one in part) for name in part[0]})
    found.left = leftovers_of(sorted(pids))
    with Served(place / "s", **settings).ready() as again:
        again.signal()
        again.wait()
    found.left += files_left(place / "s", server.process.pid)
    return found


def _sample(process: psutil.Process) -> dict[str, float]:
    return {
        "memory in MB": process.memory_info().rss / 1e6,
        "descriptors": float(process.num_fds()),
        "threads": float(process.num_threads()),
    }
