"""What the owners of durable jobs are told of them, as the journal has it.

Owns: JobReports: one job's report, with its file where it is wanted, the list of jobs, and the errors about jobs.
Must not know: which jobs are under way, SQL, sockets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor as Keeper
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from audio_pool.api import JobReport, Jobs, JobState
from audio_pool.errors import AudioPoolError, Busy, Cancelled, Conflict, Expired, InvalidAudio, NotFound, StorageError
from audio_pool.jobs.journal import Journal
from audio_pool.jobs.record import FINAL, JobKey, report_of
from audio_pool.jobs.result_files import ResultFiles
from audio_pool.jobs.writer import JournalWriter
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.results import Failure
from audio_pool.types import Delivery

__all__ = ["Fetched", "JobReports", "cancelled", "conflict", "expired", "full", "refusal", "reply_of", "unknown"]


class Fetched(NamedTuple):
    """A kept sound."""

    path: str
    """On this machine."""
    data: bytes | None


class JobReports:
    """Router's thread only."""

    def __init__(
        self,
        journal: JournalWriter,
        requests: RequestTable,
        keeper: Keeper,
        files: ResultFiles,
        post: Callable[[Callable[[], None]], None],
        max_inline_bytes: int,
    ) -> None:
        """
        Args:
            keeper: the thread that brings and reads results.
            post: has something done on the router's thread.
        """
        self._journal = journal
        self._requests = requests
        self._keeper = keeper
        self._files = files
        self._post = post
        self._max_inline_bytes = max_inline_bytes

    def newest(self, owner: str, states: Sequence[JobState], limit: int, before: float | None, sink: ReplySink) -> None:
        """Answer with an owner's jobs, the newest first; without states: of every state."""
        number = self._requests.open_question(sink)

        def listed(journal: Journal) -> Jobs:
            found = journal.newest(owner, states or ("pending", "running", *FINAL), limit, before)
            return Jobs(jobs=tuple(self._with_path(report_of(one, whole=False)) for one in found))

        self._journal.order(listed, lambda answer: self._requests.finish(number, reply_of(answer)))

    def answer(self, number: int, key: JobKey, delivery: Delivery) -> None:
        """Answer the open question ``number`` with a job's report."""

        def found(journal: Journal) -> JobReport:
            record = journal.find(key)
            if record is None:
                raise unknown(key[1])
            return report_of(record)

        def answer(report: JobReport | AudioPoolError) -> None:
            if isinstance(report, AudioPoolError) or report.path is None:
                self._requests.finish(number, reply_of(report))
                return

            def send(found: Fetched | AudioPoolError) -> None:
                if isinstance(found, AudioPoolError):
                    self._requests.finish(number, refusal(found))
                else:
                    body = structs.replace(report, path=found.path)
                    self._requests.finish(number, Reply(kind="result", body=body, data=found.data))

            self.fetch(report.path, send, inline=delivery != "path")

        self._journal.order(found, answer)

    def _with_path(self, report: JobReport) -> JobReport:
        """Return a report with the path that its sound has on this machine; None where it would have to be brought."""
        if report.path is None or os.path.isabs(report.path):
            return report
        return structs.replace(report, path=self._files.here(report.path))

    def fetch(self, name: str, done: Callable[[Fetched | AudioPoolError], None], *, inline: bool) -> None:
        """Have a kept sound at hand.

        Args:
            name: as the journal knows it.
            inline: and its bytes, read off the router's thread.
        """
        here = None if inline else self._files.here(name)
        if here is not None or (not inline and os.path.isabs(name)):
            done(Fetched(here or name, None))
            return

        def read() -> None:
            found: Fetched | AudioPoolError
            try:
                path = self._files.bring(name)
                size = Path(path).stat().st_size
                if inline and size > self._max_inline_bytes:
                    raise InvalidAudio(
                        f"the file has {size:,} bytes, delivered inline are at most {self._max_inline_bytes:,}; "
                        "ask for delivery 'path'"
                    )
                found = Fetched(path, Path(path).read_bytes() if inline else None)
            except AudioPoolError as exc:
                found = exc
            except OSError as exc:
                found = StorageError(f"the kept sound cannot be read: {exc.strerror}")
            except BaseException as exc:  # no memory, say: the caller must not be left without an answer
                found = AudioPoolError(f"the kept sound could not be read: {type(exc).__name__}")
            self._post(lambda: done(found))

        self._keeper.submit(read)


def unknown(target: str) -> NotFound:
    """Return the error for a job that is not there, or is somebody else's."""
    return NotFound(
        f"no durable job {target!r} of yours is known; its time (jobs.result_ttl_s) may be over",
        hint="'audio-pool jobs list' shows those that are",
    )


def conflict(request_id: str) -> Conflict:
    """Return the error for an id that stands for another request."""
    return Conflict(
        f"request_id {request_id!r} stands for another durable request", hint="a new request needs an id of its own"
    )


def full(jobs: int, size_bytes: int, now: float, soonest_expiry: float | None) -> Busy:
    """Return the error for a journal that has no room."""
    wait_s = 60.0 if soonest_expiry is None else min(max(1.0, soonest_expiry - now), 3600.0)
    return Busy(
        f"{jobs:,} durable jobs with {size_bytes:,} bytes are kept, which is as many as may be",
        hint="raise jobs.max_jobs or jobs.max_bytes, or shorten jobs.result_ttl_s",
        retry_after_ms=int(wait_s * 1000),
    )


def expired() -> Reply:
    """Return the final reply for a job whose deadline has passed."""
    return Reply(kind="expired", failure=Failure.of(Expired("the deadline passed before the sound was there")))


def cancelled() -> Reply:
    """Return the final reply for a job that its owner has stopped."""
    return Reply(kind="cancelled", failure=Failure.of(Cancelled("cancelled by its caller")))


def refusal(error: AudioPoolError) -> Reply:
    """Return the final reply that says an error."""
    return Reply(kind="busy" if isinstance(error, Busy) else "error", failure=Failure.of(error))


def reply_of(answer: Struct | AudioPoolError) -> Reply:
    """Return the final reply that says an answer."""
    return refusal(answer) if isinstance(answer, AudioPoolError) else Reply(kind="result", body=answer)
