"""Whatever the order of events where engines come and go: all that holds otherwise, and no request waits for ever for
an engine that could be loaded.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import initialize, precondition, rule
from tests.unit.scheduler_world import World, plan
from tests.unit.test_scheduler_properties import ENGINES, SETTINGS, AnyOrder

from audio_pool.errors import EngineError, OutOfMemory
from audio_pool.residents import ModelOrder
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.worker_state import OnDemand, WorkerPlan

GB = 1 << 30
FOR_EVER = 1e6


def _comes(engines: str = "tone hum", **how: Any) -> dict[str, OnDemand]:
    return {engine: OnDemand(size_bytes=GB, **how) for engine in engines.split()}


def _pools() -> dict[str, list[WorkerPlan]]:
    return {
        "one": [plan("w", "tone hum", on_demand=_comes(), credit=2)],
        "one keeps": [plan("w", "tone hum", on_demand=_comes("hum"), credit=2)],
        "alike": [
            plan("a", "tone hum", devices="0", device="card 0", on_demand=_comes(keep_alive_s=3.0)),
            plan("b", "tone hum", devices="1", device="card 1", on_demand=_comes(preload="auto"), credit=1),
        ],
        "of one device": [
            plan("a", "tone", "generate", devices="0", device="card 0", on_demand=_comes("tone"), credit=2),
            plan("b", "tone hum", devices="0", device="card 0", on_demand=_comes(preload=True)),
            plan("w", "", "master"),
        ],
    }


class OnDemandInAnyOrder(AnyOrder):
    """Draws orders, looks at memory and loads that fail, too."""

    @initialize(
        pool=st.sampled_from(sorted(_pools())),
        batching=st.booleans(),
        concurrency=st.sampled_from(({}, {}, {"tone": 1})),
        room=st.sampled_from((None, GB, GB, 2 * GB)),
        started=st.booleans(),
    )
    def build(self, pool: str, batching: bool, concurrency: dict[str, int], room: int | None, started: bool) -> None:
        plans = _pools()[pool]
        embedder = next(one.name for one in plans if "embed" in one.roles)
        self.world = World(
            plans,
            {embedder: "words ears"},
            max_requests=8,
            max_bytes=2000,
            max_batch=4,
            ageing_s=5.0,
            embed_timeout_s=3.0,
            hang_unknown_s=25.0,
            memory_wait_s=FOR_EVER,
            concurrency=concurrency,
        )
        if batching:
            self.world.batching = frozenset(ENGINES)
        self.found = None
        self.draining = False
        self.world.on_lookup = lambda _: self.found
        if started:
            self.world.start()
        else:
            self.world.feed(events.Tick())
        self._read(room)

    def _read(self, room: int | None) -> None:
        """Tell what is free beside the engines that are loaded."""
        places = {one.plan.device or one.plan.name for one in self.world.scheduler.workers.workers.values()}
        self.world.feed(events.MemoryRead(spare_bytes=dict.fromkeys(places, room)))

    @rule(room=st.sampled_from((None, -GB, 0, GB, 2 * GB)))
    def look_at_memory(self, room: int | None) -> None:
        self._read(room)

    @rule(
        order=st.sampled_from(("load", "unload", "pin", "unpin")),
        engine=st.sampled_from(ENGINES),
        worker=st.sampled_from(("", "", "a", "w")),
    )
    def order(self, order: ModelOrder, engine: str, worker: str) -> None:
        self.world.feed(events.OrderModel(order=order, engine=engine, worker=worker))

    @rule(data=st.data(), error=st.sampled_from((EngineError("no weights"), OutOfMemory("too large"))))
    @precondition(lambda self: self._living("loading"))
    def work_without_one(self, data: st.DataObject, error: EngineError) -> None:
        """A worker comes up without an engine that it was to have."""
        process = data.draw(st.sampled_from(self._living("loading")), "process")
        engines = sorted(self.world.plans[process.name].engines)
        failed = data.draw(st.sets(st.sampled_from(engines), max_size=1), "failed") if len(engines) > 1 else set()
        self.world.get_ready(process, failed=dict.fromkeys(failed, Failure.of(error)))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for engine in ENGINES:
                self.world.feed(events.OrderModel(order="unpin", engine=engine))
            self._read(16 * GB)
        super().teardown()


TestOnDemandInAnyOrder = OnDemandInAnyOrder.TestCase
TestOnDemandInAnyOrder.settings = settings(SETTINGS, max_examples=60)
