"""The whole pipe: a served pool whose cards are stand-ins, everything behind them real, on this machine's cores.

A card sleeps BATCH_S for each batch, one request a batch, and the processor is free meanwhile. Sounds of 30 s go from
its worker through shared memory to a mastering worker, into the cache and to a client that always has as many requests
under way. ``busy`` is the share of the time in which a card's generate() runs: for the rest it waited for the pipe.
``gap`` is how long it usually waits between two batches, p50; ``alone`` what a request takes with nothing beside it.
Processor times are in shares of one core; ``others`` is what else ran on the machine. What all of it needs for one
sound, client included, tells how many a core can finish in a second.

    python -m benchmarks whole_pipe
    BESIDE=OTHER_CHECKOUT/src python -m benchmarks whole_pipe     each line also with that version, in turns
    CARDS=2 ROUNDS=3 python -m benchmarks whole_pipe              only so many cards, more often
    DESKS=0 python -m benchmarks whole_pipe                       no mastering workers: each card's does its own
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests.support

import psutil
from tests.support.asker import Asker
from tests.support.served import Served

BATCH_S = float(os.environ.get("BATCH_S", "0.3"))
MEASURED_S = float(os.environ.get("MEASURED_S", "8"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))
CARDS = tuple(int(number) for number in os.environ.get("CARDS", "1 2 3 4").split())
DESKS = tuple(int(number) for number in os.environ.get("DESKS", "2").split())
FULL = 0.95
ALONE, SETTLE_S, DEADLINE_S = 5, 2.0, 60.0
IN_FLIGHT = 4
"""Requests under way for each card: one generated, one waiting behind it, two on their way through the rest."""
CANDIDATES = {"1": (1, "plain"), "4": (4, "plain"), "4, the first faulty": (4, "faulty")}
"""Where the first candidate has no fault the others are not judged."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    cards: int
    desks: int
    candidates: str
    source: str


def rows() -> list[dict[str, Any]]:
    """One line for each number of cards and of candidates, and each version."""
    versions = {"this": str(Path(__file__).resolve().parents[1] / "src")}
    if os.environ.get("BESIDE"):
        versions["beside"] = os.environ["BESIDE"]
    kinds = [kind for kind in CANDIDATES if kind in os.environ.get("CANDIDATES", ";".join(CANDIDATES)).split(";")]
    found = []
    for cards in CARDS:
        for desks in DESKS:
            for kind in kinds:
                rounds: dict[str, list[dict[str, Any]]] = {version: [] for version in versions}
                for _ in range(ROUNDS):
                    for version, source in versions.items():
                        setup = Setup(cards=cards, desks=desks, candidates=kind, source=source)
                        rounds[version].append(_measured(setup))
                for version, lines in rounds.items():
                    found.append({**({"version": version} if len(versions) > 1 else {}), **_middle(lines)})
    return found


