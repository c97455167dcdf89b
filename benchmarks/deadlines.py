"""Deadlines met under load: the pool's own scheduler on a simulated clock, with what stands in and without.

    python -m benchmarks deadlines
    python -m benchmarks.deadlines --hours 24 --load 1.06 --seed 3

Sounds of 1 to 30 s are asked for at random moments (Poisson) with deadlines from below what anything can meet to well
above what the wanted sound takes; so many that the slow engine's workers would be at work ``load`` of their time if
everything were made. Nothing is kept at the beginning; a part of the requests repeats earlier words, and for a part of
the others something like it is kept. A sound takes a base and a part of its length, times noise with a long tail, and
now and then another round. Nothing is known of any of that before the first sound is made.

``met``: answered with a sound by the deadline, among those that anything could have met (the built-in engine's fastest
with nobody before it, or a kept sound). ``late``: answered after the deadline; ``expired``: answered without a sound.
"""

from __future__ import annotations

import argparse
import collections
import heapq
import itertools
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from audio_pool.config import LimitsConfig, QueueConfig
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import (
    Action,
    CancelTask,
    FindExact,
    FindLooser,
    KillWorker,
    RecallTask,
    SendReply,
    SendTask,
    SpawnWorker,
    Store,
)
from audio_pool.scheduler.answers import HitFile, StoredSound
from audio_pool.scheduler.scheduler import Scheduler
from audio_pool.scheduler.work import GenerateWork
from audio_pool.scheduler.worker_state import WorkerPlan
from audio_pool.tasks import MasteredSound
from audio_pool.types import Query, Recipe, Rendition

SLOW, QUICK = "effects", "built-in"
SLOW_WORKERS, QUICK_WORKERS = 8, 2
BASE_S = {SLOW: 1.5, QUICK: 0.06}
EACH_S = {SLOW: 0.6, QUICK: 0.025}
"""Seconds for each second of sound."""
NOISE = {SLOW: 0.18, QUICK: 0.12}
HICCUP = 0.01
"""Part of the tasks that take up to twice as long again."""
REROLL = 0.02
STORE_S = 0.02
LENGTHS_S = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 30.0)
DEADLINES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
REPEATED, ALIKE = 0.25, 0.2
LOADS = (0.8, 1.06, 1.2)
"""Of all that is asked for; what expires is not made, so that 1.06 keeps the workers at it for 95 % of their time."""
BEAT_S = 30.0
CANCEL_S = 0.1
LIMITS = LimitsConfig(heartbeat_s=BEAT_S, task_timeout_s=3600.0, hang_unknown_s=1200.0, hang_floor_s=600.0)
QUEUE = QueueConfig(
    max_requests=1_000_000, max_bytes=1 << 40, max_requests_per_client=1_000_000, max_upgrades_per_client=1_000_000
)
RENDITION = Rendition(format="wav", sample_rate=44_100, bit_depth=16, target_lufs=-23.0, true_peak_dbfs=-2.0)
_RECIPE = Recipe(
    prompt="", negative_prompt="", engine=SLOW, model="", frames=44_100, sample_rate=44_100, loop=False, seed=None,
    steps=None, guidance_scale=None, candidates=1, voice=None, init_audio_sha256=None, init_strength=None,
    namespace="default",
)  # fmt: skip
_METADATA = SoundMetadata(prompt="", cache_type="exact")
_HIT = HitFile(entry=1, master="kept", path="kept", metadata=_METADATA)
_LOOSER = msgspec.structs.replace(_HIT, metadata=msgspec.structs.replace(_METADATA, cache_type="looser"))


def _sound(accepted: bool) -> MasteredSound:
    sound = FinishedSound(path="made", recipe=_RECIPE, metadata=_METADATA, accepted=accepted)
    return MasteredSound(sound=sound, score=1.0)


@dataclass
class Asked:
    """One request."""

    at: float
    prompt: int
    seconds: float
    within_s: float
    alike: bool
    """Something like it is kept."""


@dataclass
class Worker:
    """One worker process."""

    name: str
    engine: str
    incarnation: int = 0
    held: collections.deque[SendTask] = field(default_factory=collections.deque)
    ends: int = 0
    """Which of the moments planned for it counts."""
    begun: float = 0.0
    busy_s: float = 0.0


def traffic(hours: float, load: float, seed: int) -> list[Asked]:
    """Requests whose different sounds keep the slow workers at work for ``load`` of the time."""
    rng = random.Random(seed)
    mean_s = BASE_S[SLOW] + EACH_S[SLOW] * sum(LENGTHS_S) / len(LENGTHS_S)
    mean_s *= (1 + REROLL) * (1 + HICCUP)
    rate = load * SLOW_WORKERS / mean_s / (1 - REPEATED)
    asked: list[Asked] = []
    now, prompts = 0.0, itertools.count()
    while (now := now + rng.expovariate(rate)) < hours * 3600.0:
        within_s = rng.choice(DEADLINES_S)
        if asked and rng.random() < REPEATED:
            like = rng.choice(asked[-500:])
            asked.append(Asked(now, like.prompt, like.seconds, within_s, like.alike))
        else:
            asked.append(Asked(now, next(prompts), rng.choice(LENGTHS_S), within_s, rng.random() < ALIKE))
    return asked


