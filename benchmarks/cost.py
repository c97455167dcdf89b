"""What a thousand requests cost on paper, for 8 and 64 GPUs: the simulated day's work at prices that are assumed.

    python -m benchmarks.cost [--gpus 8 64] [--hours 24] [--gpu-hour 2.00] [--faster 1] ...

How many requests are hits or joins, how long the GPUs work, how full they are and how long people wait comes from the
pool's own scheduler (``benchmarks/simulate.py``, policy ``pool``). Seconds per candidate are those of its three models
(``_simulated_traffic.MODELS``): assumed, not measured on a GPU; ``--faster 2`` halves them. Prices are assumptions,
too, each an option. The formula, for so many requests R in so many hours H:

    cost = H x (GPUs x gpu_hour + heads x head_hour + database_hour)
           + made x (sound_mb / 1000 x gb_month x months_kept + put)
           + R x result_mb / 1000 x gb_out                              per 1,000 requests: x 1000 / R

``fixed`` pays for every GPU all the time, ``by use`` for the hours in which it works or loads and ``spare`` more, as an
autoscaler would at best. ``without a cache`` makes each request's sound anew, on as many more GPU hours.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields, replace
from typing import Any

from benchmarks._simulated_traffic import MODELS, Model, traffic
from benchmarks._simulated_world import World
from benchmarks.simulate import MTBF_H, brain, gpus_of, percentile


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """Dollars, and what is kept for how long."""

    gpu_hour: float = 2.00
    """A rented card of 24 to 48 GB."""
    head_hour: float = 0.40
    """Eight processors and 32 GB, for a head and its mastering workers."""
    heads: int = 2
    """One would do by its load (docs/scaling.md); the second is for when the first dies."""
    mastering_cpu_s: float = 0.12
    """Of a processor for each sound made (docs/figures.md); more heads where theirs do not suffice."""
    head_cores: int = 8
    database_hour: float = 0.60
    """PostgreSQL with a synchronous standby, four processors each."""
    sound_mb: float = 2.0
    """Master and one rendition."""
    gb_month: float = 0.023
    months_kept: float = 12.0
    put: float = 5e-6
    """One object stored."""
    result_mb: float = 0.2
    """What leaves the cloud for each request; a compressed rendition."""
    gb_out: float = 0.08
    spare: float = 0.15
    """Of GPU hours paid by use: what an autoscaler starts too early and ends too late."""


@dataclass(frozen=True)
class Day:
    """What was simulated."""

    gpus: int
    hours: float
    requests: int
    made: int
    busy_h: float
    """GPU hours in which sounds were made or models loaded."""
    uncached_h: float
    """GPU hours that each request's sound by itself would take."""
    interactive_s: tuple[float, float]
    """Waits of people, median and p99."""

    @property
    def made_part(self) -> float:
        return self.made / self.requests


def simulated(gpus: int, hours: float, faster: float = 1.0, load: float = 1.0, seed: int = 1) -> Day:
    """Let the pool's scheduler have the day; ``faster`` GPUs have as much more to do."""
    models = tuple(_faster(model, faster) for model in MODELS)
    asked = traffic(gpus, hours, load, seed, models)
    cards = gpus_of(gpus)
    world = World(brain("pool", cards), asked, cards, seed=seed, mtbf_h=MTBF_H, models=models)
    world.run()
    accounts = world.accounts
    assert len(accounts.answers) == len(asked) and set(accounts.answers.values()) == {1}
    waits = [wait for (priority, _), values in accounts.waits.items() if priority == 0 for wait in values]
    loads_s = accounts.loads * sum(model.part * model.load_s for model in models)
    return Day(
        gpus=gpus,
        hours=world.now / 3600.0,
        requests=len(asked),
        made=len({one.sound for one in asked}),
        busy_h=(accounts.up.making + loads_s) / 3600.0,
        uncached_h=sum(one.work_s for one in asked) / 3600.0,
        interactive_s=(percentile(waits, 0.5), percentile(waits, 0.99)),
    )


def _faster(model: Model, faster: float) -> Model:
    return replace(model, setup_s=model.setup_s / faster, each_s=model.each_s / faster)


def cost(day: Day, at: Assumed) -> dict[str, float]:
    """Return dollars per 1,000 requests, by part and in all."""
    sounds_s = day.made / (day.hours * 3600.0)
    heads = max(at.heads, math.ceil(sounds_s * at.mastering_cpu_s / (0.7 * at.head_cores)))
    beside = day.hours * (heads * at.head_hour + at.database_hour)
    storage = day.made * (at.sound_mb / 1000.0 * at.gb_month * at.months_kept + at.put)
    sent = day.requests * at.result_mb / 1000.0 * at.gb_out
    by_use = day.busy_h * (1.0 + at.spare) * at.gpu_hour
    parts = {
        "GPUs, fixed": day.gpus * day.hours * at.gpu_hour,
        "GPUs, by use": by_use,
        "heads and database": beside,
        "storage": storage,
        "sent": sent,
    }
    parts |= {
        "fixed": parts["GPUs, fixed"] + beside + storage + sent,
        "by use": by_use + beside + storage + sent,
        "without a cache": day.uncached_h * (1.0 + at.spare) * at.gpu_hour + beside + sent,
    }
    return {name: dollars * 1000.0 / day.requests for name, dollars in parts.items()}


def table_of(days: list[Day], at: Assumed) -> list[dict[str, Any]]:
    """A row for each fleet."""
    return [
        {
            "GPUs": day.gpus,
            "hours": round(day.hours, 1),
            "requests": day.requests,
            "made": f"{day.made_part:.1%}",
            "GPU h by use": round(day.busy_h),
            "people wait p50/p99, s": "{:.0f}/{:.0f}".format(*day.interactive_s),
            **{f"$ {name}": f"{dollars:.2f}" for name, dollars in cost(day, at).items()},
        }
        for day in days
    ]


def sensitivity(days: list[Day], at: Assumed) -> list[dict[str, Any]]:
    """What one assumption that is another makes of the price by use."""
    changes = {
        "a GPU hour at half": replace(at, gpu_hour=at.gpu_hour / 2),
        "a GPU hour at twice": replace(at, gpu_hour=at.gpu_hour * 2),
        "one head and no standby": replace(at, heads=1, database_hour=at.database_hour / 2),
        "kept for five years": replace(at, months_kept=60.0),
        "masters of 10 MB": replace(at, sound_mb=10.0),
        "results of 2 MB": replace(at, result_mb=2.0),
    }
    found = []
    for what, changed in changes.items():
        row: dict[str, Any] = {"what": what}
        for day in days:
            dollars, before = cost(day, changed)["by use"], cost(day, at)["by use"]
            row[f"$ by use, {day.gpus} GPUs"] = f"{dollars:.2f} ({dollars / before:.2f} x)"
        found.append(row)
    return found


def rows() -> list[dict[str, Any]]:
    """A quarter of a day, which has fewer hits than a whole one."""
    return table_of([simulated(gpus, 6.0) for gpus in (8, 64)], Assumed())


def main() -> None:
    """As asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--faster", type=float, default=1.0, help="than the models of the simulation")
    for one in fields(Assumed):
        kind = int if one.type == "int" else float
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default)
    asked = vars(parser.parse_args())
    at = Assumed(**{one.name: asked[one.name] for one in fields(Assumed)})
    days = [simulated(gpus, asked["hours"], asked["faster"]) for gpus in asked["gpus"]]
    print("\n".join(table(table_of(days, at))), end="\n\n")
    print("\n".join(table(sensitivity(days, at))))


if __name__ == "__main__":
    main()
