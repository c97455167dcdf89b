"""The journal of durable jobs, as those who use it see it: named queries.

Owns: the Journal protocol.
Must not know: SQL (sqlite.py), threads (writer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from audio_pool.api import JobState
from audio_pool.jobs.record import JobKey, JobRecord, Outcome

__all__ = ["Journal"]


class Journal(Protocol):
    """Records of jobs by owner and id. For one thread; every method may raise StorageError."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit all that the ``with`` block writes, or nothing; on the disk when left."""
        ...

    def there(self) -> bool:
        """Return True while what is written here would be found by the next process."""
        ...

    def probe(self) -> None:
        """Write something that changes nothing."""
        ...

    def add(self, record: JobRecord, size_bytes: int, sent: bytes = b"") -> None:
        """Add a pending job, and the sound that came with it."""
        ...

    def sent(self, key: JobKey) -> bytes:
        """Return the sound that came with a job; it is there as long as the job."""
        ...

    def find(self, key: JobKey) -> JobRecord | None:
        """Return a job, or None where there is none of that owner and id."""
        ...

    def newest(
        self, owner: str, states: Sequence[JobState], limit: int, before: float | None = None
    ) -> list[JobRecord]:
        """Return an owner's jobs, the newest first; ``before``: only those created earlier."""
        ...

    def unfinished(self) -> list[JobRecord]:
        """Return all jobs that have come to nothing yet, the oldest first."""
        ...

    def totals(self) -> tuple[int, int]:
        """Return how many jobs there are, and the bytes of their requests and kept files."""
        ...

    def soonest_expiry(self) -> float | None:
        """Return when the next finished job is forgotten."""
        ...

    def survive(self) -> None:
        """Count one more life for every unfinished job."""
        ...

    def begin(self, key: JobKey) -> None:
        """Note that a worker is given the job to do."""
        ...

    def finish(self, record: JobRecord, outcome: Outcome) -> None:
        """Note what a job came to, whether or not it is still known."""
        ...

    def reopen(self, key: JobKey, deadline_at: float | None) -> None:
        """Make a finished job pending again, with nothing held against it."""
        ...

    def forget_expired(self, now: float, most: int) -> list[str | None]:
        """Remove up to ``most`` finished jobs whose time is over; return their files."""
        ...

    def paths(self) -> set[str]:
        """Return the files of all jobs."""
        ...

    def close(self) -> None:
        """Close it."""
        ...
