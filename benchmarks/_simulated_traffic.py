"""A day's requests, drawn by seed: who asks, when, how urgently, for which sound of which model.

Owns: the models and clients of the simulated studio, and the draw.
Must not know: the scheduler, workers, how anything is answered.

Prompts follow Zipf's law, so that the popular ones are asked for again while they are made (and join) and after (and
are found in the cache). Arrivals are Poisson whose rate follows the day, bursts (a level designer who asks for forty
sounds in a minute), and bulk orders of hundreds at once. The volume is set by work: what every different sound takes on
a GPU by itself, against the GPUs' hours. So any policy has the same work to do.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from audio_pool.engine_info import EngineInfo

GB = 1 << 30
ZIPF = 0.9
PROMPTS = 200_000
"""By model; the rarest are asked for once, if at all."""


@dataclass(frozen=True)
class Model:
    """One engine as its GPU sees it: seconds and GB."""

    name: str
    part: float
    """Of all requests."""
    load_s: float
    memory_gb: float
    candidates: int
    setup_s: float
    """Of a pass, however many sounds it makes."""
    each_s: float
    """Of a pass, for each candidate."""
    most: int
    """Candidates of a pass."""
    steps: tuple[int, ...]
    """What is asked for: mostly the first."""

    @property
    def size_bytes(self) -> int:
        """What it takes of its GPU."""
        return round(self.memory_gb * GB)

    @property
    def info(self) -> EngineInfo:
        """As it tells of itself when it is loaded."""
        return EngineInfo(
            name=self.name, role="generator", model=self.name, licence="mit", commercial_use=True,
            steps=self.steps[0], guidance_scale=7.0, max_batch=self.most,
        )  # fmt: skip

    def pass_s(self, candidates: int, steps: int) -> float:
        """How long a pass takes."""
        return (self.setup_s + self.each_s * candidates) * steps / self.steps[0]


MODELS = (
    Model("effects", 0.55, 20.0, 8.0, 4, 4.0, 2.0, 16, (50, 100)),
    Model("ambience", 0.30, 25.0, 10.0, 4, 8.0, 5.0, 16, (100, 200)),
    Model("music", 0.15, 40.0, 14.0, 2, 20.0, 15.0, 8, (250, 500)),
)


@dataclass(frozen=True)
class Client:
    """Somebody who asks."""

    name: str
    priority: int
    part: float
    """Of all requests."""
    burst: int
    """Requests that come together; 1: each by itself (Poisson)."""
    burst_s: float = 0.0
    """Seconds over which they come."""


def clients() -> list[Client]:
    """People who wait, programs, and bulk orders of which one is far larger than the others'."""
    found = [Client(f"person {number}", 0, 0.02, 1) for number in range(8)]
    found += [Client(f"designer {number}", 0, 0.02, 40, 60.0) for number in range(4)]
    found += [Client(f"game {number}", 1, 0.03, 1) for number in range(8)]
    found += [Client(f"build {number}", 1, 0.03, 120, 30.0) for number in range(4)]
    found += [Client(f"library {number}", 2, 0.06, 400, 10.0) for number in range(4)]
    return [*found, Client("flood", 2, 0.16, 4000, 10.0)]


class Asked(NamedTuple):
    """One request."""

    at: float
    client: str
    priority: int
    model: Model
    prompt: int
    steps: int

    @property
    def sound(self) -> tuple[str, int, int]:
        """Equal where the same sound is asked for."""
        return self.model.name, self.prompt, self.steps

    @property
    def work_s(self) -> float:
        """What the sound takes on a GPU by itself."""
        return self.model.pass_s(self.model.candidates, self.steps)


def traffic(
    gpus: int, hours: float, load: float, seed: int, models: Sequence[Model] = MODELS, who: Sequence[Client] = ()
) -> list[Asked]:
    """Return the requests in order of time.

    Args:
        load: work of all different sounds, against ``gpus`` for ``hours``.
    """
    rng = random.Random(seed)
    who = who or clients()
    span_s = hours * 3600.0
    most_s = load * gpus * span_s
    cumulative = list(itertools.accumulate(1.0 / rank**ZIPF for rank in range(1, PROMPTS + 1)))
    parts = list(itertools.accumulate(model.part for model in models))
    wanted: list[tuple[Model, int, int]] = []
    seen: set[tuple[str, int, int]] = set()
    work_s = 0.0
    while work_s < most_s:
        model = models[bisect.bisect(parts, rng.random() * parts[-1])]
        prompt = bisect.bisect(cumulative, rng.random() * cumulative[-1])
        steps = model.steps[0] if rng.random() < 0.8 else model.steps[1]
        wanted.append((model, prompt, steps))
        if (model.name, prompt, steps) not in seen:
            seen.add((model.name, prompt, steps))
            work_s += model.pass_s(model.candidates, steps)
    times = _times(len(wanted), span_s, rng, who)
    return [Asked(at, one.name, one.priority, *sound) for (at, one), sound in zip(times, wanted, strict=True)]


def _times(count: int, span_s: float, rng: random.Random, who: Sequence[Client]) -> list[tuple[float, Client]]:
    """Return who asks when, in order."""
    whole = sum(one.part for one in who)
    times: list[tuple[float, Client]] = []
    for one in who:
        left = round(count * one.part / whole)
        while left > 0:
            start = _moment(rng) * span_s
            size = min(left, one.burst)
            times += [(start + rng.random() * one.burst_s, one) for _ in range(size)]
            left -= size
    while len(times) < count:  # what rounding left out
        times.append((rng.random() * span_s, who[0]))
    times = rng.sample(times, count)
    times.sort(key=lambda one: one[0])
    return times


def _moment(rng: random.Random) -> float:
    """Return a moment of the day, 0 to 1: twice as many at its height as the mean is above the night's least."""
    while True:
        moment = rng.random()
        if rng.random() < (1.0 - 0.6 * math.cos(2.0 * math.pi * moment)) / 1.6:
            return moment
