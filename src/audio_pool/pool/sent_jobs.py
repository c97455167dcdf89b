"""Durable requests whose sound came with them, until it is known which sound that is.

Owns: hashing the sound before its job is written down, and that questions about the job wait for it.
Must not know: the journal, what becomes of the job (durable_jobs.py), sockets.
"""

from __future__ import annotations

from collections.abc import Callable

from audio_pool.errors import AudioPoolError
from audio_pool.jobs.record import JobKey
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.job_reports import refusal
from audio_pool.pool.replies import ReplySink
from audio_pool.pool.request_log import log_refusal
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.sent_audio import Frames, named
from audio_pool.types import AudioRequest

__all__ = ["SentJobs"]


class SentJobs:
    """Router's thread only."""

    def __init__(self, intake: Intake, requests: RequestTable) -> None:
        self._intake = intake
        self._requests = requests
        self._waiting: dict[JobKey, list[Callable[[], None]]] = {}
        """Jobs whose sound is being hashed, and what waits for each."""

    def submit(
        self,
        caller: Caller,
        request: AudioRequest,
        sent: Frames,
        sink: ReplySink,
        admit: Callable[[AudioRequest, bytes], None],
    ) -> None:
        """Have ``admit`` called with the request as the journal keeps it, and the sound.

        Raises:
            Busy: too many of this client wait for it.
        """
        number = self._requests.open_question(sink)  # answered though the pool stops meanwhile
        key = caller.job_owner, sink.request_id

        def hashed(found: str | AudioPoolError) -> None:
            if self._requests.pop(number, None) is not None:
                try:
                    admit(named(request, found), b"".join(sent))
                except AudioPoolError as exc:
                    log_refusal(sink.request_id, caller.client, exc)
                    sink.finish(refusal(exc))
            for call in self._waiting.pop(key, ()):
                call()

        try:
            self._intake.hash_sent(caller, sent, hashed)
        except BaseException:
            del self._requests[number]
            raise
        self._waiting.setdefault(key, [])

    def wait(self, key: JobKey, sink: ReplySink, ask: Callable[[], None]) -> bool:
        """Have a question about a job asked once its sound is known; False: it can be asked now."""
        if key not in self._waiting:
            return False
        number = self._requests.open_question(sink)
        self._waiting[key].append(lambda: ask() if self._requests.pop(number, None) is not None else None)
        return True
