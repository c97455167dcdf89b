"""Several heads of one cache: hits a second through 1, 2 and 4 of them, and one recipe asked of all at the same time.

    python -m benchmarks.heads [--rounds 3] [--seconds 2] [--recipes 20]

Each head is an ``audio-pool serve`` in a process of its own on one PostgreSQL server, and one more is a machine by
itself (SQLite). Four client processes keep eight requests for a kept sound each in flight and share the heads evenly;
all counts of heads take turns. Everything is on one machine: where four clients and a head fill its processors, more
heads give no more hits, and the figure to look at is the processor time that a hit costs a head. A head that has one
of the four clients is to be held against one machine that has one: fewer requests at a wake-up make each dearer.

A join: so many different recipes, each asked of every head at the same moment. ``made`` are the answers that were not
from the cache: more than ``recipes`` would be one that was made twice.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._absent import postgres_folder
from benchmarks._shared_heads import Server, configured, directory
from benchmarks.routing import _LOAD

CLIENTS = 4
ONE, LESS = "one machine, SQLite", "one machine, SQLite, one client alone"
_PATIENCE_S = 240.0


def rows(rounds: int = 3, seconds: float = 2.0, recipes: int = 20, most: int = 4) -> list[dict[str, Any]]:
    """A row for each count of heads, of hits and of joins."""
    programs = postgres_folder()
    from tests.support.postgres import PostgresServer

    from audio_pool import AudioClient

    counts = [count for count in (1, 2, 4) if count <= most]
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(programs) as database,
        contextlib.ExitStack() as servers,
    ):
        place = Path(folder)
        started = [
            Server(str(directory(place, f"head{number}")), text=configured(database.url())) for number in range(most)
        ]
        (place / "alone").mkdir()
        alone = Server(str(place / "alone"), text=configured(""))
        for server in (*started, alone):
            servers.enter_context(server)
        for server in (*started, alone):
            with AudioClient(server.endpoint) as client:
                client.generate("wind", duration_s=2.0, timeout_s=_PATIENCE_S)  # what _LOAD asks for
        found = _hits({ONE: [alone], LESS: [alone], **_named(started, counts)}, rounds, seconds)
        return [*found, *_joins(_named(started, counts), rounds, recipes)]


def _named(heads: list[Server], counts: list[int]) -> dict[str, list[Server]]:
    return {f"{count} head{'s' * (count > 1)}, PostgreSQL": heads[:count] for count in counts}


def _hits(setups: dict[str, list[Server]], rounds: int, seconds: float) -> list[dict[str, Any]]:
    rates: dict[str, list[float]] = {}
    each: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, heads in setups.items():
            before = sum(head.cpu_s() for head in heads)
            rate = _load(heads, seconds, 1 if name == LESS else CLIENTS)
            rates.setdefault(name, []).append(rate)
            each.setdefault(name, []).append((sum(head.cpu_s() for head in heads) - before) / (rate * seconds) * 1e6)
    floor = statistics.median(each[ONE])
    return [
        {
            "what": "hits",
            "of": name,
            "a second": round(statistics.median(rates[name])),
            "head's processor, us each": round(statistics.median(each[name])),
            "of one machine's": round(statistics.median(each[name]) / floor, 2),
        }
        for name in setups
    ]


def _load(heads: list[Server], seconds: float, clients: int) -> float:
    command = [sys.executable, "-c", _LOAD]
    processes = [
        subprocess.Popen(
            [*command, heads[number % len(heads)].endpoint, "generate", str(seconds), "8"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(clients)
    ]
    return sum(int(process.communicate(timeout=_PATIENCE_S)[0]) for process in processes) / seconds


def _joins(setups: dict[str, list[Server]], rounds: int, recipes: int) -> list[dict[str, Any]]:
    from audio_pool import AudioClient

    took: dict[str, list[float]] = {}
    made: dict[str, int] = {}
    with contextlib.ExitStack() as rest:
        everybody = {
            name: [rest.enter_context(AudioClient(head.endpoint)) for head in heads] for name, heads in setups.items()
        }
        for turn in range(rounds):
            for name, clients in everybody.items():
                begun = time.perf_counter()
                pending = [
                    client.submit(f"rain on {name} {turn} {number}", seed=number, duration_s=0.3, timeout_s=_PATIENCE_S)
                    for number in range(recipes)
                    for client in clients
                ]
                answers = [one.result(_PATIENCE_S) for one in pending]
                took.setdefault(name, []).append(time.perf_counter() - begun)
                made[name] = made.get(name, 0) + sum(not answer.metadata.cached for answer in answers)
                for first in range(0, len(answers), len(clients)):
                    same = {Path(str(one.path)).read_bytes() for one in answers[first : first + len(clients)]}
                    assert len(same) == 1, "whoever asks for one recipe gets one sound"
    one = statistics.median(next(iter(took.values())))
    return [
        {
            "what": "joins",
            "of": name,
            "a second": round(recipes / statistics.median(seconds), 1),
            "of one machine's": round(one / statistics.median(seconds), 2),
            "recipes": recipes * rounds,
            "asked": recipes * rounds * len(everybody[name]),
            "made": made[name],
        }
        for name, seconds in took.items()
    ]


def main() -> None:
    """One run as asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--recipes", type=int, default=20)
    asked = parser.parse_args()
    print("\n".join(table(rows(asked.rounds, asked.seconds, asked.recipes))))


if __name__ == "__main__":
    main()
