"""Which engines are where: what is loaded on which worker, and what goes out for it. Pure.

Owns: those decisions, from what waits, what there is room for, and what a load takes.
Must not know: how an engine is loaded, what becomes of a load (loads.py), whose turn it is (queue.py).

A load costs a worker's time, which somebody waits for. So:

- What is loaded nowhere is loaded where that disturbs least: where there is room, or where only engines go that
  nobody waits for, the least recently used first.
- One that somebody waits for goes only after it has been there for ``_RESIDENT`` times as long as both loads take, its
  own return included: loads cost a fifth of a worker's time at the most, however the requests are mixed. Nor does it
  go for what is less urgent.
- What is loaded somewhere is loaded once more only where its backlog pays for it: beside engines that nobody waits for,
  or in the place of another copy of one that has less to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from audio_pool.scheduler.census import Census
from audio_pool.scheduler.estimates import Estimates, TaskKind
from audio_pool.scheduler.queue import Need
from audio_pool.scheduler.serving import serves
from audio_pool.scheduler.worker_state import WorkerState

__all__ = ["Change", "Demand", "Residency", "load_kind"]

_RESIDENT = 4.0
_FIRST_LOAD_S, _FIRST_BYTES_PER_S = 2.0, 1e9
"""What a load takes of which nothing is known: libraries, then weights from a disk."""
_ORDERED = -1_000_000
"""The level of what somebody orders by hand: everything gives way to it."""
_PAYS = 2.0
"""Times what its load takes that the backlog of each copy must exceed before there is another."""


class Demand(NamedTuple):
    """What waits for one engine. The most urgent first."""

    level: int
    """Of the first, as turns have it (queue.py)."""
    since: float
    """When it came."""
    engine: str
    need: Need
    cost_s: float
    """What all of it is expected to take."""
    jobs: int = 1
    """How many they are."""


class Change(NamedTuple):
    """What is to be done on a worker: these go, then this one comes."""

    worker: str
    out: tuple[str, ...]
    load: str = ""


class _Place(NamedTuple):
    """An engine on a worker, in the order in which they go."""

    used_at: float
    name: str
    engine: str
    worker: WorkerState

    @property
    def size_bytes(self) -> int:
        return self.worker.size_of(self.engine)


def load_kind(engine: str) -> TaskKind:
    """Return what loads of an engine are like."""
    return TaskKind("load", engine)


class Residency:
    """Decides; whoever asks carries out."""

    def __init__(self, workers: Mapping[str, WorkerState], census: Census, estimates: Estimates) -> None:
        self.due: float | None = None
        """When to ask again, whatever happens until then."""
        self._workers = workers
        self._census = census
        self._estimates = estimates
        # reckoned once for all workers that are looked at
        self._load_times: dict[str, float] = {}

    def changes(self, demands: Collection[Demand], now: float) -> Iterator[Change]:
        """Yield what is to be done, each to be carried out before the next is asked for."""
        self.due = None
        self._load_times.clear()
        wanted = {demand.engine: demand for demand in demands}
        yield from self._relief(wanted)
        for demand in sorted(demands):
            yield from self._for(demand, wanted, now)
        yield from self._kept_long_enough(wanted, now)
        yield from self._offers()

    def load_s(self, engine: str) -> float:
        """Return what loading an engine is expected to take."""
        first_s = _FIRST_LOAD_S + self._census.largest(engine) / _FIRST_BYTES_PER_S
        return self._estimates.expect(load_kind(engine), first_s)

    def lacks_memory(self, demand: Demand, now: float) -> bool:
        """Return True if no worker that is up has, or could make, room for an engine that is loaded nowhere."""
        if self._census.having(demand.engine):
            return False
        hosts = [one for one in self._workers.values() if one.ready and serves(one, demand.need)]
        return bool(hosts) and not any(self._could_load(one, demand.engine, now) for one in hosts)

    # -- for what waits ----------------------------------------------------------------------------

    def _for(self, demand: Demand, wanted: Mapping[str, Demand], now: float) -> list[Change]:
        copies = self._census.having(demand.engine)
        if copies and demand.cost_s / copies <= _PAYS * self._load_time(demand.engine):
            return []
        if copies and demand.jobs <= self._census.loading(demand.engine):
            return []  # each of them finds one that is about to be there
        return self._best(demand, copies, wanted, self._workers.values(), now)

    def ordered(self, engine: str, hosts: Collection[WorkerState], now: float) -> list[Change]:
        """Return what is to be done so that an engine comes to one of these workers because somebody ordered it."""
        demand = Demand(_ORDERED, now, engine, Need("engine", engine), 0.0)
        return self._best(demand, 0, {}, hosts, now)

    def could_come(self, engine: str, hosts: Collection[WorkerState], now: float) -> bool:
        """Return True if one of these workers has, or could make, room for an engine."""
        return any(self._could_load(one, engine, now) for one in hosts)

    def _best(
        self, demand: Demand, copies: int, wanted: Mapping[str, Demand], hosts: Iterable[WorkerState], now: float
    ) -> list[Change]:
        """Return what lets an engine come where that disturbs least; nothing where it cannot come now."""
        engine = demand.engine
        give_way = {one for one, rival in wanted.items() if one != engine and self._has_to_spare(rival, demand, copies)}
        best: tuple[tuple[float, ...], WorkerState, list[_Place]] | None = None
        for worker in hosts:
            if copies and not worker.loaded.isdisjoint(wanted) and worker.loaded.isdisjoint(give_way):
                continue  # before anything that takes longer: most workers are like this
            if not self._may_load(worker, demand, now):
                continue
            out = self._out_for(worker, demand, copies, wanted, now)
            if out is None:
                continue
            disturbs = (
                sum(one.engine in wanted for one in out),
                sum(one in wanted for one in worker.loaded),
                len(out),
                worker.held_by("generate"),
                0 if worker.room_bytes is None else worker.taken_bytes - worker.room_bytes,
            )
            if best is None or disturbs < best[0]:
                best = disturbs, worker, out
        if best is None:
            return []
        _, worker, out = best
        elsewhere = {one.worker.plan.name for one in out if one.worker is not worker}
        if not elsewhere:
            return [Change(worker.plan.name, tuple(one.engine for one in out), engine)]
        # another worker of the device gives its memory back first: only then it is there for this one
        names = dict.fromkeys(one.worker.plan.name for one in out)
        return [Change(name, tuple(one.engine for one in out if one.worker.plan.name == name)) for name in names]

    def _load_time(self, engine: str) -> float:
        """Return what ``load_s`` did when changes were first asked for."""
        if engine not in self._load_times:
            self._load_times[engine] = self.load_s(engine)
        return self._load_times[engine]

    def _has_to_spare(self, rival: Demand, demand: Demand, copies: int) -> bool:
        """Return True if one copy less of an engine leaves it better off than another is with one copy more.

        Args:
            copies: of the other, so far; with none it needs no comparison.
        """
        if not copies:
            return True
        its_copies = self._census.having(rival.engine)
        return its_copies > 1 and demand.cost_s / (copies + 1) > rival.cost_s / (its_copies - 1)

    def _may_load(self, worker: WorkerState, demand: Demand, now: float) -> bool:
        """Return True if a load could be sent to a worker now."""
        if not worker.ready or worker.changing or demand.engine in worker.loaded or not serves(worker, demand.need):
            return False
        # behind what may end the worker nothing is sent
        if worker.tasks and (worker.breaker.half_open or any(held.alone for held in worker.tasks.values())):
            return False
        return not self._is_barred(worker, demand.engine, now)

    def _is_barred(self, worker: WorkerState, engine: str, now: float) -> bool:
        barred = worker.barred.get(engine)
        if barred is None or now >= barred.until:
            return False
        if barred.for_memory and barred.room_bytes is not None and (worker.room_bytes or 0) > barred.room_bytes:
            return False  # there is more than when it failed
        self._again(barred.until)
        return True

    def _out_for(
        self, worker: WorkerState, demand: Demand, copies: int, wanted: Mapping[str, Demand], now: float
    ) -> list[_Place] | None:
        """Return what goes so that an engine can come, nothing where there is room; None: it must not come here.

        Args:
            copies: of the engine, elsewhere.
        """
        rivals = [wanted[one] for one in worker.loaded if one in wanted]
        if rivals and (copies > 0 or any(rival.level < demand.level for rival in rivals)):
            swapped = [one for one in rivals if self._gives_way(worker, one, demand, copies, now)]
            if not copies or not swapped:
                return None
        lacking = self._lacking(worker, demand.engine)
        if not lacking and not (rivals and copies):
            return []
        sharing = self._sharing(worker)
        if any(one.changing for one in sharing):
            return None
        idle, others = [], []
        for one in sharing:
            for engine in sorted(one.loaded):  # whatever order they are hashed in
                if not one.may_go(engine) or not self.may_leave(one, engine):
                    continue
                if engine not in wanted:
                    idle.append(_Place(one.used_at.get(engine, 0.0), one.plan.name, engine, one))
                elif self._gives_way(one, wanted[engine], demand, copies, now):
                    others.append(_Place(one.used_at.get(engine, 0.0), one.plan.name, engine, one))
        if rivals and copies:  # in the place of the other: beside it, it would take as much of its worker's time
            others = [one for one in others if one.worker is worker][:1]
            return _enough([*others, *sorted(idle)], max(lacking, 1))
        out = _enough([*sorted(idle), *sorted(others)], lacking)
        if out is None and not copies and self._may_only_be_told(worker, demand.engine, wanted):
            return [one for one in idle if one.worker is worker]
        return out

    def _may_only_be_told(self, worker: WorkerState, engine: str, wanted: Collection[str]) -> bool:
        """Return True where an engine is only said to take too much, and nothing would be beside it: it is tried."""
        alone = not any(one.taken_bytes for one in self._sharing(worker) if one is not worker)
        stays = any(one in wanted or not worker.may_go(one) for one in worker.loaded)
        return alone and not stays and engine not in worker.sizes

    def _sharing(self, worker: WorkerState) -> list[WorkerState]:
        """Return the workers that share a device's memory, itself included."""
        device = worker.plan.device
        if not device:
            return [worker]
        return [one for one in self._workers.values() if one.plan.device == device and one.ready]

    def _gives_way(self, worker: WorkerState, rival: Demand, demand: Demand, copies: int, now: float) -> bool:
        """Return True if an engine that somebody waits for may go for another."""
        if rival.level < demand.level or not worker.may_go(rival.engine) or not self.may_leave(worker, rival.engine):
            return False
        if not self._has_to_spare(rival, demand, copies):
            return False
        until = worker.loaded_at.get(rival.engine, now) + _RESIDENT * (
            self._load_time(demand.engine) + self._load_time(rival.engine)
        )
        if now < until:
            self._again(until)
            return False
        return True

    def _could_load(self, worker: WorkerState, engine: str, now: float) -> bool:
        """Return True if there is room for an engine, or would be without all that may go."""
        if self._is_barred(worker, engine, now):
            return not worker.barred[engine].for_memory
        sharing = self._sharing(worker)
        leaving = sum(one.size_of(other) for one in sharing for other in one.loaded if one.may_go(other))
        if self._lacking(worker, engine) <= leaving or any(one.changing for one in sharing):
            return True
        return self._may_only_be_told(worker, engine, ())

    @staticmethod
    def _lacking(worker: WorkerState, engine: str) -> int:
        """Return how many bytes must become free before an engine has room."""
        if worker.room_bytes is None:
            return 0
        return max(0, worker.taken_bytes + worker.size_of(engine) - worker.room_bytes)

    @staticmethod
    def may_leave(worker: WorkerState, engine: str) -> bool:
        """Return True if an engine can be taken out behind what the worker generates: nothing else is at it."""
        at_it = (held.thread == "aux" and held.kind.name == engine for held in worker.tasks.values())
        return not worker.changing and not any(at_it)

    # -- for nobody that waits ---------------------------------------------------------------------

    def _relief(self, wanted: Collection[str]) -> Iterator[Change]:
        """Yield what goes because others than this pool need the memory."""
        eased: set[str] = set()
        for worker in self._census.over():
            room, device = worker.room_bytes, worker.plan.device or worker.plan.name
            if room is None or not worker.ready or device in eased or worker.taken_bytes <= room:
                continue
            eased.add(device)
            sharing = self._sharing(worker)
            if any(one.changing for one in sharing):
                continue
            over = worker.taken_bytes - room
            idle = [
                (one.used_at.get(engine, 0.0), one.plan.name, engine, one.size_of(engine))
                for one in sharing
                if one.ready
                for engine in one.loaded
                if engine not in wanted and one.may_go(engine) and not _at_work(one, engine)
            ]
            for _, name, engine, size in sorted(idle):
                if over <= 0:
                    break
                over -= size
                yield Change(name, (engine,))

    def _kept_long_enough(self, wanted: Collection[str], now: float) -> Iterator[Change]:
        for worker in self._census.keeping():
            if not worker.ready or worker.changing:
                continue
            for engine, how in worker.plan.on_demand.items():
                if how.keep_alive_s is None or engine not in worker.loaded or not worker.may_go(engine):
                    continue
                if engine in wanted or _at_work(worker, engine):
                    continue
                until = worker.used_at.get(engine, now) + how.keep_alive_s
                if now < until:
                    self._again(until)
                else:
                    yield Change(worker.plan.name, (engine,))

    def _offers(self) -> Iterator[Change]:
        """Yield what is loaded ahead where there is room, each once for each start of its worker."""
        for worker in self._census.offering():
            if not worker.ready or not worker.memory_read or worker.changing:
                continue
            for engine, how in worker.plan.on_demand.items():
                if how.preload != "auto" or engine in worker.offered:
                    continue
                worker.offered.add(engine)
                if engine not in worker.loaded and engine not in worker.barred and not self._lacking(worker, engine):
                    yield Change(worker.plan.name, (), engine)
                    break

    def _again(self, when: float) -> None:
        self.due = when if self.due is None else min(self.due, when)


def _enough(going: Sequence[_Place], lacking: int) -> list[_Place] | None:
    """Return the first of these that make room together, none that is not needed for it; None: all are too few."""
    out: list[_Place] = []
    freed = 0
    for one in going:
        if freed >= lacking:
            break
        out.append(one)
        freed += one.size_bytes
    if freed < lacking:
        return None
    for one in list(out):
        if freed - one.size_bytes >= lacking:
            out.remove(one)
            freed -= one.size_bytes
    return out


def _at_work(worker: WorkerState, engine: str) -> bool:
    return any(held.kind.name == engine for held in worker.tasks.values())