class World:
    """The scheduler, fed; its actions, executed."""

    def __init__(self, asked: list[Asked], seed: int, *, fall_back: bool) -> None:
        plans = [(f"slow{n}", SLOW) for n in range(SLOW_WORKERS)] + [(f"quick{n}", QUICK) for n in range(QUICK_WORKERS)]
        self.workers = {name: Worker(name, engine) for name, engine in plans}
        roles = frozenset({"generate", "master"})
        self.scheduler = Scheduler(
            [WorkerPlan(name=name, engines=frozenset({engine}), roles=roles) for name, engine in plans], LIMITS, QUEUE
        )
        self.asked, self.fall_back = asked, fall_back
        self.now = 0.0
        self.answered: dict[int, tuple[float, str]] = {}
        """When, and by which rung or kind."""
        self.upgraded = 0
        self._rng = random.Random(seed)
        self._heap: list[tuple[float, int, Literal["hello", "ends", "beat", "stored"], str, int]] = []
        self._count = itertools.count()
        self._cancelled: set[int] = set()
        self._kept: set[tuple[str, int]] = set()
        self._submits: dict[int, events.Submit] = {}
        self._pending: collections.deque[events.Event] = collections.deque()

    def run(self) -> None:
        """Until every request is answered."""
        self._feed(events.Tick())
        for name in self.workers:
            self._at(BEAT_S, "beat", name, 1)
        number = 0
        while len(self.answered) < len(self.asked):
            arrives = self.asked[number].at if number < len(self.asked) else float("inf")
            happens = self._heap[0][0] if self._heap else float("inf")
            due = self.scheduler.next_deadline()
            if due is not None and due <= min(arrives, happens):
                self.now = max(self.now, due)
                self._feed(events.Tick())
            elif arrives <= happens:
                self.now = arrives
                self._ask(number)
                number += 1
            else:
                self.now, _, what, name, ends = heapq.heappop(self._heap)
                self._happen(what, name, ends)

    def _at(self, seconds: float, what: Literal["hello", "ends", "beat", "stored"], name: str, ends: int) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._count), what, name, ends))

    def _happen(self, what: str, name: str, ends: int) -> None:
        if what == "stored":
            self._feed(events.Stored(job=ends, sound=StoredSound(path=name, metadata=_METADATA)))
            return
        worker = self.workers[name]
        number = worker.incarnation
        if what == "hello":
            self._feed(events.WorkerHello(worker=name, incarnation=number))
            self._feed(
                events.WorkerReady(worker=name, incarnation=number, engines=frozenset({worker.engine}))
            )
        elif what == "beat":
            self._feed(events.Heartbeat(worker=name, incarnation=number))
            self._at(BEAT_S, "beat", name, 1)
        elif ends == worker.ends:
            task = worker.held.popleft()
            worker.busy_s += self.now - worker.begun
            if worker.held:
                self._begin(worker)
            jobs = self._jobs(task)
            results = {job: _sound(self._rng.random() >= REROLL) for job in jobs}
            self._feed(
                events.TaskDone(
                    worker=name, incarnation=number, task=task.task, attempt=task.attempt, results=dict(results)
                )
            )

    @staticmethod
    def _jobs(task: SendTask) -> list[int]:
        assert isinstance(task.work, GenerateWork)
        return [one.job for one in task.work.jobs]

    def _ask(self, number: int) -> None:
        one, request = self.asked[number], 3 * number + 1
        frames = round(44_100 * one.seconds)
        recipe = msgspec.structs.replace(_RECIPE, prompt=str(one.prompt), frames=frames)
        key = events.JoinKey(recipe=recipe, rendition=RENDITION, query=Query(), tau_accept_new=None)
        wanted = events.Submit(
            request=request + 1, recipe=recipe, join_key=key, near=False, max_rounds=2, client=f"c{number % 16}"
        )
        quick = msgspec.structs.replace(recipe, engine=QUICK)
        other = events.Submit(
            request=request + 2, recipe=quick, near=False, priority=0, stands_in=True, looser=True, max_rounds=2,
            client=wanted.client, join_key=msgspec.structs.replace(key, recipe=quick, stands_in=True, like=recipe),
        )  # fmt: skip
        deadline = self.now + one.within_s
        self._submits[request] = self._submits[request + 1] = wanted
        self._submits[request + 2] = other
        if self.fall_back:
            self._feed(
                events.AskInTime(request=request, wanted=wanted, stand_in=other, deadline=deadline, upgrade=True)
            )
        else:
            self._feed(msgspec.structs.replace(wanted, request=request, deadline=deadline))

    def _feed(self, event: events.Event) -> None:
        self._pending.append(event)
        if len(self._pending) > 1:
            return
        while self._pending:
            for action in self.scheduler.handle(self._pending[0], self.now):
                self._execute(action)
            self._pending.popleft()

    def _execute(self, action: Action) -> None:
        match action:
            case FindExact():
                recipe = self._submits[action.request].recipe
                found = (recipe.engine, int(recipe.prompt)) in self._kept
                self._feed(events.LookupDone(job=action.job, hit=_HIT if found else None))
            case FindLooser():
                alike = self.asked[(action.request - 1) // 3].alike
                self._feed(events.LookupDone(job=action.job, hit=_LOOSER if alike else None))
            case SendTask():
                worker = self.workers[action.worker]
                worker.held.append(action)
                if len(worker.held) == 1:
                    self._begin(worker)
            case CancelTask():
                worker = self.workers[action.worker]
                self._cancelled.add(action.task)
                if worker.held and worker.held[0].task == action.task:
                    worker.ends += 1
                    self._at(CANCEL_S, "ends", worker.name, worker.ends)
            case RecallTask():
                worker = self.workers[action.worker]
                for held in list(worker.held)[1:]:
                    if held.task == action.task:
                        worker.held.remove(held)
                        self._feed(
                            events.TaskReturned(
                                worker=worker.name, incarnation=action.incarnation, task=action.task,
                                attempt=action.attempt,
                            )
                        )  # fmt: skip
            case Store():
                if action.request:
                    recipe = self._submits[action.request].recipe
                    self._kept.add((recipe.engine, int(recipe.prompt)))
                self._at(STORE_S, "stored", "kept", action.job)
            case SendReply():
                if action.request % 3 == 1:
                    plain = "exact" if isinstance(action.value, HitFile) else "made"
                    told = action.rung or (plain if action.kind == "result" else action.kind)
                    self.answered[(action.request - 1) // 3] = (self.now, told)
                else:
                    self.upgraded += action.kind == "result"
            case KillWorker():
                raise AssertionError(f"a worker that is well was killed: {action.why}")
            case SpawnWorker():
                self.workers[action.worker].incarnation = action.incarnation
                self._at(1.0, "hello", action.worker, 0)
            case _:
                pass

    def _begin(self, worker: Worker) -> None:
        work = worker.held[0].work
        assert isinstance(work, GenerateWork)
        request = work.jobs[0].request
        seconds = self._submits[request].recipe.duration_s if request else 1.0
        if worker.held[0].task in self._cancelled:
            seconds = 0.0
        takes_s = (BASE_S[worker.engine] + EACH_S[worker.engine] * seconds) * self._rng.lognormvariate(
            0.0, NOISE[worker.engine]
        )
        if not seconds:
            takes_s = CANCEL_S
        elif self._rng.random() < HICCUP:
            takes_s *= 1 + self._rng.random()
        worker.ends += 1
        worker.begun = self.now
        self._at(takes_s, "ends", worker.name, worker.ends)


def row(hours: float, load: float, seed: int, *, fall_back: bool) -> dict[str, Any]:
    """What came of one span."""
    begun = time.process_time()
    world = World(traffic(hours, load, seed), seed, fall_back=fall_back)
    world.run()
    rungs: collections.Counter[str] = collections.Counter()
    could = met = late = 0
    for number, one in enumerate(world.asked):
        at, told = world.answered[number]
        lateness = at - one.at - one.within_s
        rungs[told] += 1
        late += lateness > 1e-6
        quickest_s = (BASE_S[QUICK] + EACH_S[QUICK] * one.seconds) * 1.5 + STORE_S
        if one.within_s >= quickest_s or one.alike:
            could += 1
            met += told not in ("expired", "error", "busy") and lateness <= 1e-6
    busy = sum(one.busy_s for one in world.workers.values() if one.engine == SLOW) / (SLOW_WORKERS * world.now)
    answers = len(world.asked)
    found: dict[str, Any] = {
        "what stands in": "yes" if fall_back else "no",
        "load": load,
        "busy": f"{busy:.1%}",
        "requests": answers,
        "met": f"{met / could:.3%}",
        "of": could,
        "late": late,
    }
    for rung in ("exact", "near", "made", "looser", "built_in", "expired"):
        found[rung] = f"{rungs[rung] / answers:.1%}"
    found["upgraded"] = world.upgraded
    found["CPU, s"] = round(time.process_time() - begun, 1)
    return found


def rows() -> list[dict[str, Any]]:
    """A day at three loads, and the same without anything that stands in."""
    found = [row(24.0, load, 1, fall_back=True) for load in LOADS]
    return [*found, row(24.0, LOADS[1], 1, fall_back=False)]


def main() -> int:
    """One span as asked for."""
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--load", type=float, default=LOADS[1])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = [row(options.hours, options.load, options.seed, fall_back=one) for one in (True, False)]
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
