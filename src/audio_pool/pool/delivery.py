"""A finished sound's way to its place and to its caller: stored, copied, read. All of it on the writer's thread.

Owns: where files go: the cache, or beside it what is not kept; the caller's own path; inline bytes.
Must not know: the scheduler, sockets, workers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import structs

from audio_pool.audio import stored_samples
from audio_pool.cache.bringing import bring_entry
from audio_pool.cache.carrying import READ_ONLY
from audio_pool.cache.keeper import CacheKeeper
from audio_pool.cache.selection import Standing
from audio_pool.cache.store import Also
from audio_pool.errors import AudioPoolError, Busy, Cancelled, InvalidAudio, NotFound, PoolClosed, StorageError
from audio_pool.pool.copying import copy_file
from audio_pool.pool.replies import Reply
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.pool.spill import Spill
from audio_pool.pool.turns import Turns
from audio_pool.results import Failure, FinishedSound, RawSamples, SoundMetadata
from audio_pool.roots import ANYWHERE, Roots
from audio_pool.scheduler.answers import HitFile, StoredSound
from audio_pool.types import AudioRequest

__all__ = ["Delivery", "copy_file"]

log = logging.getLogger(__name__)

_ASIDE_KNOWN = 256
Vector = npt.NDArray[np.float32]


class Delivery:
    """Orders work from the writer; each order calls back on the writer's thread."""

    def __init__(
        self, writer: Turns, cache: CacheKeeper | None, render_dir: Path, spill: Spill, max_inline_bytes: int
    ) -> None:
        """
        Args:
            writer: runs one thing at a time: who has many files copied or sent waits behind itself.
            render_dir: where results that are not kept go.
            spill: where they go when that takes none.
        """
        self._writer = writer
        self._cache = cache
        self._render_dir = render_dir
        self._spill = spill
        self._max_inline_bytes = max_inline_bytes
        self._aside: dict[str, str] = {}
        """Where files went that were moved aside lately: a rendition is delivered to everybody who joined."""

    # -- storing -----------------------------------------------------------------------------------

    def store(
        self,
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
        resolved: ResolvedRequest,
        request_id: str,
        done: Callable[[StoredSound | AudioPoolError], None],
        also: Also | None = None,
    ) -> None:
        """Store the sound, or put it where results that are not kept go.

        Args:
            also: written in the transaction that keeps it; may raise Cancelled where nobody is to have it.
        """

        def work() -> None:
            started = time.monotonic()
            try:
                stored = self._store(sound, vectors, resolved, also)
                elapsed_ms = round((time.monotonic() - started) * 1000, 3)
                timings = structs.replace(stored.metadata.timings_ms, store=elapsed_ms)
                done(structs.replace(stored, metadata=structs.replace(stored.metadata, timings_ms=timings)))
            except Exception as exc:  # whatever it is: the request must not be left without its answer
                if isinstance(exc, Cancelled):
                    log.info("a sound is dropped, request %s: %s", request_id, exc)
                else:
                    log.exception("storing a sound failed, request %s", request_id)
                with contextlib.suppress(OSError):
                    _unlink([path for path in (sound.path, sound.delivered_path) if path])
                done(exc if isinstance(exc, AudioPoolError) else StorageError(f"the sound could not be stored: {exc}"))
            if self._cache is not None:
                self._cache.current.eviction.relieve()

        keeps = self._cache is not None and self._cache.takes_sounds and resolved.request.store and sound.accepted
        paths = [path for path in (sound.path, sound.delivered_path) if path]
        self._ahead(paths if keeps else [], lambda: self._order("", work, done))

    def _ahead(self, paths: list[str], then: Callable[[], None]) -> None:
        """Have done beside the writer what takes long of keeping these files; then go on."""
        if self._cache is None or not paths:
            then()
        else:
            self._cache.current.store.blobs.send_ahead(paths, then)

    def _store(
        self, sound: FinishedSound, vectors: Mapping[str, Vector], resolved: ResolvedRequest, also: Also | None
    ) -> StoredSound:
        """Store in the cache; a cache that fails loses the entry, not the sound."""
        wanted = sound.metadata if sound.delivered is None else sound.delivered.applied(sound.metadata)
        if self._cache is None or not resolved.request.store:
            return StoredSound(path=self._set_aside(sound), metadata=wanted)
        spare = self._spare_of(sound)
        try:
            request = resolved.request
            replace = request.force and request.seed is not None
            standing = _standing(request, sound.metadata)
            entry = self._cache.put(sound, vectors, replace=replace, standing=standing, also=also)
            if entry.id is None:  # not accepted, or one too many of its prompt
                aside = structs.replace(sound, path=entry.path)
                return StoredSound(path=self._set_aside(aside), metadata=wanted)
            wanted = structs.replace(wanted, entry_id=entry.id)
            bring_entry(self._cache.current.store, entry.id)  # another server may have kept the same one meanwhile
            path = entry.path
            if sound.delivered_path is not None and request.stream:
                # its level was decided by its first seconds: who asks for this rendition later gets it as it should be
                path = self._for_a_while(sound.delivered_path)
            elif sound.delivered_path is not None:
                path = self._kept_rendition(entry.id, resolved, sound.delivered_path)
            return StoredSound(path=path, metadata=wanted)
        except (NotFound, StorageError) as exc:
            log.info("the cache did not keep a sound: %s", exc)
            told = structs.replace(wanted, entry_id=None, warnings=(*wanted.warnings, f"not_kept: {exc}"))
            if spare is not None and not os.path.exists(sound.path):
                sound = structs.replace(sound, path=spare)
            return StoredSound(path=self._set_aside(sound), metadata=told)
        finally:
            if spare is not None:
                _unlink([spare])

    def _spare_of(self, sound: FinishedSound) -> str | None:
        """Return another name of a sound's file, where the cache may keep another server's in its stead.

        That one's may not be here yet, and not to be had when it is wanted.
        """
        assert self._cache is not None
        if sound.delivered_path is not None or not self._cache.current.store.blobs.remote:
            return None
        path = Path(sound.path)
        spare = path.with_name(f"spare-{path.name}")
        try:
            os.link(path, spare)
        except OSError:  # a file system without such names, say: it is most likely not needed
            return None
        return str(spare)

    def _set_aside(self, sound: FinishedSound) -> str:
        """Move what the caller asked for to ``render_dir``; remove the master beside it."""
        if sound.delivered_path is None:
            return self._moved_aside(sound.path)
        _unlink([sound.path])
        return self._moved_aside(sound.delivered_path)

    def _kept_rendition(self, entry: int, resolved: ResolvedRequest, path: str) -> str:
        """Keep what the caller asked for beside its master; deliver it all the same where only the master was kept."""
        assert self._cache is not None
        try:
            return self._cache.current.put_rendition(entry, resolved.rendition, path)
        except StorageError as exc:
            log.info("the cache did not keep a rendition: %s", exc)
            return self._moved_aside(path)

    def _moved_aside(self, path: str) -> str:
        """Move a file to where results that are not kept go, or to memory where that takes none.

        Raises:
            StorageError: nothing takes it.
        """
        if path not in self._aside:
            while len(self._aside) >= _ASIDE_KNOWN:
                del self._aside[next(iter(self._aside))]
            with contextlib.suppress(OSError):  # it may have been moved already, and others may get its path, too
                os.chmod(path, READ_ONLY)
            self._aside[path] = self._to_renders(Path(path)) or self._spill.take(Path(path))
        return self._aside[path]

    def _for_a_while(self, path: str) -> str:
        """Move a file aside that goes when the grace for delivered files is over: what it is made of is kept."""
        assert self._cache is not None
        aside = Path(self._moved_aside(path))
        if aside.parent == self._render_dir:
            store = self._cache.current.store
            root = Path(store.blobs.location)
            store.leaving.let_go([str(aside.relative_to(root) if aside.is_relative_to(root) else aside)])
        return str(aside)

    def _to_renders(self, path: Path) -> str | None:
        # Its parent is the cache's directory, mostly: where that has been moved away, another one in its place
        # would keep it from coming back.
        target = self._render_dir / path.name
        try:
            self._render_dir.mkdir(exist_ok=True)
            shutil.move(path, target)
        except OSError as exc:
            log.info("%s takes no sounds: %s", self._render_dir, exc)
            if path.exists():
                with contextlib.suppress(OSError):
                    target.unlink()
            return None
        return str(target)

    def unlink(self, paths: list[str]) -> None:
        """Remove files that nobody wants any more."""
        self._order("", lambda: _unlink(paths), lambda _: None)

    # -- delivering --------------------------------------------------------------------------------

    def deliver_rendered(
        self,
        hit: HitFile,
        resolved: ResolvedRequest,
        made: str,
        metadata: SoundMetadata,
        later: Callable[[Reply], None],
        *,
        roots: Roots = ANYWHERE,
        client: str = "",
    ) -> None:
        """Keep a rendition that has just been made of a hit, and deliver it."""

        def work() -> None:
            try:
                path = self._keep_rendition(hit, resolved, made)
            except Exception as exc:
                later(_failed(exc))
            else:
                later(self._deliver_now(resolved.request, path, metadata, roots))

        def order() -> None:  # without bounds, or the rendition would be left lying
            self._order(client, work, _as_reply(later), bounded=False)

        self._ahead([made] if self._cache is not None and self._cache.takes_sounds else [], order)

    def keep_rendition(self, hit: HitFile, resolved: ResolvedRequest, made: str) -> None:
        """Keep a rendition that has just been made of a hit, for who asks for it next."""

        def work() -> None:
            self._keep_rendition(hit, resolved, made)

        self._order("", work, lambda _: None, bounded=False)

    def _keep_rendition(self, hit: HitFile, resolved: ResolvedRequest, made: str) -> str:
        assert self._cache is not None
        cache = self._cache.current
        try:
            if self._cache.takes_sounds and cache.has(hit.entry, hit.master):
                # there already where another caller joined this job
                kept = cache.kept_rendition(hit.entry, resolved.rendition)
                if kept is None:
                    return cache.put_rendition(hit.entry, resolved.rendition, made)
                cache.store.blobs.bring(kept.file, kept.size_bytes)
                return cache.store.blobs.path_of(kept.file)
        except AudioPoolError as exc:  # removed meanwhile, or the disk is full: the rendition itself is still good
            log.info("the cache did not keep a rendition: %s", exc)
        return self._moved_aside(made)

    def deliver(
        self,
        request: AudioRequest,
        path: str,
        metadata: SoundMetadata,
        later: Callable[[Reply], None],
        *,
        roots: Roots = ANYWHERE,
        client: str = "",
        known: str = "",
    ) -> Reply | None:
        """Return the reply at once where only a path is wanted; else None, and ``later`` gets it.

        Args:
            roots: where the caller may have it put.
            client: whose turn it is delivered in.
            known: a file that the caller has already; files are never changed.
        """
        if request.output_path is None and (request.delivery == "path" or path == known):
            return Reply(kind="result", path=path, metadata=metadata)
        self._order(client, lambda: later(self._deliver_now(request, path, metadata, roots)), _as_reply(later))
        return None

    def _deliver_now(self, request: AudioRequest, path: str, metadata: SoundMetadata, roots: Roots) -> Reply:
        try:
            if request.output_path is not None:
                path = copy_file(Path(path), Path(request.output_path), roots)
            if request.delivery == "path":
                return Reply(kind="result", path=path, metadata=metadata)
            size = os.stat(path).st_size
            if size > self._max_inline_bytes:
                raise InvalidAudio(
                    f"the file has {size:,} bytes, delivered inline are at most {self._max_inline_bytes:,}; "
                    f"ask for delivery 'path' or {'a shorter sound' if request.delivery == 'raw' else 'a lossy format'}"
                )
            if request.delivery == "raw":
                samples, data = _samples_of(Path(path))
                return Reply(kind="result", path=path, metadata=metadata, data=data, samples=samples)
            return Reply(kind="result", path=path, metadata=metadata, data=Path(path).read_bytes())
        except Exception as exc:
            return _failed(exc)

    def _order(
        self, client: str, work: Callable[[], None], failed: Callable[[AudioPoolError], None], *, bounded: bool = True
    ) -> None:
        """Have work done by the writer.

        Args:
            client: whose turn it waits for.
            failed: called where the work ended in whatever way without having called back, or is not taken: nobody
                may be left without an answer. A second answer is harmless.
        """
        try:
            self._writer.submit(client, lambda: _answered(work, failed), bounded=bounded)
        except Busy as exc:
            failed(exc)
        except RuntimeError:  # the writer takes nothing any more
            failed(PoolClosed("the pool has stopped"))


