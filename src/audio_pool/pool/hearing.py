"""CLAP asked about texts, files and sounds that came with the question.

Owns: what may be asked, and that the sounds lie in files before a worker is to hear them, until it has.
Must not know: sockets, how a sound travels, what CLAP does.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, Busy, EngineUnavailable, InvalidRequest
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.reading import FileReading, Turn
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.pool.sent_audio import Frames, SentAudio
from audio_pool.results import Failure
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import ReplyKind
from audio_pool.tasks import ClapOperation, ClapTask

__all__ = ["Hearing"]


class Hearing:
    """Router's thread only."""

    def __init__(
        self,
        config: Config,
        router: Router,
        intake: Intake,
        requests: RequestTable,
        files: FileReading,
        sent: SentAudio,
    ) -> None:
        """
        Args:
            files: writes what was sent, off the router's thread.
            sent: keeps it.
        """
        self._config = config
        self._router = router
        self._intake = intake
        self._requests = requests
        self._files = files
        self._sent = sent

    def ask(
        self,
        operation: ClapOperation,
        texts: list[str],
        paths: list[str],
        sink: ReplySink,
        *,
        sounds: Sequence[Frames] = (),
        size_bytes: int = 0,
        caller: Caller = HOST,
    ) -> int:
        """Ask the scorer; return the request's number.

        Args:
            sounds: that came with the question, each in pieces.

        Raises:
            EngineUnavailable: there is none. InvalidRequest: what is missing. InvalidAudio, Busy: what was sent.
        """
        scorer = self._config.cache.scorer
        if scorer == "off":
            raise EngineUnavailable("no CLAP is configured", hint='set cache.scorer = "clap"')
        heard = bool(paths or sounds)
        if operation == "zero-shot" and not (texts and heard):
            raise InvalidRequest("zero-shot: needs at least one of texts (the labels) and one of paths or sounds")
        if not texts and not heard:
            raise InvalidRequest(f"{operation}: texts, paths and sounds are all empty; give at least one of them")
        relative = next((path for path in paths if not path.startswith("/")), None)
        if relative is not None:
            raise InvalidRequest(f"paths: given {relative!r}, allowed are absolute paths, which this server can read")
        for path in paths:
            caller.input_roots.check("paths", path)
        roots = caller.input_roots.folders
        task = ClapTask(engine=scorer, operation=operation, texts=texts, paths=paths, roots=roots)
        if not sounds:
            return self._intake.call(task, sink, size_bytes=size_bytes, caller=caller)
        return self._write_first(task, sounds, sink, size_bytes, caller)

    def _write_first(
        self, task: ClapTask, sounds: Sequence[Frames], sink: ReplySink, size_bytes: int, caller: Caller
    ) -> int:
        """Hand the task on once every sound lies in its file."""
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
                call = events.Call(
                    request=number,
                    task=structs.replace(task, sounds=paths),
                    client=caller.client,
                    worker="",
                    size_bytes=size_bytes,
                )
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
