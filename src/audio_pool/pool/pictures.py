"""Pictures and outlines of kept sounds: found where one is kept, else drawn by a worker and kept from then on.

Owns: Pictures: the steps of one question.
Must not know: sockets, how a picture is drawn.

    library's thread  is there such an entry, and a picture of it?
    worker            draws it, into a file of the cache's own
    writer's thread   puts it beside the entry
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from audio_pool.api import PictureReport
from audio_pool.audio.peaks import decode, fewer
from audio_pool.cache.bringing import bring_entry
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import NotFound, WorkerError
from audio_pool.library import Waveform
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errand, Errands
from audio_pool.pool.intake import Intake
from audio_pool.pool.library import namespace_for
from audio_pool.pool.replies import LocalSink, Reply, ReplySink
from audio_pool.pool.turns import Turns
from audio_pool.tasks import DrawTask
from audio_pool.types import Delivery, Peaks, Picture

__all__ = ["Pictures"]


class _Asked(Struct, frozen=True):
    """One question."""

    errand: Errand
    entry_id: int
    namespace: str
    picture: Picture | Peaks
    answer: Callable[[str], Reply]
    """Of the file's path; it reads it."""


class Pictures:
    """Router's thread only, but for what other threads do."""

    def __init__(self, intake: Intake, errands: Errands, reader: Turns, writer: Turns) -> None:
        self._intake = intake
        self._errands = errands
        self._reader = reader
        self._writer = writer

    def ask(
        self,
        entry_id: int,
        namespace: str | None,
        picture: Picture,
        delivery: Delivery,
        sink: ReplySink,
        *,
        caller: Caller = HOST,
    ) -> None:
        """Answer with a PictureReport.

        Args:
            namespace: that the entry must be of: what is another's is answered as what is not there. None: the caller's
                own, else ``default``.

        Raises:
            NotFound: there is no cache. Busy: too many are under way.
        """
        inline = delivery == "inline"

        def answer(path: str) -> Reply:
            data = _read(entry_id, path) if inline else None
            report = PictureReport(entry=entry_id, path=None if inline else path)
            return Reply(kind="result", body=report, data=data)

        self._ask(entry_id, namespace_for(caller, namespace), picture, answer, sink, caller)

    def ask_waveform(
        self, entry_id: int, namespace: str | None, buckets: int, sink: ReplySink, *, caller: Caller = HOST
    ) -> None:
        """Answer with a Waveform; arguments and errors as those of ``ask``."""

        def answer(path: str) -> Reply:
            outline = fewer(decode(_read(entry_id, path)), buckets)
            count, channels, _ = outline.data.shape
            waveform = Waveform(
                channels=channels,
                sample_rate=outline.sample_rate,
                samples_per_pixel=outline.frames_each,
                length=count,
                data=tuple(outline.data.ravel().tolist()),
            )
            return Reply(kind="result", body=waveform)

        self._ask(entry_id, namespace_for(caller, namespace), Peaks(), answer, sink, caller)

    def _ask(
        self,
        entry_id: int,
        namespace: str,
        picture: Picture | Peaks,
        answer: Callable[[str], Reply],
        sink: ReplySink,
        caller: Caller,
    ) -> None:
        asked = _Asked(self._errands.begin(sink, caller), entry_id, namespace, picture, answer)
        self._errands.do(asked.errand, self._reader, lambda cache: self._look(cache, asked))

    def _look(self, cache: SoundCache, asked: _Asked) -> Reply | Callable[[], None]:
        """Return the answer, or what draws it. On the reader's thread."""
        store = cache.store
        entry = store.entries.entry(asked.entry_id)
        if entry is None or entry.recipe.namespace != asked.namespace:
            raise _no_entry(asked)
        kept = store.renditions.find(asked.entry_id, asked.picture)
        if kept is not None:
            store.blobs.bring(kept.file, kept.size_bytes)
            return asked.answer(store.blobs.path_of(kept.file))
        bring_entry(cache.store, asked.entry_id)
        out = cache.incoming / f"{secrets.token_hex(12)}.{asked.picture.format}"
        task = DrawTask(master=entry.path, out=str(out), picture=asked.picture, title=entry.recipe.prompt)
        return lambda: self._draw(asked, task)

    def _draw(self, asked: _Asked, task: DrawTask) -> None:
        def drawn(reply: Reply) -> None:
            if reply.kind == "result":
                keep = functools.partial(self._keep, asked=asked, out=task.out)
                self._errands.do(asked.errand, self._writer, keep, bounded=False)
            else:
                self._errands.end(asked.errand, reply)

        sink = LocalSink(request_id=f"picture-of-{asked.entry_id}", on_reply=drawn)
        # a page of tiles is a hundred of them, and nobody's sound waits for one
        aside = isinstance(asked.picture, Picture) and asked.picture.tile
        self._intake.call(task, sink, caller=asked.errand.caller, priority="background" if aside else "normal")

    @staticmethod
    def _keep(cache: SoundCache, asked: _Asked, out: str) -> Reply:
        """Put a picture beside its entry. On the writer's thread."""
        if not Path(out).is_file():
            raise WorkerError("the worker says that it drew, and there is no picture")
        if cache.store.entries.entry(asked.entry_id) is None:  # while it was drawn
            Path(out).unlink(missing_ok=True)
            raise _no_entry(asked)
        return asked.answer(cache.store.renditions.put(asked.entry_id, asked.picture, out))


def _no_entry(asked: _Asked) -> NotFound:
    return NotFound(f"namespace {asked.namespace!r} has no entry {asked.entry_id}")


def _read(entry_id: int, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise NotFound(f"the picture of entry {entry_id} is gone: {exc.strerror}", hint="ask again") from exc
