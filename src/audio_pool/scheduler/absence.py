"""Those who wait for somebody who is away are told so, and why. Pure.

Owns: when a waiting job is told that its device is lent, or its worker drained, and in which words.
Must not know: how long it may wait (its own deadline), who comes back when (staffing.py).
"""

from __future__ import annotations

from audio_pool.errors import Expired
from audio_pool.results import Progress
from audio_pool.scheduler.actions import SendProgress
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ledger import Ledger
from audio_pool.scheduler.queue import JobQueue
from audio_pool.scheduler.staffing import Staffing

__all__ = ["Absences"]


class Absences:
    """Tells those who wait in the queue."""

    def __init__(self, staffing: Staffing, waiting: JobQueue, ledger: Ledger) -> None:
        self._staffing = staffing
        self._waiting = waiting
        self._ledger = ledger

    def expired(self, job: int) -> Expired:
        """Return what is told of a job whose deadline has passed."""
        why = self._why(job)
        missed = "the deadline passed before the sound was ready"
        return Expired(f"{missed}: {why}" if why else missed)

    def tell(self, job: Job) -> None:
        """Tell those of a job that has just begun to wait, where that is for somebody who is away."""
        why = self._why(job.job)
        for request in job.requests if why else ():
            if self._ledger.requests[request].events:
                body = Progress(stage="loading", note=why)
                self._ledger.out.append(SendProgress(request=request, body=body))

    def tell_all(self) -> None:
        """Tell everybody who waits for somebody who has just gone away."""
        if self._staffing.somebody_away:
            for number in self._waiting.all():
                self.tell(self._ledger.jobs[number])

    def _why(self, job: int) -> str:
        need = self._waiting.need_of(job) if self._staffing.somebody_away else None
        return "" if need is None else self._staffing.held_up(need, self._ledger.now)