def _middle(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The round of the middle by what was delivered."""
    return sorted(lines, key=lambda line: float(line["sounds/s"]))[(len(lines) - 1) // 2]


def _measured(setup: Setup) -> dict[str, Any]:
    count, word = CANDIDATES[setup.candidates]
    with tempfile.TemporaryDirectory() as place, _served(Path(place), setup, count) as server:
        with Asker(server.ready().endpoint) as client:
            pipe = _Pipe(client, word, count)
            for _ in range(ALONE):  # slots, mappings and imports with the first
                pipe.ask()
                pipe.run_until(time.monotonic() + DEADLINE_S, count=1)
            alone_s = statistics.median(pipe.took[1:])
            for _ in range(IN_FLIGHT * setup.cards):
                pipe.ask()
            pipe.run_until(time.monotonic() + SETTLE_S, ask_again=True)
            processes = {"server": psutil.Process(server.process.pid), **server.workers()}
            before, machine = _cpu_s(processes), _machine_s()
            pipe.took.clear()
            began = time.monotonic()
            pipe.run_until(began + MEASURED_S, ask_again=True)
            ended = time.monotonic()
            after, machine = _cpu_s(processes), _machine_s() - machine
            took = sorted(pipe.took)
            pipe.run_until(ended + 3 * BATCH_S, ask_again=True)  # so that what each card was at is in its diary
        busy, gap_s = _cards(server.diary(), began, ended)
    wall = ended - began
    shares = {name: (after[name] - before[name]) / wall for name in after}
    cards = sum(share for name, share in shares.items() if name.startswith("card"))
    desks = [share for name, share in shares.items() if name.startswith("desk")]
    others = machine / wall - sum(shares.values())
    line = {
        "cards": setup.cards,
        "desks": setup.desks,
        "candidates": setup.candidates,
        "sounds/s": round(len(took) / wall, 2),
        "alone s": round(alone_s, 2),
        "p50 s": round(statistics.median(took), 2),
        "p99 s": round(took[int(0.99 * (len(took) - 1))], 2),
        "busy": " ".join(f"{share:.0%}" for share in busy),
        "gap ms": round(1000 * gap_s, 1),
        "server": round(shares["server"], 2),
        "desks' cores": " ".join(f"{share:.2f}" for share in desks),
        "cards' cores": round(cards, 2),
        "client": round(shares["client"], 3),
        "others": round(max(0.0, others), 2),
        "CPU a sound, ms": round(1000 * sum(shares.values()) * wall / max(1, len(took))),
    }
    return line | {"full first": _full_first(busy, desks, machine / wall)}


def _full_first(busy: list[float], desks: list[float], cores: float) -> str:
    """Which part of the pipe has least left to give."""
    if min(busy) >= FULL:
        return "cards"
    share, name = max((cores / (os.cpu_count() or 1), "cores"), (max(desks, default=0.0), "desks"))
    return f"{name} ({share:.0%})"


def _served(place: Path, setup: Setup, count: int) -> Served:
    package = place / "package"
    source = {"PYTHONPATH": f"{setup.source}:{package}"}
    rest = ["master", "embed", "score"]
    own = ["generate"] if setup.desks else ["generate", *rest]
    cards = [{"name": f"card{number}", "engines": ["gpu"], "roles": own, "threads": 1} for number in range(setup.cards)]
    desks = [{"name": f"desk{number}", "engines": [], "roles": rest, "threads": 1} for number in range(setup.desks)]
    return Served(
        place,
        brings=("gpu",),
        env=source,
        defaults={"engine": "gpu", "duration_s": 30.0},
        queue={"max_batch": count},
        engines={"gpu": {"batch_s": BATCH_S}},
        workers=[*cards, *desks],
    )


class _Pipe:
    """The client's end: as many requests are under way as were asked first."""

    def __init__(self, client: Asker, word: str, candidates: int) -> None:
        self._client = client
        self._word = word
        self._candidates = candidates
        self._asked: dict[str, float] = {}
        self.took: list[float] = []

    def ask(self) -> None:
        number = len(self._asked) + 1
        self._asked[str(number)] = time.monotonic()
        # each another prompt: of one prompt only so many variants are kept
        prompt = f"{self._word} rain, take {number}"
        self._client.generate(str(number), prompt, seed=number, candidates=self._candidates)

    def run_until(self, end: float, *, count: int = 0, ask_again: bool = False) -> None:
        """Take answers, so many where ``count`` is given, and ask for as many again."""
        before = len(self.took)
        while (left := end - time.monotonic()) > 0 and not (count and len(self.took) - before >= count):
            if not self._client.socket.poll(int(1000 * left) + 1):
                continue
            answer = self._client.take()
            assert answer["type"] == "result", answer
            self.took.append(time.monotonic() - self._asked[answer["request_id"]])
            if ask_again:
                self.ask()


def _cpu_s(processes: dict[str, psutil.Process]) -> dict[str, float]:
    times = {name: process.cpu_times() for name, process in processes.items()}
    own = psutil.Process().cpu_times()
    return {name: spent.user + spent.system for name, spent in {**times, "client": own}.items()}


def _machine_s() -> float:
    """Processor time of everything on this machine."""
    spent = psutil.cpu_times()
    return float(sum(spent) - spent.idle - spent.iowait - spent.guest - spent.guest_nice)


def _cards(diary: list[str], began: float, ended: float) -> tuple[list[float], float]:
    """The share of the time in which each card generated, and the usual time from the end of a batch to the next."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for line in diary:
        process, start, end, _ = line.split()
        if float(end) > began and float(start) < ended:
            spans.setdefault(process, []).append((float(start), float(end)))
    busy = [
        sum(min(end, ended) - max(start, began) for start, end in batches) / (ended - began)
        for batches in spans.values()
    ]
    gaps = [
        after[0] - before[1] for batches in spans.values() for before, after in itertools.pairwise(sorted(batches))
    ]
    return busy, statistics.median(gaps)
