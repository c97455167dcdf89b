"""Deadlines met by a real pool: worker processes, the wire, and clients of their own, each a process.

    python -m benchmarks deadlines_served
    python -m benchmarks.deadlines_served --seconds 60 --clients 4 --load 0.95

The slow engine sleeps for a base and a part of the sound's length, so that what is measured is the schedule and the way
to the client and not the machine's arithmetic; the built-in engine is itself. Half a minute is asked before it counts:
nothing is known at the beginning. Lateness is taken at the client, from sending to having the answer.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.engine_packages import engine_package

from audio_pool import AudioClient, AudioPool
from audio_pool.errors import AudioPoolError
from audio_pool.pending import Pending

SLOW_WORKERS = 3
BASE_S, EACH_S = 0.5, 0.25
LENGTHS_S = (0.5, 1.0, 2.0, 4.0)
DEADLINES_MS = (500, 1000, 2000, 4000)
WARM_S = 30.0


def configuration(folder: Path, package: Path) -> dict[str, Any]:
    """Slow workers, and one with the built-in engine."""
    slow = [
        {"name": f"slow{n}", "engines": ["stage"], "python": sys.executable, "env": {"PYTHONPATH": str(package)}}
        for n in range(SLOW_WORKERS)
    ]
    return {
        "defaults": {"engine": "stage"},
        "engines": {"stage": {"diary": str(folder / "diary")}},
        "cache": {"dir": str(folder / "cache"), "encoder": "off"},
        "server": {"bind": f"ipc://{folder}/s"},
        "workers": [*slow, {"name": "quick", "engines": ["procedural"]}],
    }


def ask(endpoint: str, seconds: float, load: float, clients: int, number: int) -> int:
    """Be one client; print what came of each request as a line of JSON."""
    rng = random.Random(number)
    mean_s = BASE_S + EACH_S * sum(LENGTHS_S) / len(LENGTHS_S)
    rate = load * SLOW_WORKERS / mean_s / clients
    begun = time.monotonic()
    due = begun
    with AudioClient(endpoint, timeout_s=60.0) as client:
        waits: list[tuple[Pending, float, int, list[float]]] = []
        count = 0
        while (due := due + rng.expovariate(rate)) < begun + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            length_s, within_ms = rng.choice(LENGTHS_S), rng.choice(DEADLINES_MS)
            takes_s = (BASE_S + EACH_S * length_s) * rng.uniform(0.9, 1.1)
            count += 1
            sent = time.monotonic()
            pending = client.submit(
                f"take {takes_s:.3f} seconds of rain {number}.{count}", duration_s=length_s, deadline_ms=within_ms,
                best_by_deadline=True, upgrade=True,
            )  # fmt: skip
            at: list[float] = []
            pending.add_done_callback(lambda _, at=at: at.append(time.monotonic()))
            waits.append((pending, sent, within_ms, at))
        for pending, sent, within_ms, at in waits:
            try:
                told = str(pending.result(60.0).metadata.rung)
            except AudioPoolError as exc:
                told = exc.code
            late_ms = (at[0] - sent) * 1000 - within_ms
            print(json.dumps({"at": sent - begun, "within_ms": within_ms, "late_ms": late_ms, "rung": told}))
    return 0


def measured(seconds: float, load: float, clients: int) -> list[dict[str, Any]]:
    """One row for each deadline."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = engine_package(folder / "package", "stage")
        with AudioPool.from_config(configuration(folder, package), serve=True) as pool:
            pool.generate("rain", engine="procedural", duration_s=0.5)
            command = [sys.executable, "-m", "benchmarks.deadlines_served", "--endpoint", str(pool.endpoint)]
            options = ["--seconds", str(seconds + WARM_S), "--load", str(load), "--clients", str(clients)]
            running = [
                subprocess.Popen([*command, *options, "--number", str(n)], stdout=subprocess.PIPE, text=True)
                for n in range(clients)
            ]
            told = [json.loads(line) for one in running for line in one.communicate()[0].splitlines()]
    told = [one for one in told if one["at"] >= WARM_S]
    found = []
    for within_ms in (*DEADLINES_MS, 0):
        some = [one for one in told if within_ms in (0, one["within_ms"])]
        late = sorted(one["late_ms"] for one in some)
        rungs = collections.Counter(one["rung"] for one in some)
        met = sum(one["late_ms"] <= 0 and one["rung"] != "expired" for one in some)
        found.append(
            {
                "deadline, ms": within_ms or "all",
                "requests": len(some),
                "met": f"{met / max(1, len(some)):.2%}",
                "before it p50/p1, ms": f"{-late[len(late) // 2]:.0f}/{-late[int(0.99 * len(late))]:.0f}",
                "latest, ms": round(late[-1], 1),
                **{rung: rungs[rung] for rung in ("exact", "made", "looser", "built_in", "expired")},
            }
        )
    return found


def rows() -> list[dict[str, Any]]:
    """Two minutes under 95 % load."""
    return measured(120.0, 0.95, 4)


def main() -> int:
    """One run as asked for, or one of its clients."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--load", type=float, default=0.95)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--number", type=int, default=0)
    options = parser.parse_args()
    if options.endpoint:
        return ask(options.endpoint, options.seconds, options.load, options.clients, options.number)
    print("\n".join(table(measured(options.seconds, options.load, options.clients))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
