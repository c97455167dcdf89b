"""What is known of one worker: its plan, its state, the tasks that it holds.

Owns: what follows from these alone: whether it has room, which of its tasks it is at.
Must not know: what changes them (workers.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from audio_pool.results import Failure, Progress
from audio_pool.scheduler.batches import Batching
from audio_pool.scheduler.breaker import Breaker
from audio_pool.scheduler.estimates import TaskKind
from audio_pool.tasks import LaneReport, Thread

__all__ = ["Barred", "HeldTask", "OnDemand", "WorkerPlan", "WorkerState"]

State = Literal["down", "starting", "loading", "ready", "stopping", "gone", "broken"]


class OnDemand(Struct, frozen=True, kw_only=True):
    """How an engine comes and goes that its worker does not simply keep from its start to its end."""

    preload: bool | Literal["auto"] = False
    """Loaded at the start; ``auto``: where that leaves the reserve of the device's memory free."""
    keep_alive_s: float | None = None
    """Taken out once nobody has asked for it for so long; None: only where its room is needed."""
    size_bytes: int = 0
    """What it takes, as far as that is told before it is loaded; 0: not known."""


class WorkerPlan(Struct, frozen=True, kw_only=True):
    """What a worker is for, from the configuration."""

    name: str
    engines: frozenset[str]
    roles: frozenset[str]
    credit: int = 2
    """Tasks that its generating thread may hold."""
    aux_credit: int = 8
    """Tasks that its other thread may hold."""
    devices: tuple[str, ...] = ()
    """What it is pinned to, by the names that its ``gpu`` has."""
    device: str = ""
    """Whose memory its engines take; workers of one device share it. "": nobody else's."""
    on_demand: Mapping[str, OnDemand] = {}
    """Those of its engines that come and go."""


class Barred(Struct, frozen=True, kw_only=True):
    """An engine that a worker could not load."""

    failure: Failure
    until: float
    """Not tried again before; where it was for memory, as soon as there is more."""
    tries: int = 1
    """In a row."""
    for_memory: bool = False
    room_bytes: int | None = None
    """What engines could take when it was tried."""


class HeldTask(Struct, kw_only=True):
    """A task sent to a worker."""

    task: int
    attempt: int
    thread: Thread
    jobs: tuple[int, ...]
    since: float
    """When it reached the head of its thread's queue; the task timeout counts from there."""
    kind: TaskKind = TaskKind("generate")
    alone: bool = False
    """A worker has ended at this work before: nothing else is sent there until it is done."""
    clients: tuple[str, ...] = ()
    """Whose it is, by job."""
    hang_s: float = math.inf
    """How long it may go without getting on."""
    expected_s: float = 0.0
    """What its like has taken; 0: nothing is known."""
    sound_s: float = 0.0
    """Seconds of sound that it generates, every candidate counted."""
    got_on_at: float = 0.0
    """When it was last heard to have got on."""
    progress: Progress | None = None
    timed_out: bool = False
    """Its worker was killed because of it: nothing else that the worker held is to blame."""
    cancelled: bool = False
    recalled: bool = False
    """It was asked back; it comes if it has not begun."""
    cancelled_at: float = 0.0
    missed_since: float | None = None
    """Since when its worker has said that it knows nothing of it."""

    @property
    def of_no_job(self) -> bool:
        """True for what loads an engine or takes one out: nobody's request ends with it."""
        return self.kind.role in ("load", "unload")


