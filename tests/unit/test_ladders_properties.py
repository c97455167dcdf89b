"""Whatever the order of events: one final reply each, by its deadline; a better sound once, and after the first one.

The world (scheduler_world.py) holds the scheduler to that after every event.
"""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule
from tests.support.recipes import recipe
from tests.unit.scheduler_world import World, hit, plan

from audio_pool.errors import EngineError, QualityError
from audio_pool.scheduler.answers import HitFile

_LOOSER = [
    msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, cache_type="looser"))
    for one in (hit(7), hit(8, rendered=False))
]


class InTime(RuleBasedStateMachine):
    requests: Bundle[int] = Bundle("requests")

    @initialize(apart=st.booleans(), most=st.integers(3, 12), upgrades=st.integers(0, 2))
    def build(self, apart: bool, most: int, upgrades: int) -> None:
        plans = [plan("gpu", "tone"), plan("cpu", "hum")] if apart else [plan("gpu", "tone hum")]
        self.world = World(
            plans, {"gpu": "words"}, max_requests=most, max_upgrades_per_client=upgrades, embed_timeout_s=2.0
        ).start()
        self.kept: HitFile | None = None
        self.like: HitFile | str | None = None
        self.world.on_lookup = lambda _: self.kept
        self.world.on_looser = lambda _: self.like

    @rule(
        target=requests,
        within_s=st.sampled_from((None, 0.05, 0.5, 2.0, 8.0)),
        built_in=st.booleans(),
        looser=st.booleans(),
        at_once=st.booleans(),
        upgrade=st.booleans(),
        join=st.sampled_from((None, 1, 1)),
        lookup=st.booleans(),
        encoders=st.sampled_from(((), ("words",))),
        kept=st.sampled_from((None, None, None, hit(), hit(rendered=False))),
        like=st.sampled_from((None, None, "cache_unreadable: x", *_LOOSER)),
        priority=st.integers(0, 2),
        events=st.booleans(),
    )
    def ask(self, within_s: float | None, built_in: bool, looser: bool, at_once: bool, upgrade: bool,
            join: int | None, lookup: bool, encoders: tuple[str, ...], kept: HitFile | None,
            like: HitFile | str | None, priority: int, events: bool) -> int:  # fmt: skip
        self.kept, self.like = kept, like
        return self.world.ask_in_time(
            within_s=within_s, stand_in=recipe(engine="hum") if built_in else None, looser=looser, at_once=at_once,
            upgrade=upgrade, join=join, lookup=lookup, encoders=encoders, priority=priority, events=events, client="a",
        )  # fmt: skip

    @rule(engine=st.sampled_from(("tone", "hum")), join=st.sampled_from((None, 1)))
    def submit(self, engine: str, join: int | None) -> None:
        self.kept = None
        self.world.submit(recipe=recipe(engine=engine), join=join)

    @rule(request=requests, part=st.sampled_from((0, 0, 1, 2)))
    def cancel(self, request: int, part: int) -> None:
        self.world.cancel(request + part)

    @rule(seconds=st.sampled_from((0.02, 0.1, 0.5, 0.9)))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.world.send_heartbeats()

    @rule(error=st.sampled_from((None, None, None, EngineError("no"), QualityError("hum"))), worker=st.booleans())
    def finish(self, error: EngineError | None, worker: bool) -> None:
        living = [one for one in self.world.processes.values() if one.state == "ready" and one.tasks]
        if living:
            process = living[-1 if worker else 0]
            more = {} if error is None else {"error": error}
            self.world.finish(process, next(iter(process.tasks)), **more)

    @rule()
    def store(self) -> None:
        for job in list(self.world.storing):
            self.world.stored(job)

    @rule()
    def lose_a_worker(self) -> None:
        process = self.world.process("gpu")
        if process.state == "ready":
            self.world.die(process)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.kept = None
            self.world.settle()
            self.world.stop()
            self.world.check_nothing_is_left()


InTime.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
TestInTime = InTime.TestCase
