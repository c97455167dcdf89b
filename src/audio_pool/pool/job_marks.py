"""What is noted of durable jobs in the transaction that keeps their sound: that they are made, by which entry.

Owns: which jobs these are, and when a sound is not kept because all of them are another head's by now.
Must not know: SQL, how a sound is kept.

So a job's sound is kept once, whatever becomes of the heads: where this one ends after that, the next one finishes the
job from the entry; where another one has taken the job since, its late sound is not kept, and no answer of it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from audio_pool.cache.store import Also
from audio_pool.errors import Cancelled
from audio_pool.jobs.record import JobRecord
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.requests import RequestTable

__all__ = ["JobMarks"]

MarkMade = Callable[[Any, JobRecord, int], bool]  # Any: the database's connection
"""Notes that a job is made, by which entry; False where another head has it in hand."""


class JobMarks:
    """Router's thread only, but for what it returns."""

    def __init__(self, requests: RequestTable, mark_made: MarkMade) -> None:
        self._requests = requests
        self._mark_made = mark_made

    def also_of(self, numbers: Sequence[int]) -> Also | None:
        """Return what is written with the sound of these requests; None: none of them is a job that heads share."""
        asked = [self._requests[number].sink for number in numbers if number in self._requests]
        jobs = [sink for sink in asked if isinstance(sink, KeptJob) and sink.record.number]
        if not jobs:
            return None
        jobs.sort(key=lambda job: job.record.number)  # two heads that mark the same do not wait in a ring
        others = len(asked) > len(jobs)

        def also(db: Any, entry_id: int) -> None:  # Any: as above
            for job in jobs:
                job.overtaken = not self._mark_made(db, job.record, entry_id)
            lost = [job for job in jobs if job.overtaken]
            if len(lost) == len(jobs) and not others:
                names = ", ".join(job.request_id for job in lost)
                raise Cancelled(f"another server has taken over what this sound was made for: job {names}")

        return also
