"""Workers added, drained, resumed and removed while the pool runs.

Owns: Staff: the workers' settings as they are now; who may order what, and who is answered when. Router's thread only.
Must not know: when a worker has done what it holds (scheduler/staffing.py), how it is started (launchers).
"""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from audio_pool.config import Config, WorkerConfig, check_config, process_names
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import InvalidConfig, InvalidRequest, NotFound, PoolClosed, Refused, nearest_name
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.launchers import ProcessSpec
from audio_pool.pool.lending import only_operators
from audio_pool.pool.plan import (
    hosted_infos,
    load_message,
    refuse_non_commercial,
    spec_of,
    worker_plan,
)
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import TellWorker
from audio_pool.scheduler.worker_state import WorkerState
from audio_pool.staffing import WorkersOrdered
from audio_pool.transport.worker_messages import Load
from audio_pool.validation import parse

__all__ = ["Staff"]

log = logging.getLogger(__name__)

_FROM_THE_FILE = ("python", "env", "thread")
"""What says which program runs, and with which variables: the configuration alone, not whoever has a key."""


_NUMBERED = re.compile(r"(.+)-([1-9][0-9]*)")


def _stem(name: str) -> str:
    """Return what several workers alike are called: the name without its number."""
    numbered = _NUMBERED.fullmatch(name)
    return numbered.group(1) if numbered else name


def _number(name: str) -> int:
    numbered = _NUMBERED.fullmatch(name)
    return int(numbered.group(2)) if numbered else 0


