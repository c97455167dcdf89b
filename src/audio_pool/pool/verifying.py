"""Files whose origin is asked for: read by a worker, looked for among what was made here, compared by a worker.

Owns: Verifying: the steps of one question, and how many may be under way.
Must not know: sockets; how files are read and sounds recognised.

    worker                  reads the file: hashes, marks, what it says of itself
    recognition's thread    which registered sounds it may be
    worker                  compares it with their masters, sample by sample
    recognition's thread    the verdict, and what was changed
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from audio_pool.cache.bringing import bring_entry_if_it_can_be
from audio_pool.cache.recognition import Recognition, Suspect
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, Busy, InvalidRequest, WorkerError
from audio_pool.heard import Compared, Heard
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errand, Errands, Next, failed
from audio_pool.pool.replies import LocalSink, Reply, ReplySink
from audio_pool.pool.sent_audio import Frames
from audio_pool.pool.sent_first import SentFirst
from audio_pool.pool.turns import Turns
from audio_pool.tasks import Called, TraceTask

__all__ = ["Verifying"]

T = TypeVar("T", Heard, "_Beside")
_MOST_OF_A_CLIENT = 4
"""Under way at a time: each is held in memory, and has a worker read it twice."""


class _Asked(Struct, frozen=True):
    """One question."""

    errand: Errand
    task: TraceTask
    sounds: Sequence[Frames]
    size_bytes: int
    namespace: str | None
    """Whose sounds may be named; None: everybody's."""


class Verifying:
    """Router's thread only, but for what other threads do."""

    def __init__(self, config: Config, first: SentFirst, errands: Errands, thread: Turns) -> None:
        """
        Args:
            first: has what was sent written, and hands the question on.
            thread: that knows what was made here.
        """
        self._config = config
        self._first = first
        self._errands = errands
        self._thread = thread
        self._of_client: collections.Counter[str] = collections.Counter()
        self._recognition: tuple[SoundCache, Recognition] | None = None
        """Of that opening; its thread's alone."""

    def ask(
        self,
        path: str | None,
        sink: ReplySink,
        *,
        name: str = "",
        sounds: Sequence[Frames] = (),
        namespace: str | None = None,
        size_bytes: int = 0,
        caller: Caller = HOST,
    ) -> None:
        """Answer with a VerifyReport.

        Args:
            path: a file that this server can read; None: the sound that came along.
            name: of that in the answer.
            namespace: whose sounds may be told by their prompt and number; None: all that the caller may name.

        Raises:
            InvalidRequest, PathNotAllowed, Refused: what is asked. NotFound: there is no cache. Busy: too many.
        """
        if (path is None) != (len(sounds) == 1):
            raise InvalidRequest("verify: allowed is one path, or one sound that comes along")
        if path is not None and not path.startswith("/"):
            raise InvalidRequest(f"path: given {path!r}, allowed is an absolute path, which this server can read")
        if path is not None:
            caller.input_roots.check("path", path)
        may_know = caller.namespace_of(namespace) or namespace
        client = caller.client or caller.connection
        if client and self._of_client[client] >= _MOST_OF_A_CLIENT:
            raise Busy(
                f"{_MOST_OF_A_CLIENT} files of this client are being verified, which are all that are allowed",
                retry_after_ms=1000,
            )
        task = TraceTask(
            path=path or "",
            roots=caller.input_roots.folders,
            name=path or name or "the sound that was sent",
            certificate=self._config.provenance.certificate,
        )
        asked = _Asked(self._errands.begin(sink, caller), task, sounds, size_bytes, may_know)
        self._of_client[client] += 1
        self._go_on(asked, lambda: self._call(asked, task, self._heard))

    def _go_on(self, asked: _Asked, step: Next) -> None:
        try:
            step()
        except AudioPoolError as exc:
            self._end(asked, failed(exc))

    def _end(self, asked: _Asked, reply: Reply) -> None:
        client = asked.errand.caller.client or asked.errand.caller.connection
        self._of_client[client] -= 1
        if self._of_client[client] <= 0:
            del self._of_client[client]
        self._errands.end(asked.errand, reply)

    def _call(self, asked: _Asked, task: TraceTask, then: Callable[[_Asked, Called], None]) -> None:
        def answered(reply: Reply) -> None:
            if reply.kind == "result" and isinstance(reply.body, Called):
                body = reply.body
                self._go_on(asked, lambda: then(asked, body))
            else:
                self._end(asked, reply)

        sink = LocalSink(request_id=f"origin-{asked.errand.number}", on_reply=answered)
        self._first.call(
            lambda sent: structs.replace(task, sounds=sent),
            asked.sounds,
            sink,
            size_bytes=asked.size_bytes,
            caller=asked.errand.caller,
        )

    def _heard(self, asked: _Asked, told: Called) -> None:
        heard = _converted(told, Heard)

        def look(cache: SoundCache) -> Reply | Next:
            suspects = self._known(cache).suspects(heard, asked.namespace)
            against = tuple(one.against for one in suspects if one.against is not None)
            if not against:
                return self._verdict(cache, asked, heard, suspects, ())
            for one in suspects:
                if one.against is not None and one.known.entry_id is not None:
                    bring_entry_if_it_can_be(cache.store, one.known.entry_id)
            task = structs.replace(asked.task, against=against)
            return lambda: self._go_on(
                asked, lambda: self._call(asked, task, lambda _, found: self._compared(asked, heard, suspects, found))
            )

        self._errands.do(asked.errand, self._thread, look, end=lambda reply: self._end(asked, reply))

    def _compared(self, asked: _Asked, heard: Heard, suspects: Sequence[Suspect], told: Called) -> None:
        found = _converted(told, _Beside).compared

        def judge(cache: SoundCache) -> Reply:
            return self._verdict(cache, asked, heard, suspects, found)

        self._errands.do(asked.errand, self._thread, judge, end=lambda reply: self._end(asked, reply), bounded=False)

    def _verdict(
        self,
        cache: SoundCache,
        asked: _Asked,
        heard: Heard,
        suspects: Sequence[Suspect],
        compared: Sequence[Compared],
    ) -> Reply:
        report = self._known(cache).report(heard, suspects, compared, namespace=asked.namespace)
        return Reply(kind="result", body=report)

    def _known(self, cache: SoundCache) -> Recognition:
        """Return what knows the sounds of this opening. On its own thread."""
        if self._recognition is None or self._recognition[0] is not cache:
            self._recognition = cache, Recognition(cache.store)
        return self._recognition[1]


class _Beside(Struct, frozen=True):
    compared: tuple[Compared, ...]


def _converted(told: Called, kind: type[T]) -> T:
    try:
        return msgspec.convert(told.body, kind)
    except msgspec.ValidationError as exc:
        raise WorkerError(f"the worker's report of a file is malformed: {exc}") from None
