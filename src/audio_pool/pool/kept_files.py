"""Files of kept sounds by their ids, in any format: the master, a rendition that is kept, or one that a worker writes.

Owns: KeptFiles: the steps of one question; that a rendition which several want at a time is written once.
Must not know: sockets, how a rendition is written.

    library's thread  is there such an entry, and a file of it in this format?
    worker            writes it, into a file of the cache's own
    writer's thread   puts it beside the entry
    library's thread  reads it, for whoever wants its bytes
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from audio_pool.cache.bringing import bring_entry
from audio_pool.cache.entry import Entry
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, InvalidAudio, NotFound, WorkerError
from audio_pool.inscription import comment_of
from audio_pool.library import FileForm, SoundFile
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.errands import Errand, Errands, failed
from audio_pool.pool.intake import Intake
from audio_pool.pool.library import namespace_for
from audio_pool.pool.metadata import as_delivered, has_sound_of_master, is_master, rendition_report
from audio_pool.pool.refusals import check_written
from audio_pool.pool.replies import LocalSink, Reply, ReplySink
from audio_pool.pool.resolve import rendition_of
from audio_pool.pool.signing import signature_report
from audio_pool.pool.turns import Turns
from audio_pool.tasks import Rendered, RenderTask, Seal
from audio_pool.types import AudioRequest, Delivery, Rendition

__all__ = ["KeptFiles"]


class _Asked(Struct, frozen=True):
    """One question."""

    errand: Errand
    entry_id: int
    namespace: str
    written: AudioRequest
    """As a request would say it."""
    delivery: Delivery


class _Wanted(NamedTuple):
    """A rendition of an entry that is not kept yet."""

    entry: int
    rendition: Rendition


class KeptFiles:
    """Router's thread only, but for what other threads do."""

    def __init__(self, config: Config, intake: Intake, errands: Errands, reader: Turns, writer: Turns) -> None:
        self._config = config
        self._intake = intake
        self._errands = errands
        self._reader = reader
        self._writer = writer
        self._being_written: dict[_Wanted, list[_Asked]] = {}

    def ask(
        self,
        entry_id: int,
        namespace: str | None,
        form: FileForm,
        delivery: Delivery,
        sink: ReplySink,
        *,
        caller: Caller = HOST,
    ) -> None:
        """Answer with a SoundFile.

        Args:
            form: how it is to be written.

        Raises:
            NotFound: there is no cache. Busy: too many are under way. InvalidRequest: no such file can be.
        """
        place = namespace_for(caller, namespace)
        written = AudioRequest(
            prompt="a kept sound",
            format=form.format,
            rendition_rate=form.sample_rate,
            bit_depth=form.bit_depth,
            bit_rate=form.bit_rate,
            target_lufs=form.target_lufs,
            loudness_profile=form.loudness_profile,
        )
        check_written(written, self._config)
        asked = _Asked(self._errands.begin(sink, caller), entry_id, place, written, delivery)
        self._look(asked)

    def _look(self, asked: _Asked) -> None:
        self._errands.do(asked.errand, self._reader, lambda cache: self._found(cache, asked))

    def _found(self, cache: SoundCache, asked: _Asked) -> Reply | Callable[[], None]:
        """Return the answer, or what has it written. On the reader's thread."""
        entry = cache.store.entries.entry(asked.entry_id)
        if entry is None or entry.recipe.namespace != asked.namespace:
            raise NotFound(f"namespace {asked.namespace!r} has no entry {asked.entry_id}")
        bring_entry(cache.store, asked.entry_id)
        rendition, seal, not_signed = self._intake.signing.sealed(self._rendition(entry, asked.written))
        if is_master(entry.metadata, rendition):
            master = cache.store.checks.master(asked.entry_id)
            sha256 = b"" if master is None else master.sha256
            return self._answer(asked, entry, rendition, entry.path, sha256, not_signed=not_signed)
        kept = cache.store.renditions.find(asked.entry_id, rendition)
        if kept is not None:
            cache.store.blobs.bring(kept.file, kept.size_bytes)
            path = cache.store.blobs.path_of(kept.file)
            return self._answer(asked, entry, rendition, path, kept.sha256, seal, not_signed)
        out = cache.incoming / f"render-{asked.entry_id}-{secrets.token_hex(6)}.{rendition.format}"
        told = structs.replace(entry.metadata, format=rendition.format)
        task = RenderTask(
            job=0,
            master=entry.path,
            out=str(out),
            rendition=rendition,
            loop=entry.metadata.is_loop,
            comment=comment_of(entry.recipe, told, rendition, shared=True),
            retold=has_sound_of_master(entry.metadata, rendition),
            seal=seal,
        )
        return lambda: self._write(asked, _Wanted(asked.entry_id, rendition), task)

    def _rendition(self, entry: Entry, written: AudioRequest) -> Rendition:
        """Return how the file is written: at the sound's own rate and level, where nothing else is asked for."""
        stored = entry.metadata
        rate = written.rendition_rate or stored.sample_rate or entry.recipe.sample_rate
        rendition = rendition_of(written, self._config, rate, stored.is_loop)
        if written.target_lufs is None and written.loudness_profile is None:
            return structs.replace(rendition, target_lufs=stored.target_lufs)
        return rendition

    def _write(self, asked: _Asked, wanted: _Wanted, task: RenderTask) -> None:
        if wanted in self._being_written:
            self._being_written[wanted].append(asked)
            return
        self._being_written[wanted] = [asked]

        def end(reply: Reply) -> None:
            for one in self._being_written.pop(wanted, []):
                self._errands.end(one.errand, reply)

        def written(reply: Reply) -> None:
            if not isinstance(reply.body, Rendered):
                end(reply)
                return
            path = reply.body.path
            self._errands.do(asked.errand, self._writer, lambda cache: keep(cache, path), end=end, bounded=False)

        def keep(cache: SoundCache, path: str) -> Callable[[], None]:
            if not Path(path).is_file():
                raise WorkerError("the worker says that it wrote, and there is no file")
            cache.put_rendition(wanted.entry, wanted.rendition, path)
            return kept

        def kept() -> None:
            for one in self._being_written.pop(wanted, []):
                self._look(one)

        sink = LocalSink(request_id=f"file-of-{asked.entry_id}", on_reply=written)
        try:
            self._intake.call(task, sink, caller=asked.errand.caller)
        except AudioPoolError as exc:
            end(failed(exc))

    def _answer(
        self,
        asked: _Asked,
        entry: Entry,
        rendition: Rendition,
        path: str,
        sha256: bytes,
        seal: Seal | None = None,
        not_signed: str = "",
    ) -> Reply:
        """Return the file. On the reader's thread.

        Args:
            sha256: as it was kept with the file; b"": it was not.
        """
        inline, most = asked.delivery == "inline", self._config.server.max_inline_bytes
        try:
            size = os.stat(path).st_size
            if inline and size > most:
                raise InvalidAudio(
                    f"the file has {size:,} bytes, delivered inline are at most {most:,}; "
                    "ask for delivery 'path' or a lossy format"
                )
            data = Path(path).read_bytes() if inline else None
            sha256 = sha256 or _sha256(path)
        except OSError as exc:
            raise NotFound(f"the file of entry {asked.entry_id} is gone: {exc.strerror}") from exc
        stored = structs.replace(entry.metadata, entry_id=asked.entry_id)
        report = SoundFile(
            entry=asked.entry_id,
            format=rendition.format,
            size_bytes=size,
            sha256=sha256.hex(),
            metadata=structs.replace(
                as_delivered(stored, rendition, rendition_report(stored, rendition)),
                provenance=signature_report(stored, rendition, seal, not_signed),
            ),
            path=None if inline else path,
        )
        return Reply(kind="result", body=report, data=data)


def _sha256(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