def _samples_of(path: Path) -> tuple[RawSamples, bytes]:
    """Return the samples of a WAV of 32-bit floats, as they lie in it."""
    stored = stored_samples.opened(path, 0)
    try:
        told = RawSamples(frames=stored.frames, channels=stored.channels, sample_rate=stored.sample_rate)
        return told, stored.read(0, stored.frames)
    finally:
        stored.close()


def _standing(request: AudioRequest, made: SoundMetadata) -> Standing:
    """Return what a new sound is to those of its words and settings: what is made ahead of time is one more."""
    if request.replace:
        return "instead"
    return "preferred" if made.forced else "variant"


def _failed(exc: Exception) -> Reply:
    """Return the reply for a sound that is there and cannot be delivered."""
    if isinstance(exc, AudioPoolError):
        return Reply(kind="error", failure=Failure.of(exc))
    failure = Failure.of(StorageError(f"the sound could not be delivered: {exc}"))
    if isinstance(exc, OSError | ValueError):  # ValueError: a path with a zero byte in it
        # the caller named the place: the same request fails again
        return Reply(kind="error", failure=structs.replace(failure, retryable=_may_pass(exc)))
    log.error("delivering a sound failed", exc_info=exc)
    return Reply(kind="error", failure=failure)


def _answered(work: Callable[[], None], failed: Callable[[AudioPoolError], None]) -> None:
    try:
        work()
    except BaseException as exc:
        log.exception("an order to the writer failed")
        failed(AudioPoolError(f"the sound could not be kept or delivered: {type(exc).__name__}; the log says more"))


def _as_reply(later: Callable[[Reply], None]) -> Callable[[AudioPoolError], None]:
    return lambda error: later(
        Reply(kind="busy" if isinstance(error, Busy) else "error", failure=Failure.of(error))
    )


def _may_pass(exc: Exception) -> bool:
    """Return True for an error that may be gone the next time: a full disk, not an impossible path."""
    import errno

    return isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EMFILE)


def _unlink(paths: list[str]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)
