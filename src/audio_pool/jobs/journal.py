"""The journal of durable jobs, as those who use it see it: named queries.

Owns: the Journal protocol.
Must not know: SQL (sqlite.py), threads (writer.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from audio_pool.api import JobState
from audio_pool.jobs.record import JobKey, JobRecord, Look, Outcome

__all__ = ["Journal"]


class Journal(Protocol):
    """Records of jobs by owner and id. For one thread; every method may raise StorageError.

    A journal belongs to one server, or is shared by several heads. Then each job is in the hand of one of them at a
    time; what ``begin`` and ``finish`` write names the number, the attempt and this head, and is refused where another
    one has taken the job since.
    """

    @property
    def head(self) -> str:
        """The name of this process among those that share the journal; "" where nobody else can."""
        ...

    def now(self) -> float:
        """Return the time by the journal's clock, in seconds since 1970; on any thread, without asking anybody."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Commit all that the ``with`` block writes, or nothing; on the disk when left."""
        ...

    def there(self) -> bool:
        """Return True while what is written here would be found by the next process."""
        ...

    def probe(self) -> None:
        """Write something that changes nothing."""
        ...

    def add(self, record: JobRecord, size_bytes: int, sent: bytes = b"", *, take: bool = True) -> JobRecord | None:
        """Add a pending job, and the sound that came with it.

        Args:
            take: take it in hand at once, where several heads might.

        Returns:
            It as it was written down; None: another head has just written down one of that owner and id.
        """
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

    def totals(self) -> tuple[int, int]:
        """Return how many jobs there are, and the bytes of their requests and kept files."""
        ...

    def soonest_expiry(self) -> float | None:
        """Return when the next finished job is forgotten."""
        ...

    def recover(self) -> list[JobRecord]:
        """Begin with what earlier servers left unfinished, each counting one life more; the oldest first.

        Heads that share a journal are told by ``look`` instead.
        """
        ...

    def look(self, room: int, mine: Mapping[int, int], watched: Collection[int]) -> Look:
        """Take up to ``room`` jobs in hand that nobody has; tell what became of others. Nothing where nobody shares it.

        Args:
            room: 0: only what is too late, which has to be told to somebody; less: nothing.
            mine: the attempts of the jobs that this head believes to have in hand, by number.
            watched: numbers of jobs whose end somebody waits for here.
        """
        ...

    def begin(self, record: JobRecord) -> None:
        """Note that a worker is given the job to do."""
        ...

    def finish(self, record: JobRecord, outcome: Outcome) -> bool:
        """Note what a job came to; False: another head has it in hand now, and nothing was written.

        Where nobody shares the journal it is noted whether or not the job is still known.
        """
        ...

    def cancel(self, key: JobKey, outcome: Outcome) -> JobRecord | None:
        """Have an unfinished job end: at once where nobody has it in hand, else its head is told. Return it, if any."""
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

    def ring(self, news: str) -> None:
        """Let the heads that share it hear something, which is written down nowhere; nobody where nobody shares it."""
        ...

    def leave(self) -> None:
        """Let others have what this head has in hand, which it does no more of."""
        ...

    def close(self) -> None:
        """Close it."""
        ...