class Staff:
    """The workers' settings, and what is ordered of them."""

    def __init__(
        self,
        config: Config,
        workers: list[WorkerConfig],
        router: Router,
        requests: RequestTable,
        *,
        loads: dict[str, Load],
        processes: dict[str, ProcessSpec],
        infos: dict[str, EngineInfo],
        encoders: tuple[str, ...],
        arena: str,
    ) -> None:
        """
        Args:
            workers: one entry per process.
            loads: what each is told to load; changed as workers come and go, as are ``processes`` and ``infos``.
            encoders: that texts are put through.
            arena: its directory.
        """
        self._config = config
        self.settings = {one.name: one for one in workers}
        self._router = router
        self._requests = requests
        self._loads = loads
        self._processes = processes
        self._infos = infos
        self._encoders = encoders
        self._arena = arena
        self._scaled_away: dict[str, WorkerConfig] = {}
        """What workers of a name were like that were too many: none may be left to be like."""
        self._waiting: dict[str, list[int]] = {}
        """Who is answered when a worker is drained or gone, by worker."""

    # -- adding ------------------------------------------------------------------------------------

    # opaque fields, until they are parsed
    def add(self, fields: Mapping[str, Any], *, like: str | None = None, caller: Caller = HOST) -> WorkersOrdered:
        """Start a worker, or ``count`` of them.

        Args:
            fields: of WorkerConfig, by name.
            like: the worker whose settings it has where ``fields`` say nothing.

        Raises:
            Refused: the caller may not order that. InvalidConfig, UnknownEngine, NotFound: what is wrong with it.
        """
        only_operators(caller, "workers")
        given = [key for key in _FROM_THE_FILE if fields.get(key)]
        if given and caller is not HOST:
            raise Refused(
                f"worker.{given[0]}: which program runs is said by the configuration alone",
                hint="have a worker with it there, and add one like it",
            )
        if not self._router.takes_requests:
            raise PoolClosed("the pool is stopping and takes no new workers")
        base: dict[str, Any] = {}  # opaque, as the fields
        if like is not None:
            usual = msgspec.to_builtins(WorkerConfig(name=like))  # what nobody has set is not given either
            own = msgspec.to_builtins(self._setting(like))
            base = {key: value for key, value in own.items() if value != usual[key]}
        worker = parse(WorkerConfig, {**base, **fields}, error=InvalidConfig, what="worker")
        added = [structs.replace(worker, name=name, count=1) for name in process_names(worker)]
        self._check(added)
        for one in added:
            self.begin(one)
        state = self._state(added[0].name)
        return WorkersOrdered(
            workers=tuple(one.name for one in added),
            state="lent" if state is not None and state.lent else "starting",
        )

    def _check(self, added: list[WorkerConfig]) -> None:
        for one in added:
            if one.name in self.settings:
                state = self._state(one.name)
                ending = state is not None and state.removed
                raise InvalidConfig(
                    f"worker: there is one named {one.name!r}" + (", which is still being removed" if ending else ""),
                    hint="wait until it is gone" if ending else "take another name, or remove that one first",
                )
        everybody = [*self.settings.values(), *added]
        check_config(structs.replace(self._config, workers=everybody), "worker")
        infos = hosted_infos(added, self._config)
        if self._config.policy.commercial_only:
            refuse_non_commercial(list(infos.values()))

    def begin(self, worker: WorkerConfig) -> None:
        """Start a worker whose settings have been checked."""
        cores = len(os.sched_getaffinity(0))
        for name, info in hosted_infos([worker], self._config).items():
            self._infos.setdefault(name, info)
        self.settings[worker.name] = worker
        self._loads[worker.name] = load_message(worker, self._config, self._encoders, self._arena)
        fair_threads = max(1, cores // len(self.settings))
        self._processes[worker.name] = spec_of(worker, self._config, self._encoders, fair_threads)
        log.info("worker %s is added", worker.name)
        self._router.feed(events.AddWorker(plan=worker_plan(worker, self._config, self._infos)))

    def follow(self, config: Config, added: Sequence[WorkerConfig], removed: Sequence[str]) -> None:
        """Take over another configuration, with the workers that come and go by it.

        Raises:
            InvalidConfig, UnknownEngine, Refused: one that comes cannot be; nothing is changed then.
        """
        new = [one for one in added if one.name not in self.settings]  # else it was ordered before it was written down
        if new:
            self._check(new)
        self._config = config
        for one in new:
            self.begin(one)
        for name in removed:
            if name in self.settings:
                self.end(name)

    def scale(self, name: str, count: int, *, caller: Caller = HOST) -> WorkersOrdered:
        """Have so many workers called NAME or NAME-K: start those that are missing, end those that are too many.

        Raises:
            Refused: the caller may not order that. NotFound: there is none of that name, nor was there.
            InvalidRequest: the pool could make nothing without those that would go.
        """
        only_operators(caller, "workers")
        if not self._router.takes_requests:
            raise PoolClosed("the pool is stopping and takes no new workers")
        alike = [one for one in self.settings if name in (one, _stem(one))]
        present = sorted((one for one in alike if not self._is_leaving(one)), key=_number)
        if not present and name not in self._scaled_away:
            self._setting(name)  # says which names there are
        pattern = self.settings[present[0]] if present else self._scaled_away[name]
        last_first = sorted(present, key=lambda one: (not self._has_no_place(one), -_number(one)))
        going = last_first[: max(0, len(present) - count)]
        numbers = itertools.count(1)
        missing: list[str] = []
        while len(missing) < count - len(present):
            new = f"{name}-{next(numbers)}"
            if new not in self.settings:
                missing.append(new)
        added = [structs.replace(pattern, name=one, count=1) for one in missing]
        if added:
            self._check(added)
        if going:
            self._refuse_the_last(*going)
            self._scaled_away[name] = pattern
        log.info("workers %s: %d of them, so far %d", name, count, len(present))
        for one in added:
            self.begin(one)
        for leaving in going:
            self.end(leaving)
        return WorkersOrdered(workers=(*(one for one in present if one not in going), *missing), state="scaled")

    def _is_leaving(self, name: str) -> bool:
        state = self._state(name)
        return state is not None and state.removed

    def _has_no_place(self, name: str) -> bool:
        state = self._state(name)
        return state is not None and bool(state.pending)

    # -- draining and removing ---------------------------------------------------------------------

    def drain(self, name: str, sink: ReplySink, *, drained: bool = True, caller: Caller = HOST) -> None:
        """Give a worker nothing new, which is answered when it has done what it holds; or work again, at once.

        Raises:
            Refused, NotFound.
        """
        only_operators(caller, "workers")
        self._setting(name)
        state = self._state(name)
        if state is None or state.removed:
            raise NotFound(f"worker {name!r} is being removed")
        log.info("worker %s is %s", name, "to be drained" if drained else "resumed")
        self._waiting.setdefault(name, []).append(self._requests.open_question(sink))
        self._router.feed(events.DrainWorker(worker=name, drained=drained))
        if not drained:  # who still waited for its end is told that it has changed
            self._answer(name, "resumed")

    def remove(
        self, name: str, sink: ReplySink, *, within_s: float | None = None, caller: Caller = HOST
    ) -> None:
        """Have a worker do what it holds and end for good, which is answered when its process is gone.

        Raises:
            Refused, NotFound. InvalidRequest: the pool could make nothing without it.
        """
        only_operators(caller, "workers")
        self._setting(name)
        self._refuse_the_last(name)
        self._waiting.setdefault(name, []).append(self._requests.open_question(sink))
        self.end(name, within_s)

    def end(self, name: str, within_s: float | None = None) -> None:
        """Have a worker do what it holds and end for good."""
        log.info("worker %s is removed", name)
        self._router.feed(events.RemoveWorker(worker=name, within_s=within_s))

    def _refuse_the_last(self, *names: str) -> None:
        states = self._router.scheduler.workers.workers
        left = [one.plan for other, one in states.items() if other not in names and not one.removed]
        lacking = None
        if not any("master" in plan.roles for plan in left):
            lacking = "masters"
        elif not any("generate" in plan.roles and plan.engines for plan in left):
            lacking = "generates"
        if lacking:
            raise InvalidRequest(
                f"worker {names[0]!r} is the last that {lacking}", hint="add another first, or stop the server"
            )

    def told(self, told: TellWorker) -> None:
        """Take note of what has become of a worker, and answer who asked for it."""
        name = told.worker
        if told.state == "closed":
            closed = Reply(kind="error", failure=Failure.of(PoolClosed("the pool is stopping")))
            for number in self._waiting.pop(name, ()):
                self._requests.finish(number, closed)
            return
        log.info("worker %s is %s", name, "drained: it has done what it held" if told.state == "drained" else "gone")
        if told.state == "removed":
            self.settings.pop(name, None)
            self._loads.pop(name, None)
            self._processes.pop(name, None)
        self._answer(name, told.state)

    def _answer(self, name: str, state: Literal["drained", "resumed", "removed"]) -> None:
        for number in self._waiting.pop(name, ()):
            self._requests.finish(number, Reply(kind="result", body=WorkersOrdered(workers=(name,), state=state)))

    def _state(self, name: str) -> WorkerState | None:
        return self._router.scheduler.workers.workers.get(name)

    def _setting(self, name: str) -> WorkerConfig:
        found = self.settings.get(name)
        if found is None:
            near = nearest_name(name, self.settings)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(self.settings))}"
            raise NotFound(f"no worker of this pool is named {name!r}; {hint}")
        return found
