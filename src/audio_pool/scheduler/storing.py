"""A finished sound's way into the store, and what comes of it. Pure.

Owns: which of a job's sounds is kept and which are thrown away.
Must not know: where a store is, what follows for the job (scheduler.py: it is handed to ``advance``).
"""

from __future__ import annotations

from collections.abc import Callable

from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import Store
from audio_pool.scheduler.forecasts import Forecasts
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.ledger import Ledger

__all__ = ["Storing"]


class Storing:
    """Orders jobs' sounds to be kept, and hears where they are."""

    def __init__(self, ledger: Ledger, forecasts: Forecasts, advance: Callable[[Job], None]) -> None:
        self._ledger = ledger
        self._forecasts = forecasts
        self._advance = advance

    def store(self, job: Job) -> None:
        """Have a job's chosen sound kept, and what was not chosen thrown away, or kept for whoever asked for it."""
        chosen = job.chosen
        assert chosen is not None
        self._ledger.out.append(
            Store(
                job=job.job,
                requests=tuple(job.requests),
                sound=chosen,
                rounds=job.round + (1 if chosen.sound.accepted else 0),
                tried=tuple(job.tried),
                vectors=job.vectors,
                losers=self._ledger.losers_of(job),
            )
        )

    def stored(self, event: events.Stored) -> None:
        """Take note of a sound's place, or of why it has none."""
        job = self._ledger.jobs.get(event.job)
        if job is None or job.stage != "store":
            return
        if event.sound is None:
            unknown = Failure(message="the sound was not stored and nobody knows why")
            self._ledger.fail_all(job, event.failure or unknown)
        else:
            job.value = event.sound
            self._forecasts.job_done(job, self._ledger.now)
            self._advance(job)
