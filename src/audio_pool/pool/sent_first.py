"""Calls about sounds that came along: each lies in its file before a worker is to read it, until the call is answered.

Owns: SentFirst: the files of one call, written off the router's thread, and the call's way on.
Must not know: sockets, what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from audio_pool.errors import AudioPoolError, Busy
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.reading import FileReading, Turn
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.pool.sent_audio import Frames, SentAudio
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import ReplyKind
from audio_pool.tasks import CallTask

__all__ = ["SentFirst"]


class SentFirst:
    """Router's thread only."""

    def __init__(
        self, router: Router, intake: Intake, requests: RequestTable, files: FileReading, sent: SentAudio
    ) -> None:
        """
        Args:
            files: writes what was sent, off the router's thread.
            sent: keeps it.
        """
        self._router = router
        self._intake = intake
        self._requests = requests
        self._files = files
        self._sent = sent

    def call(
        self,
        task_of: Callable[[tuple[str, ...]], CallTask],
        sounds: Sequence[Frames],
        sink: ReplySink,
        *,
        size_bytes: int,
        caller: Caller,
    ) -> int:
        """Hand a task on once every sound lies in its file; return the request's number.

        Args:
            task_of: makes it of the files' paths.
            sounds: that came along, each in pieces; none: the task is handed on at once.

        Raises:
            InvalidAudio: one is too large. Busy: there are too many.
        """
        if not sounds:
            return self._intake.call(task_of(()), sink, size_bytes=size_bytes, caller=caller)
        paths: list[str] = []
        turns: list[Turn] = []
        left, number = len(sounds), 0  # 0: not taken in

        def written(found: str | AudioPoolError) -> None:
            nonlocal left
            left -= 1
            if isinstance(found, AudioPoolError):
                if self._intake.reading.pop(number, None) is not None:
                    kind: ReplyKind = "busy" if isinstance(found, Busy) else "error"
                    self._requests.finish(number, Reply(kind=kind, failure=Failure.of(found)))
            elif not left and self._intake.reading.pop(number, None) is not None:
                task = task_of(tuple(paths))
                call = events.Call(request=number, task=task, client=caller.client, worker="", size_bytes=size_bytes)
                self._router.feed(call)

        def done(found: str | AudioPoolError) -> None:
            self._router.post(lambda: written(found))

        def release() -> None:
            for path in paths:
                self._sent.release(path)

        try:
            for count, frames in enumerate(sounds, 1):
                path, open_file = self._sent.take(caller.client, frames, name="sounds")
                paths.append(path)
                turns.append(self._files.submit(caller.client, f"sounds: the {count}. that was sent", open_file, done))
        except BaseException:
            for turn in turns:
                turn.give_up()
            release()
            raise
        number = self._requests.open(sink, caller=caller)
        self._requests[number].on_answered = release
        self._intake.reading[number] = _Turns(turns)
        return number


class _Turns:
    """All of one question's."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns

    def give_up(self) -> None:
        for turn in self._turns:
            turn.give_up()
