"""How far jobs are that another head has in hand, told to those who wait for them here.

Owns: asking the head that has a job, answering such a head, how often.
Must not know: SQL, who has which job (shared_jobs.py).

A head tells of a job only while another one asks for it, once a second at most, by a ring that whoever asked hears:
what is not heard is lacking, and nothing depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec
from msgspec import UNSET, structs

from audio_pool.errors import AudioPoolError
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.kept_job import KeptJob
from audio_pool.results import Progress

__all__ = ["PROGRESS", "WATCH", "JobProgress"]

WATCH, PROGRESS = "watch", "progress"
"""What heads ring for: a job's number follows; the progress itself."""
_ASK_EVERY_S = 20.0
_ASKED_FOR_S = 60.0
_TELL_EVERY_S = 1.0
_LONGEST_NOTE = 500

_decode = msgspec.json.Decoder(Progress).decode


class JobProgress:
    """Router's thread only."""

    def __init__(self, journal: JournalWriter, now: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._now = now
        self._asked: dict[int, float] = {}
        """By a job's number, until when another head wants to hear of it."""
        self._told: dict[int, float] = {}
        """When it was told of last."""
        self._asking: dict[int, float] = {}
        """When this head asks next."""

    # -- where somebody waits ----------------------------------------------------------------------

    def ask(self, watched: Iterable[KeptJob]) -> None:
        """Ask for jobs that others have in hand, now and then, where somebody here wants to hear of them."""
        now = self._now()
        wanted = {job.record.number for job in watched if job.wants_events}
        self._asking = {number: self._asking.get(number, now) for number in wanted}
        for number in [number for number, due in self._asking.items() if due <= now]:
            self._asking[number] = now + _ASK_EVERY_S
            self._ring(f"{WATCH} {number}")

    def heard(self, job: KeptJob, told: str) -> None:
        """Tell those who wait for a job what its head has told; what cannot be read is another version's."""
        try:
            job.notify(_decode(told))
        except msgspec.MsgspecError:
            return

    # -- where it is made --------------------------------------------------------------------------

    def asked(self, job: KeptJob) -> None:
        """Tell of a job in hand for a while; at once, where something is known."""
        number, now = job.record.number, self._now()
        self._asked = {one: until for one, until in self._asked.items() if until > now}
        self._told = {one: when for one, when in self._told.items() if one in self._asked}
        self._asked[number] = now + _ASKED_FOR_S
        if job.progress is not None:
            self.made(job, job.progress)

    def made(self, job: KeptJob, progress: Progress) -> None:
        """Tell how far a job in hand is, where another head has asked."""
        number, now = job.record.number, self._now()
        if self._asked.get(number, 0.0) <= now or now - self._told.get(number, 0.0) < _TELL_EVERY_S:
            return
        self._told[number] = now
        if progress.note is not UNSET and len(progress.note) > _LONGEST_NOTE:
            progress = structs.replace(progress, note=progress.note[:_LONGEST_NOTE])  # a ring is 8,000 bytes at most
        self._ring(f"{PROGRESS} {number} {msgspec.json.encode(progress).decode()}")

    def _ring(self, news: str) -> None:
        if not self._journal.trouble:
            self._journal.order(lambda journal: journal.ring(news), _ignore)


def _ignore(answer: AudioPoolError | None) -> None:
    """Do nothing: who asks, asks again."""
