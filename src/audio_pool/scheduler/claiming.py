"""How a job's sound is made once by all the pools on one cache directory. Pure, like the scheduler.

Owns: asking for a claim, asking again while another pool holds it, and giving up.
Must not know: where claims are kept, what a job does before and after.

Whoever gets the claim looks the sound up once more, for its maker may have given the claim back between this job's
look-up and its claim; then it makes it. The others ask again ten times a second. A claim ends with its job, or with
its holder's process; for what neither ends, ``claim_wait_s`` does.
"""

from __future__ import annotations

from collections.abc import Callable

from audio_pool.config import LimitsConfig
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Claim
from audio_pool.scheduler.dues import Dues
from audio_pool.scheduler.jobs import Claiming, Job
from audio_pool.scheduler.ledger import Ledger

__all__ = ["Claims"]

_POLL_S = 0.1
_ANSWER_S = 15.0
"""A writer that does not answer for so long is stuck; the sound can be made meanwhile. Longer than what a busy one has
before it takes: a claim stands behind the sounds that are being kept, and a database is given seconds for each."""


class Claims:
    """The claims of jobs in the stage ``claim``."""

    def __init__(self, ledger: Ledger, dues: Dues, limits: LimitsConfig, advance: Callable[[Job], None]) -> None:
        """``advance``: moves a job to its next stage."""
        self.limits = limits
        self._ledger = ledger
        self._dues = dues
        self._advance = advance

    def ask(self, job: Job) -> None:
        """Ask for a job's claim, for the first time."""
        self._ask(job, self._ledger.now + self.limits.claim_wait_s)

    def _ask(self, job: Job, until: float) -> None:
        job.claim = Claiming(until=until)
        self._dues.set(job, min(self._ledger.now + _ANSWER_S, until))
        self._ledger.out.append(Claim(job=job.job, request=job.requests[0]))

    def answered(self, event: events.Claimed) -> None:
        """Go on with a claim that was given; ask again later for one that was not."""
        job = self._ledger.jobs.get(event.job)
        if job is None or job.stage != "claim" or job.claim is None:
            return
        if event.mine:
            self._advance(job)
        else:
            job.claim = Claiming(until=job.claim.until, asked=False)
            self._dues.set(job, min(self._ledger.now + _POLL_S, job.claim.until))

    def waited(self, job: Job) -> None:
        """Ask again, or go on without: it was waited for the claim, or for an answer, for long enough."""
        assert job.claim is not None
        if job.claim.asked or self._ledger.now >= job.claim.until:
            self._advance(job)
        else:
            self._ask(job, job.claim.until)
