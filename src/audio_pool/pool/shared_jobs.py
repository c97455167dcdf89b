"""Durable jobs among several heads that share a journal: which of them this head takes, which it has lost.

Owns: looking at the shared journal: when woken, when there is room, and now and then whether or not.
Must not know: SQL, how heads are woken, how a job is done (job_steps.py), who is told (durable_jobs.py).

One look, one transaction: it takes jobs that nobody has, as many as there is room for; it tells what this head has in
hand, against which is held what it believes to have; and of jobs that others have, which have ended. Nothing depends on
being woken: that only makes it soon.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import structs

from audio_pool.errors import AudioPoolError
from audio_pool.jobs.record import JobKey, JobRecord, Look
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.job_progress import PROGRESS, WATCH, JobProgress
from audio_pool.pool.job_reports import refusal, unknown
from audio_pool.pool.job_steps import JobSteps
from audio_pool.pool.kept_job import KeptJob
from audio_pool.pool.replies import Reply

__all__ = ["SharedJobs"]

_LOOK_EVERY_S = 2.0


class SharedJobs:
    """Router's thread only."""

    def __init__(
        self,
        journal: JournalWriter,
        steps: JobSteps,
        kept: dict[JobKey, KeptJob],
        *,
        places: Callable[[], int],
        draining: Callable[[], bool],
        ended: Callable[[KeptJob, JobRecord], None],
        answer: Callable[[KeptJob, Reply], None],
    ) -> None:
        """
        Args:
            kept: unfinished jobs that somebody waits for here, or that are in this head's hand.
            places: how many sounds this head's workers can have in hand now.
            draining: True once the pool takes no more.
            ended: told how a job ended that somebody waits for here.
            answer: has whoever waits for a job told.
        """
        self._journal = journal
        self._steps = steps
        self._kept = kept
        self._places = places
        self._draining = draining
        self._ended = ended
        self._answer = answer
        self._progress = JobProgress(journal)
        self._mine: dict[int, KeptJob] = {}
        """By the journal's number: what is in this head's hand."""
        self._watched: dict[int, KeptJob] = {}
        """What is not, and somebody waits for here."""
        self._coming = 0
        """New ones that are to be taken in hand as they are written down."""
        self._heard: set[int] = set()
        """Numbers of jobs that are said to have ended."""
        self._more = True
        """There may be jobs that nobody has in hand."""
        self._looking = self._look_again = self._started = False

    def start(self) -> None:
        """Look now, and from now on."""
        if not self._started:
            self._started = True
            self._tick()
        else:
            self._look(everything=True)

    def _tick(self) -> None:
        self._look(everything=True)
        self._progress.ask(self._watched.values())
        self._journal.at(time.monotonic() + _LOOK_EVERY_S, self._tick)

    def rung(self, news: set[str]) -> None:
        """Look at what heads were woken for; for nothing in particular: at everything."""
        worth = not news
        for one in news:
            what, _, number = one.partition(" ")
            if what == "ready":
                self._more = True
                worth |= self.room() > 0
            elif what == "ended" and int(number) in self._watched:
                self._heard.add(int(number))
                worth = True
            elif what == "cancel":
                worth |= int(number) in self._mine
            elif what in (WATCH, PROGRESS):
                self._hear_of(what, number)
        if worth:
            self._look(everything=not news)

    def _hear_of(self, what: str, told: str) -> None:
        number, _, progress = told.partition(" ")
        if what == WATCH and (job := self._mine.get(int(number))) is not None:
            self._progress.asked(job)
        elif what == PROGRESS and (job := self._watched.get(int(number))) is not None:
            self._progress.heard(job, progress)

    # -- what is in whose hand ---------------------------------------------------------------------

    def room(self) -> int:
        """Return how many more jobs this head may take in hand: as its workers can, others' may have nothing to do."""
        places = 0 if self._draining() else min(self._places(), self._steps.most_submitted)
        return max(0, places - self._steps.under_way - self._coming)

    def ordered(self) -> bool:
        """Return whether a new job is to be taken in hand as it is written down; ``admitted`` is then told of it."""
        taken = self.room() > 0
        self._coming += taken
        return taken

    def admitted(self, taken: bool) -> None:
        """Take back what ``ordered`` said, once the journal has answered."""
        self._coming -= taken

    def freed(self) -> None:
        """Look for more where there may be more: there is room."""
        if self._more and self.room() > 0:
            self._look()

    def take(self, job: KeptJob) -> None:
        """Take up a job that the journal says is in this head's hand."""
        self._watched.pop(job.record.number, None)
        self._mine[job.record.number] = job
        job.elsewhere, job.on_progress = False, self._progress.made
        self._steps.take_up(job)

    def watch(self, job: KeptJob) -> None:
        """Hear of the end of a job that is in no hand, or another's."""
        job.elsewhere = True
        self._watched[job.record.number] = job
        self._heard.add(job.record.number)  # it may have ended while nobody here waited for it
        self._look()

    def lost(self, job: KeptJob) -> None:
        """Do no more of a job that is in another hand; whoever waits for it hears what that makes of it."""
        self._mine.pop(job.record.number, None)
        other = job.hand_over()
        self._steps.drop(job)
        if self._kept.get(job.record.key) is job:
            self._kept[job.record.key] = other
            self.watch(other)

    def forget(self, job: KeptJob) -> None:
        """Note that a job has ended, and everybody been told."""
        for where in (self._mine, self._watched):
            if where.get(job.record.number) is job:
                del where[job.record.number]

    # -- looking -----------------------------------------------------------------------------------

    def _look(self, *, everything: bool = False) -> None:
        if everything:
            self._heard.update(self._watched)
        if self._looking:
            self._look_again = True
            return
        self._looking, self._look_again = True, False
        room = -1 if self._draining() else self.room()
        mine = {number: job.record.attempt for number, job in self._mine.items()}
        watched, self._heard = self._heard & self._watched.keys(), set()
        self._journal.order(
            lambda journal: journal.look(room, mine, watched), lambda answer: self._looked(room, answer)
        )

    def _looked(self, room: int, answer: Look | AudioPoolError) -> None:
        self._looking = False
        if isinstance(answer, AudioPoolError):  # the next look comes by itself
            return
        self._more = answer.more or room <= 0
        for number, job in list(self._mine.items()):
            held = answer.held.get(number)
            if held is not None and number in answer.again:
                job.record = structs.replace(job.record, attempt=held.attempt)
            elif held is None or held.attempt != job.record.attempt:
                self.lost(job)
                continue
            if held.cancelled and not job.cancel_asked:
                self._steps.cancel(job)
        if not self._draining():
            for record in answer.taken:
                self._taken(record)
        for record in answer.ended:
            if record.number in self._watched:
                self._ended(self._watched[record.number], record)
        for number in answer.gone:
            if number in self._watched:
                job = self._watched[number]
                self._answer(job, refusal(unknown(job.request_id)))
        if self._look_again or (answer.more and self.room() > 0):
            self._look()

    def _taken(self, record: JobRecord) -> None:
        if record.number in self._mine:  # known: it was written down while this look was on its way
            return
        job = self._kept.get(record.key)
        if job is None:
            job = self._kept[record.key] = KeptJob(self._steps.finished, record)
        elif job.record.body != record.body:  # somebody asks for another one under its name, and is about to be told
            return
        job.record = record
        self.take(job)
