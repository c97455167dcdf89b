"""What workers have, counted as they change: found without looking at every worker. Pure.

Owns: how many have an engine or load one, what an engine takes at most, and which workers are out of the ordinary: at
rest, with more in memory than they may, with engines that go or come by themselves.
Must not know: what follows from it (residency.py, workers.py, which tells of every change).

Who has changed is looked at when something is asked, and not before: most workers change more often than that.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

from msgspec import Struct

from audio_pool.scheduler.worker_state import WorkerPlan, WorkerState

__all__ = ["Census"]

_NOTHING: frozenset[str] = frozenset()


class _Seen(Struct):
    """One worker as it was counted."""

    plan: WorkerPlan
    sizes: dict[str, int]
    has: frozenset[str]
    """Engines that it has, or will."""
    loading: str


class Census:
    """Counts over all workers of a table."""

    def __init__(self, workers: Mapping[str, WorkerState]) -> None:
        self._workers = workers
        self._changed: dict[str, WorkerState] = {}
        self._seen: dict[str, _Seen] = {}
        self._having: collections.Counter[str] = collections.Counter()
        self._loading: collections.Counter[str] = collections.Counter()
        self._largest: dict[str, int] = {}
        self._at_rest: set[str] = set()
        self._over: set[str] = set()
        self._keeping: set[str] = set()
        self._offering: set[str] = set()

    def changed(self, worker: WorkerState) -> None:
        """Note that a worker is new, or is not what it was."""
        self._changed[worker.plan.name] = worker

    def forget(self, name: str) -> None:
        """Note that a worker is not there any more."""
        self._changed.pop(name, None)
        seen = self._seen.pop(name, None)
        if seen is not None:
            self._count(seen, -1)
            self._largest.clear()
        for names in (self._at_rest, self._over, self._keeping, self._offering):
            names.discard(name)

    def having(self, engine: str) -> int:
        """Count the workers that are ready and have an engine, or will."""
        self._look()
        return self._having[engine]

    def loading(self, engine: str) -> int:
        """Count the workers that are ready and load an engine."""
        self._look()
        return self._loading[engine]

    def largest(self, engine: str) -> int:
        """Return the most that an engine takes on any worker, as far as that is known."""
        self._look()
        size = self._largest.get(engine)
        if size is None:
            size = self._largest[engine] = max((one.size_of(engine) for one in self._workers.values()), default=0)
        return size

    def at_rest(self) -> list[WorkerState]:
        """Return the workers that may have to be started."""
        self._look()
        return self._of(self._at_rest)

    def over(self) -> list[WorkerState]:
        """Return the workers that are ready and have more in memory than they may."""
        self._look()
        return self._of(self._over)

    def keeping(self) -> list[WorkerState]:
        """Return the workers of which engines go by themselves after a while."""
        self._look()
        return self._of(self._keeping)

    def offering(self) -> list[WorkerState]:
        """Return the workers whose engines may come unasked, where they have not had their chance."""
        self._look()
        return self._of(self._offering)

    def _of(self, names: set[str]) -> list[WorkerState]:
        """Return workers by name, in the table's order."""
        if len(names) < 2:
            return [self._workers[name] for name in names]
        return [worker for name, worker in self._workers.items() if name in names]

    def _look(self) -> None:
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        for name, worker in changed.items():
            self._look_at(name, worker)

    def _look_at(self, name: str, worker: WorkerState) -> None:
        before = self._seen.get(name)
        ready, loading = worker.ready, worker.loading
        has = worker.loaded | {loading} if loading else worker.loaded
        now = _Seen(worker.plan, dict(worker.sizes), has if ready else _NOTHING, loading if ready else "")
        if before is None or before.has != now.has or before.loading != now.loading:
            if before is not None:
                self._count(before, -1)
            self._count(now, 1)
        if before is None or before.plan is not now.plan or before.sizes != now.sizes:
            self._largest.clear()
        self._seen[name] = now
        how = worker.plan.on_demand
        room = worker.room_bytes
        for names, holds in (
            (self._at_rest, worker.state in ("down", "broken")),
            (self._over, ready and room is not None and worker.taken_bytes > room),
            (self._keeping, any(one.keep_alive_s is not None for one in how.values())),
            (self._offering, any(how[one].preload == "auto" for one in how if one not in worker.offered)),
        ):
            if holds:
                names.add(name)
            else:
                names.discard(name)

    def _count(self, seen: _Seen, more: int) -> None:
        for engine in seen.has:
            self._having[engine] += more
        if seen.loading:
            self._loading[seen.loading] += more
