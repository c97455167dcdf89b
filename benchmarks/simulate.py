"""A day's traffic on many GPUs: the pool's own scheduler on a simulated clock, against three simpler policies.

    python -m benchmarks simulate                                     64 GPUs for a day, all policies
    python -m benchmarks.simulate --gpus 1000 --hours 2 --policy pool
    python -m benchmarks.simulate --gpus 64 --profile                 where the scheduler's time goes

The traffic is of ``_simulated_traffic``, GPUs and workers are of ``_simulated_world``, the rivals of
``_simulated_rivals``; the pool's policy is ``audio_pool.scheduler`` itself. All have the same cache, joins and batches,
the same failures and the same work: each different sound is made once.

Columns: ``busy`` is the part of the GPUs' time in which sounds were made (of workers that are up; at night there is
nothing to do), ``utilisation`` the part of the time that could have been used: an idle GPU counts as wasted for each
job that waits. ``loads``: models put into memory. Waits are seconds from a request to the start of the pass that
makes its sound (hits are not counted; they wait for nothing). ``fairness`` is Jain's index, (sum x)^2 / (n sum x^2),
of the GPU time that clients of one priority got in each quarter of an hour in which they all had something waiting
throughout: 1 is equal shares, 1/n all for one.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks._simulated_rivals import RIVALS
from benchmarks._simulated_traffic import MODELS, Asked, clients, traffic
from benchmarks._simulated_world import BEAT_S, Brain, Gpu, World

from audio_pool.config import LimitsConfig, QueueConfig
from audio_pool.scheduler.events import PRIORITIES
from audio_pool.scheduler.scheduler import Scheduler
from audio_pool.scheduler.worker_state import OnDemand, WorkerPlan

POLICIES = ("pool", *RIVALS)
ROOM_GB = 24.0
MTBF_H = 24.0
LIMITS = LimitsConfig(
    heartbeat_s=BEAT_S, task_timeout_s=3600.0, hang_unknown_s=1200.0, hang_floor_s=600.0, suspect_wait_s=3600.0
)
QUEUE = QueueConfig(max_requests=1_000_000, max_bytes=1 << 40, max_requests_per_client=1_000_000, max_batch=16)


def gpus_of(count: int) -> list[Gpu]:
    """GPUs whose workers load nothing at their start: two of the three models fit."""
    return [Gpu(f"gpu{number}", frozenset(), ROOM_GB) for number in range(count)]


def brain(policy: str, gpus: list[Gpu]) -> Brain:
    """Whoever decides under this name."""
    if policy != "pool":
        return RIVALS[policy](gpus, MODELS)
    on_demand = {model.name: OnDemand(preload=False, size_bytes=model.size_bytes) for model in MODELS}
    plans = [
        WorkerPlan(
            name=gpu.name,
            engines=frozenset(on_demand),
            on_demand=on_demand,
            roles=frozenset({"generate", "master"}),
            devices=(gpu.name,),
        )
        for gpu in gpus
    ]
    return Scheduler(plans, LIMITS, QUEUE)


def simulate(policy: str, asked: Sequence[Asked], gpus: int, seed: int = 1, mtbf_h: float = MTBF_H) -> World:
    """Let one policy have its day."""
    cards = gpus_of(gpus)
    world = World(brain(policy, cards), asked, cards, seed=seed, mtbf_h=mtbf_h)
    world.run()
    return world


def fairness(world: World) -> float | None:
    """Jain's index: the mean of all quarters and priorities in which two clients or more waited throughout."""
    priorities = {one.client: one.priority for one in world.asked}
    found = []
    for window, served in world.accounts.served.items():
        start, end = window * world.window_s, (window + 1) * world.window_s
        for priority in range(len(PRIORITIES)):
            shares = [
                float(served[name])
                for name, spans in world.backlogs.items()
                if priorities[name] == priority and any(since <= start and until >= end for since, until in spans)
            ]
            if len(shares) > 1 and any(shares):
                found.append(sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares)))
    return statistics.fmean(found) if found else None


def percentile(values: list[float], part: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def row(policy: str, world: World, seconds: float) -> dict[str, Any]:
    """What is told of one policy's day."""
    accounts = world.accounts
    assert len(accounts.answers) == len(world.asked) and set(accounts.answers.values()) == {1}
    found: dict[str, Any] = {
        "policy": policy,
        "utilisation": f"{accounts.usable.utilisation:.1%}",
        "busy": f"{accounts.up.utilisation:.1%}",
        "GPU h": round(accounts.up.making / 3600.0),
        "hours": round(world.now / 3600.0, 1),
        "loads": accounts.loads,
        "passes": accounts.passes,
        "sounds/pass": round(accounts.sounds / accounts.passes, 2),
    }
    for priority, name in enumerate(PRIORITIES):
        waits = [wait for (one, _), values in accounts.waits.items() if one == priority for wait in values]
        if waits:
            found[f"{name} p50/p99, s"] = f"{percentile(waits, 0.5):.0f}/{percentile(waits, 0.99):.0f}"
    fair = fairness(world)
    found["fairness"] = "" if fair is None else round(fair, 3)
    found["failures"] = accounts.failures
    found["events"] = accounts.events
    found["CPU, s"] = round(seconds, 1)
    return found


def by_client(world: World) -> list[dict[str, Any]]:
    """Waits of each client."""
    return [
        {
            "client": client,
            "priority": PRIORITIES[priority],
            "sounds": len(values),
            "p50, s": round(percentile(values, 0.5), 1),
            "p99, s": round(percentile(values, 0.99), 1),
        }
        for (priority, client), values in sorted(world.accounts.waits.items())
    ]


def compared(gpus: int, hours: float, load: float, seed: int, policies: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each policy, over the same traffic."""
    asked = traffic(gpus, hours, load, seed)
    found = []
    for policy in policies:
        begun = time.process_time()
        world = simulate(policy, asked, gpus, seed)
        found.append({"GPUs": gpus, "load": load, **row(policy, world, time.process_time() - begun)})
    return found


def rows() -> list[dict[str, Any]]:
    """64 GPUs for a day under all policies."""
    return compared(64, 24.0, 1.0, 1, POLICIES)


def main() -> int:
    """One run as asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--load", type=float, default=1.0, help="work of all different sounds against the GPUs' time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", choices=POLICIES, action="append")
    parser.add_argument("--clients", action="store_true", help="waits by client, too")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    asked = traffic(options.gpus, options.hours, options.load, options.seed)
    print(f"{len(asked):,} requests of {len(clients())} clients", flush=True)
    found = []
    for policy in options.policy or POLICIES:
        profile, begun = cProfile.Profile(), time.process_time()
        if options.profile:
            profile.enable()
        world = simulate(policy, asked, options.gpus, options.seed)
        profile.disable()
        found.append(row(policy, world, time.process_time() - begun))
        print("\n".join(table(found[-1:])), flush=True)
        if options.clients:
            print("\n".join(table(by_client(world))))
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    print("\n" + "\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
