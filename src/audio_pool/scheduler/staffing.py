"""Which workers are to be up: devices lent and returned, workers added, drained, resumed and removed. Pure.

Owns: what a lease or an order means for the workers concerned, and when who asked is told.
Must not know: how a process ends, why a device is wanted, who may ask.

A worker that has to leave takes nothing new. What waits in it behind something else is asked back, where another
worker does such work; what it is at may end, until the device must be free. Then the process is *ended*, not only its
models unloaded: a context alone holds hundreds of megabytes of a GPU, and allocators keep what they have; a process
that is gone has given everything back, whatever its engines are. What it was at is tried again, where there is a
worker for it, and waits otherwise: nobody is blamed, and no attempt is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from audio_pool.config import MemoryConfig
from audio_pool.errors import AudioPoolError, Busy, NotFound, PoolClosed, nearest_name
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Action, KillWorker, RecallTask, StopWorker, TellLease, TellWorker
from audio_pool.scheduler.leases import OTHERS, Lease, LeaseTable
from audio_pool.scheduler.queue import Need
from audio_pool.scheduler.serving import may_serve
from audio_pool.scheduler.shortage import Shortages
from audio_pool.scheduler.worker_state import WorkerState
from audio_pool.scheduler.workers import WorkerTable

__all__ = ["Staffing"]

Order = events.TakeLease | events.EndLease | events.AddWorker | events.DrainWorker | events.RemoveWorker

_DOWN = ("down", "broken", "gone")
_FOR_OTHERS_S = 10.0
"""In which a device is left whose memory has been taken."""


class Staffing:
    """Methods return the actions that follow."""

    def __init__(self, workers: WorkerTable, memory: MemoryConfig | None = None) -> None:
        """``memory``: when devices are left because others have taken their memory."""
        self._shortages = Shortages(memory or MemoryConfig())
        self.leases = LeaseTable()
        self._workers = workers
        self.somebody_away = False
        """A worker, at least, is not to work now."""
        self._unsettled = False
        """Somebody has to leave, or is to be told of something."""

    def take(self, order: Order, now: float, *, closing: bool) -> list[Action]:
        """Carry an order out, as far as it can be at once.

        Args:
            closing: the pool takes nothing new.
        """
        actions = self._take(order, now, closing=closing)
        self._unsettled = True
        self._look_who_is_away()
        return actions

    def _look_who_is_away(self) -> None:
        self.somebody_away = any(not one.wanted for one in self._workers.workers.values())

    def _take(self, order: Order, now: float, *, closing: bool) -> list[Action]:
        workers = self._workers.workers
        match order:
            case events.TakeLease():
                return self._lend(order, now, closing=closing)
            case events.EndLease():
                lease = self.leases.get(order.device)
                return [] if lease is None else self._end(lease, now)
            case events.AddWorker():
                if not closing:
                    self._workers.add(order.plan)
                    self._apply()
            case events.DrainWorker():
                worker = workers.get(order.worker)
                if worker is not None:
                    worker.drained, worker.drain_told = order.drained, False
            case events.RemoveWorker():
                worker = workers.get(order.worker)
                if worker is not None:
                    worker.removed = True
                    worker.leave_by = None if order.within_s is None else now + order.within_s
        return []

    # -- leases ------------------------------------------------------------------------------------

    def _lend(self, asked: events.TakeLease, now: float, *, closing: bool) -> list[Action]:
        refusal = self._refusal(asked, now, closing=closing)
        if refusal is not None:
            return [TellLease(asked=asked.asked, device=asked.device, state="refused", failure=Failure.of(refusal))]
        known = self.leases.get(asked.device)
        lease = Lease(
            device=asked.device,
            holder=asked.holder,
            taken_at=now,
            leave_by=now + asked.within_s,
            for_s=asked.for_s,
            asked=[asked.asked] if asked.asked else [],
        )
        if known is not None:  # by its own holder, or from programs that have not asked
            lease.asked = known.asked + lease.asked
            lease.free_at = None if known.free_at is None else now
            lease.leave_by = min(lease.leave_by, known.leave_by) if known.free_at is None else now
            lease.begun_again = known.begun_again
        self.leases[asked.device] = lease
        self._apply()
        actions: list[Action] = []
        for worker in self._concerned(lease):
            actions += self._ask_back(worker)
        return actions + self._tell(lease) if lease.free_at is not None else actions

    def _refusal(self, asked: events.TakeLease, now: float, *, closing: bool) -> AudioPoolError | None:
        if closing:
            return PoolClosed("the pool is stopping: its devices are free in a moment")
        known = self.leases.get(asked.device)
        if known is not None and OTHERS != known.holder != asked.holder:
            ends_at = known.ends_at
            wait_ms = 60_000 if ends_at is None else max(1, round((ends_at - now) * 1000))
            return Busy(known.told(now), hint="ask again when it has ended", retry_after_ms=wait_ms)
        devices = self.devices()
        if asked.device in devices:
            return None
        near = nearest_name(asked.device, devices)
        there = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(devices)) or 'none'}"
        return NotFound(
            f"device: no worker of this pool is on device {asked.device!r}; {there}",
            hint="a worker is on the devices that its 'gpu' names; one without 'gpu' cannot leave one",
        )

    def devices(self) -> set[str]:
        """Return the devices that workers are on."""
        return {device for worker in self._workers.workers.values() for device in worker.plan.devices}

    def _concerned(self, lease: Lease) -> list[WorkerState]:
        return [one for one in self._workers.workers.values() if lease.device in one.plan.devices]

    def _apply(self) -> None:
        for worker in self._workers.workers.values():
            worker.lent = self.leases.of(worker.plan.devices) is not None

    def _end(self, lease: Lease, now: float) -> list[Action]:
        """End a lease; its workers come back."""
        del self.leases[lease.device]
        self._apply()
        return self._tell(lease, "ended")

    @staticmethod
    def _tell(lease: Lease, state: Literal["free", "ended"] = "free") -> list[Action]:
        asked, lease.asked = lease.asked, []
        numbers = (asked or [0]) if state == "free" else [*asked, 0]  # its end is told in any case
        return [
            TellLease(asked=number, device=lease.device, state=state, begun_again=lease.begun_again)
            for number in numbers
        ]

    def close(self) -> list[Action]:
        """The pool stops: nobody is left waiting for a device or a worker."""
        closed = Failure.of(PoolClosed("the pool is stopping: its devices are free in a moment"))
        actions: list[Action] = []
        for lease in self.leases.values():
            asked, lease.asked = lease.asked, []
            actions += [
                TellLease(asked=number, device=lease.device, state="refused", failure=closed) for number in asked
            ]
        for worker in self._workers.workers.values():
            if worker.removed or (worker.drained and not worker.drain_told):
                actions.append(TellWorker(worker=worker.plan.name, state="closed"))
        return actions

    def memory_read(self, event: events.MemoryRead, now: float) -> list[Action]:
        """Leave devices whose memory other programs have taken, and take those back that have enough again."""
        actions: list[Action] = []
        if self._workers.stopping:
            return actions
        for key, spare in event.spare_bytes.items():
            on_it = [one.plan for one in self._workers.workers.values() if one.plan.device == key and one.plan.devices]
            if not on_it or key not in event.own_bytes:
                continue
            device = on_it[0].devices[0]
            lease = self.leases.get(device)
            left = lease is not None and lease.holder == OTHERS
            if lease is not None and (not left or lease.free_at is None):
                continue  # somebody has asked for it, or it is being left
            own, others = event.own_bytes[key], event.others_bytes.get(key, 0)
            match self._shortages.look(key, spare, own, others, now, left=left):
                case "leave":
                    order = events.TakeLease(asked=0, device=device, holder=OTHERS, within_s=_FOR_OTHERS_S)
                    actions += self.take(order, now, closing=False)
                case "take back":
                    actions += self.take(events.EndLease(device=device), now, closing=False)
        return actions

    # -- leaving -----------------------------------------------------------------------------------

    def look(self, now: float) -> list[Action]:
        """Return what is to be done now about those who have to leave, and who is to be told of what."""
        if not self._unsettled or self._workers.stopping:
            return []
        actions: list[Action] = []
        for lease in self.leases.over(now):
            actions += self._end(lease, now)
        for worker in list(self._workers.workers.values()):
            if worker.must_end and worker.state not in _DOWN:
                actions += self._leave(worker, now)
            elif worker.removed:
                self._workers.forget(worker.plan.name)
                actions.append(TellWorker(worker=worker.plan.name, state="removed"))
            elif worker.drained and not worker.drain_told and not worker.tasks:
                worker.drain_told = True
                actions.append(TellWorker(worker=worker.plan.name, state="drained"))
        for lease in self.leases.values():
            if lease.free_at is None and all(one.state in _DOWN for one in self._concerned(lease)):
                lease.free_at = now
                actions += self._tell(lease)
        self._look_who_is_away()
        self._unsettled = bool(self.leases) or any(
            one.removed or (one.drained and not one.drain_told) for one in self._workers.workers.values()
        )
        return actions

    def _leave(self, worker: WorkerState, now: float) -> list[Action]:
        name, incarnation = worker.plan.name, worker.incarnation
        if worker.state == "ready" and not worker.killed and not worker.tasks:
            worker.state, worker.due = "stopping", now + self._workers.limits.term_timeout_s
            return [StopWorker(worker=name, incarnation=incarnation)]
        stop_at = self._stop_at(worker)
        up = worker.state in ("ready", "stopping")
        if worker.killed or (up and (stop_at is None or now < stop_at)):
            return []
        lease = self.leases.of(worker.plan.devices)
        why = f"worker {name!r} is removed" if lease is None else lease.told(now)
        worker.killed, worker.called_off = True, why
        if lease is not None:
            lease.begun_again += len({job for held in worker.tasks.values() for job in held.jobs})
        return [KillWorker(worker=name, incarnation=incarnation, why=why, at_once=True)]

    def _stop_at(self, worker: WorkerState) -> float | None:
        """Return when a worker that has to leave is ended whatever it is at; None: when that is done."""
        times = [self.leases[device].stop_at for device in worker.plan.devices if device in self.leases]
        times += [worker.leave_by] if worker.removed and worker.leave_by is not None else []
        return min(times, default=None)

    def _ask_back(self, worker: WorkerState) -> Iterator[Action]:
        """Ask for what waits in a worker that has to leave, where another does such work."""
        if worker.state != "ready" or worker.killed:
            return
        for held in worker.behind("generate"):
            if held.of_no_job:
                continue
            need = Need("generate", held.kind.name)
            others = (one for one in self._workers.workers.values() if one is not worker and one.wanted)
            if not held.recalled and any(may_serve(one, need) and one.state != "broken" for one in others):
                held.recalled = True
                yield RecallTask(
                    worker=worker.plan.name, incarnation=worker.incarnation, task=held.task, attempt=held.attempt
                )

    def next_deadline(self) -> float | None:
        """Return when ``look`` has something to do; None: only events change anything."""
        if not self._unsettled or self._workers.stopping:
            return None
        times = list(self.leases.times())
        for worker in self._workers.workers.values():
            stop_at = self._stop_at(worker) if worker.must_end and worker.state not in _DOWN else None
            if stop_at is not None and not worker.killed:
                times.append(stop_at)
        return min(times, default=None)

    # -- for people --------------------------------------------------------------------------------

    def held_up(self, need: Need, now: float) -> str:
        """Return in words why nobody does what is needed now, where people want it so; "" for any other reason."""
        able = [one for one in self._workers.workers.values() if may_serve(one, need)]
        if not able or any(one.wanted for one in able):
            return ""
        return "; ".join(f"worker {one.plan.name!r} would do it, but {self.away(one, now)}" for one in able[:3])

    def away(self, worker: WorkerState, now: float) -> str:
        """Return in words why a worker takes nothing; "" where it does."""
        lease = self.leases.of(worker.plan.devices)
        if lease is not None:
            return lease.told(now)
        if worker.removed:
            return "it is being removed"
        return "it is drained, until it is resumed" if worker.drained else ""