class WorkerState(Struct, kw_only=True):
    """One worker, through all its incarnations."""

    plan: WorkerPlan
    state: State = "down"
    incarnation: int = 0
    engines: frozenset[str] = frozenset()
    """What it hosts: all that it could be asked for."""
    loaded: frozenset[str] = frozenset()
    """Those that are in memory, and stay there until a task that takes one out is sent."""
    sizes: dict[str, int] = field(default_factory=dict)
    """What engines take, as it was measured when they were loaded."""
    room_bytes: int | None = None
    """What its engines may take in all; None: not known, or as much as they like."""
    memory_read: bool = False
    """What is free has been looked at, whatever came of it."""
    pinned: set[str] = field(default_factory=set)
    """Engines that stay in memory whatever comes."""
    used_at: dict[str, float] = field(default_factory=dict)
    loaded_at: dict[str, float] = field(default_factory=dict)
    offered: set[str] = field(default_factory=set)
    """Engines to be loaded where there is room that have had their chance since its start."""
    barred: dict[str, Barred] = field(default_factory=dict)
    coming: frozenset[str] = frozenset()
    """Engines that it is still loading while it works."""
    batching: Mapping[str, Batching] = field(default_factory=dict)
    tasks: dict[int, HeldTask] = field(default_factory=dict)
    """In order of sending."""
    due: float | None = None
    """When the present state has lasted too long, or (down, broken) when to start."""
    pending: str = ""
    """Why it has not been placed yet, while it is being started elsewhere."""
    last_sign: float = 0.0
    lanes: dict[Thread, LaneReport] = field(default_factory=dict)
    """What its threads were at by its last heartbeat."""
    lanes_at: float = 0.0
    breaker: Breaker = field(default_factory=Breaker)
    tasks_done: int = 0
    failure: Failure | None = None
    killed: bool = False
    misspoke: str = ""
    """What it sent that is no message; it was killed for that."""
    ever_ready: bool = False
    lent: bool = False
    """Its device is lent: it has to end until that is over."""
    drained: bool = False
    """It takes nothing new, until it is resumed."""
    drain_told: bool = False
    removed: bool = False
    """It has to end for good."""
    leave_by: float | None = None
    """When one that is removed is ended whatever it is at."""
    called_off: str = ""
    """Why it was killed though nothing was wrong with it."""

    @property
    def condition(self) -> str:
        """The state in one word, for people: ``half_open`` is a worker whose next task decides whether it is well."""
        if self.must_end:
            return "lent" if self.state in ("down", "broken") else "leaving"
        if self.drained and self.state == "ready":
            return "drained"
        return "half_open" if self.state == "ready" and self.breaker.half_open else self.state

    @property
    def ready(self) -> bool:
        """True if it is up and at work, and not about to be ended."""
        return self.state == "ready" and not (self.killed or self.lent or self.drained or self.removed)

    @property
    def wanted(self) -> bool:
        """True if it is to work, as far as people say."""
        return not (self.lent or self.drained or self.removed)

    @property
    def must_end(self) -> bool:
        """True if its process is to end, or to stay down."""
        return self.lent or self.removed

    def awaits(self, engine: str) -> bool:
        """Return True if it is loading an encoder; which ones a worker hosts is known only when it is ready."""
        return engine in self.coming or (
            self.state in ("starting", "loading") and bool({"embed", "score"} & self.plan.roles)
        )

    @property
    def changing(self) -> tuple[str, ...]:
        """The engines that tasks in hand load or take out, in order."""
        if not self.tasks:
            return ()
        return tuple([held.kind.name for held in self.tasks.values() if held.kind.role in ("load", "unload")])

    @property
    def loading(self) -> str:
        """The engine that a task in hand loads; "": none does."""
        for held in self.tasks.values():
            if held.kind.role == "load":
                return held.kind.name
        return ""

    def size_of(self, engine: str) -> int:
        """Return what an engine takes: as measured, as told, or else as much as the largest that was measured."""
        if engine in self.sizes:
            return self.sizes[engine]
        told = self.plan.on_demand.get(engine)
        return (told.size_bytes if told is not None else 0) or max(self.sizes.values(), default=0)

    @property
    def taken_bytes(self) -> int:
        """What its engines take, with those that are being loaded and those that are not out yet."""
        return sum(self.size_of(engine) for engine in (*self.loaded, *self.changing))

    def may_go(self, engine: str) -> bool:
        """Return True for an engine that may be taken out unasked."""
        how = self.plan.on_demand.get(engine)
        comes_and_goes = how is not None and (how.preload is not True or how.keep_alive_s is not None)
        return comes_and_goes and engine not in self.pinned

    @property
    def lacking_from_start(self) -> frozenset[str]:
        """The engines that are to be in memory from its start, and are not."""
        later = {name for name, how in self.plan.on_demand.items() if how.preload is not True}
        return (self.plan.engines & self.engines) - self.loaded - later

    def empty(self) -> None:
        """Note that its process is gone, with all that it had in memory."""
        self.engines = self.loaded = self.coming = frozenset()
        self.batching = {}
        self.offered.clear()

    def held_by(self, thread: Thread) -> int:
        """Count the tasks of one thread."""
        return sum(1 for held in self.tasks.values() if held.thread == thread)

    def has_room(self, thread: Thread) -> bool:
        """Return True if one more task may be sent to the thread now."""
        if not self.ready or (self.tasks and self.breaker.half_open):
            return False
        room = self.plan.credit if thread == "generate" else self.plan.aux_credit
        for held in self.tasks.values():
            # what is tried again may have killed its last worker: nothing is sent behind it
            if held.alone or (held.thread == thread and held.attempt > 1):
                return False
            room -= held.thread == thread
        return room > 0

    def head(self, thread: Thread) -> HeldTask | None:
        """Return the task that a thread is executing; None: it is idle."""
        for held in self.tasks.values():
            if held.thread == thread:
                return held
        return None

    def behind(self, thread: Thread) -> list[HeldTask]:
        """Return the tasks that wait behind the thread's first, in order."""
        return [held for held in self.tasks.values() if held.thread == thread][1:]

    def heads(self) -> list[HeldTask]:
        """Return the task that each thread is executing; later ones of the same thread wait."""
        first: dict[Thread, HeldTask] = {}
        for held in self.tasks.values():
            first.setdefault(held.thread, held)
        return list(first.values())
