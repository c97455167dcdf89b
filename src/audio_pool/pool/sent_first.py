"""Calls about sounds that came along: each lies in its file before a worker is to read it, until the call is answered.

Owns: SentFirst: the files of one call, written off the router's thread, and the call's way on.
Must not know: sockets, what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from audio_pool.errors import AudioPoolError, Busy, PoolClosed
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
        opens: list[Callable[[], int]] = []
        turn: list[Turn] = []
        number, written_now = 0, 0  # 0: not taken in

        def submit() -> None:
            """Have the next one written: one by one, for a client may have only so many wait."""
            name = f"sounds: the {written_now + 1}. that was sent"
            turn[:] = [self._files.submit(caller.client, name, opens[written_now], done)]

        def written(found: str | AudioPoolError) -> None:
            nonlocal written_now
            if number not in self._intake.reading:
                return  # nobody wants it any more
            written_now += 1
            try:
                if isinstance(found, AudioPoolError):
                    raise found
                if written_now < len(paths):
                    submit()
                    return
            except (AudioPoolError, RuntimeError) as exc:  # RuntimeError: nothing is read any more
                told = exc if isinstance(exc, AudioPoolError) else PoolClosed("the pool has stopped")
                kind: ReplyKind = "busy" if isinstance(told, Busy) else "error"
                del self._intake.reading[number]
                self._requests.finish(number, Reply(kind=kind, failure=Failure.of(told)))
                return
            del self._intake.reading[number]
            task = task_of(tuple(paths))
            call = events.Call(request=number, task=task, client=caller.client, worker="", size_bytes=size_bytes)
            self._router.feed(call)

        def done(found: str | AudioPoolError) -> None:
            self._router.post(lambda: written(found))

        def release() -> None:
            for path in paths:
                self._sent.release(path)

        try:
            for frames in sounds:
                path, open_file = self._sent.take(caller.client, frames, name="sounds")
                paths.append(path)
                opens.append(open_file)
            submit()
        except BaseException:
            release()
            raise
        number = self._requests.open(sink, caller=caller)
        self._requests[number].on_answered = release
        self._intake.reading[number] = _Latest(turn)
        return number


class _Latest:
    """The one of a question's sounds that is being written."""

    def __init__(self, turn: Sequence[Turn]) -> None:
        self._turn = turn

    def give_up(self) -> None:
        for turn in self._turn:
            turn.give_up()
