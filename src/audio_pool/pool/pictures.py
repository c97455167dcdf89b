"""Pictures of kept sounds: found where one is kept, else drawn by a worker and kept from then on.

Owns: Pictures: the steps of one question, and how many may be under way.
Must not know: sockets, how a picture is drawn.

    writer's thread   is there such an entry, and a picture of it?
    worker            draws it, into a file of the cache's own
    writer's thread   puts it beside the entry
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from audio_pool.api import PictureReport
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.errors import AudioPoolError, Busy, NotFound, PoolClosed, WorkerError
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.replies import LocalSink, Reply, ReplySink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.turns import Turns
from audio_pool.results import Failure
from audio_pool.tasks import DrawTask
from audio_pool.types import Delivery, Picture

__all__ = ["Pictures"]

log = logging.getLogger(__name__)

_MOST = 64
"""Under way at once; each is a task of a worker."""


class _Asked(Struct, frozen=True):
    """One question."""

    number: int
    entry_id: int
    namespace: str
    picture: Picture
    delivery: Delivery
    caller: Caller


class Pictures:
    """Router's thread only, but for what the writer does."""

    def __init__(
        self,
        intake: Intake,
        requests: RequestTable,
        cache: CacheKeeper | None,
        writer: Turns,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """
        Args:
            writer: reads and writes.
            post: has something done on the router's thread.
        """
        self._intake = intake
        self._requests = requests
        self._cache = cache
        self._writer = writer
        self._post = post
        self._under_way = 0

    def ask(
        self,
        entry_id: int,
        namespace: str,
        picture: Picture,
        delivery: Delivery,
        sink: ReplySink,
        *,
        caller: Caller = HOST,
    ) -> None:
        """Answer with a PictureReport.

        Args:
            namespace: that the entry must be of: what is another's is answered as what is not there.

        Raises:
            NotFound: there is no cache. Busy: too many are under way.
        """
        if self._cache is None:
            raise NotFound("the cache is off (cache.enabled = false)")
        if self._under_way >= _MOST:
            raise Busy(f"{self._under_way} pictures are under way, allowed are {_MOST}", retry_after_ms=1000)
        self._under_way += 1
        number = self._requests.open(sink, caller=caller)
        asked = _Asked(number, entry_id, caller.namespace_of(namespace) or namespace, picture, delivery, caller)
        self._do(asked, lambda cache: self._look(cache, asked))

    def _look(self, cache: CacheKeeper, asked: _Asked) -> Reply | DrawTask:
        """Return the answer, or what is to be drawn for it. On the writer's thread."""
        store = cache.current.store
        entry = store.entries.entry(asked.entry_id)
        if entry is None or entry.recipe.namespace != asked.namespace:
            raise NotFound(f"namespace {asked.namespace!r} has no entry {asked.entry_id}")
        kept = store.renditions.find(asked.entry_id, asked.picture)
        if kept is not None:
            return _answer(asked, store.blobs.path_of(kept.file))
        out = cache.current.incoming / f"{secrets.token_hex(12)}.png"
        return DrawTask(master=entry.path, out=str(out), picture=asked.picture, title=entry.recipe.prompt)

    def _draw(self, asked: _Asked, task: DrawTask) -> None:
        def drawn(reply: Reply) -> None:
            if reply.kind == "result":
                self._do(asked, lambda cache: self._keep(cache, asked, task.out))
            else:
                self._done(asked, reply)

        sink = LocalSink(request_id=f"picture-of-{asked.entry_id}", on_reply=drawn)
        try:
            self._intake.call(task, sink, caller=asked.caller)
        except AudioPoolError as exc:
            self._done(asked, _failed(exc))

    @staticmethod
    def _keep(cache: CacheKeeper, asked: _Asked, out: str) -> Reply:
        """Put a picture beside its entry. On the writer's thread."""
        if not Path(out).is_file():
            raise WorkerError("the worker says that it drew, and there is no picture")
        return _answer(asked, cache.current.store.renditions.put(asked.entry_id, asked.picture, out))

    def _do(self, asked: _Asked, work: Callable[[CacheKeeper], Reply | DrawTask]) -> None:
        """Have something done on the writer's thread, and go on with what it gives."""
        cache = self._cache
        assert cache is not None, "asked before"

        def do() -> None:
            told: Reply | DrawTask
            try:
                told = work(cache)
            except AudioPoolError as exc:
                told = _failed(exc)
            except BaseException:  # whatever it is: nobody may be left without an answer
                log.exception("a picture met a bug")
                told = _failed(AudioPoolError("the picture met a bug in the server; its log says more"))
            self._post(lambda: self._draw(asked, told) if isinstance(told, DrawTask) else self._done(asked, told))

        try:
            self._writer.submit(asked.caller.client, do)
        except Busy as exc:
            self._done(asked, Reply(kind="busy", failure=Failure.of(exc)))
        except RuntimeError:  # the writer takes nothing any more
            self._done(asked, _failed(PoolClosed("the pool has stopped")))

    def _done(self, asked: _Asked, reply: Reply) -> None:
        self._under_way -= 1
        self._requests.finish(asked.number, reply)


def _answer(asked: _Asked, path: str) -> Reply:
    inline = asked.delivery == "inline"
    try:
        data = Path(path).read_bytes() if inline else None
    except OSError as exc:
        raise NotFound(f"the picture of entry {asked.entry_id} is gone: {exc.strerror}", hint="ask again") from exc
    return Reply(kind="result", body=PictureReport(entry=asked.entry_id, path=None if inline else path), data=data)


def _failed(exc: AudioPoolError) -> Reply:
    return Reply(kind="error", failure=Failure.of(exc))
