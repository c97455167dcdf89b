"""A finished sound's way to its place and to its caller: kept, linked, read. All of it on the clerk's thread.

Owns: where files go: the cache, or beside it what is not kept; the caller's own path; inline bytes.
Must not know: the schedule, sockets, workers.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_pool.cache.sound_cache import Hit, SoundCache
from audio_pool.errors import AudioPoolError, InvalidAudio, StorageError
from audio_pool.pool.clerk import Clerk
from audio_pool.pool.replies import Final
from audio_pool.pool.resolve import Settled
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import AudioRequest

__all__ = ["Delivery", "Kept"]

log = logging.getLogger(__name__)

_TIDY_EVERY = 256
"""Kept sounds between two looks at whether the indexes want compacting or saving."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A new sound in its place: the path that its caller gets, and what is known of it."""

    path: str
    metadata: SoundMetadata


class Delivery:
    """Orders errands from the clerk; each tells its outcome to the callback, on the clerk's thread."""

    def __init__(self, clerk: Clerk, cache: SoundCache | None, render_dir: Path, max_inline_bytes: int) -> None:
        self._clerk = clerk
        self._cache = cache
        self._render_dir = render_dir
        self._max_inline_bytes = max_inline_bytes
        self._keeps = 0

    # -- keeping -----------------------------------------------------------------------------------

    def keep(
        self,
        sound: FinishedSound,
        vectors: dict[str, Any],
        settled: Settled,
        request_id: str,
        done: Callable[[Kept | AudioPoolError], None],
    ) -> None:
        """Stores the sound (or, not accepted, puts it where results that are not kept go)."""

        def errand() -> None:
            started = time.monotonic()
            try:
                kept = self._kept(sound, vectors, settled)
                kept.metadata.setdefault("timings_ms", {})["store"] = round((time.monotonic() - started) * 1000, 3)
                done(kept)
            except (AudioPoolError, OSError) as exc:
                log.exception("keeping a sound failed, request %s", request_id)
                plain = StorageError(f"the sound could not be kept: {exc}")
                done(exc if isinstance(exc, AudioPoolError) else plain)
            self._keeps += 1
            if self._cache is not None and self._keeps % _TIDY_EVERY == 0:
                self._cache.tidy()

        self._clerk.order(errand)

    def _kept(self, sound: FinishedSound, vectors: dict[str, Any], settled: Settled) -> Kept:
        """A cache that fails costs the keeping, not the sound."""
        metadata = dict(sound.metadata)
        delivered = sound.delivered_path
        wanted = {**metadata, **sound.delivered} if delivered else metadata
        if self._cache is None:
            return Kept(self._moved_aside(delivered or sound.path), wanted)
        try:
            entry = self._cache.put(sound, vectors, replace=settled.request.force and settled.request.seed is not None)
            if entry.id is None:  # not accepted, or one too many of its prompt
                if delivered is not None:
                    _unlink([entry.path])
                return Kept(self._moved_aside(delivered or entry.path), wanted)
            if delivered is None:
                return Kept(entry.path, wanted)
            return Kept(self._cache.put_rendition(entry.id, settled.rendition, delivered), wanted)
        except StorageError as exc:
            log.error("the cache did not keep a sound: %s", exc)
            path = self._moved_aside(delivered or sound.path)
            return Kept(path, {**wanted, "warnings": [*wanted.get("warnings", []), f"not_kept: {exc}"]})

    def _moved_aside(self, path: str) -> str:
        self._render_dir.mkdir(parents=True, exist_ok=True)
        target = self._render_dir / Path(path).name
        if Path(path).exists():
            shutil.move(path, target)
        return str(target)

    def unlink(self, paths: list[str]) -> None:
        """Removes files that nobody wants any more."""
        self._clerk.order(lambda: _unlink(paths))

    # -- delivering --------------------------------------------------------------------------------

    def rendered(
        self, hit: Hit, settled: Settled, made: str, metadata: SoundMetadata, later: Callable[[Final], None]
    ) -> None:
        """Keeps a rendition that has just been made of a hit, and delivers it."""

        def errand() -> None:
            try:
                assert self._cache is not None and hit.entry.id is not None
                # there already where another caller joined this work
                path = self._cache.find_rendition(hit.entry.id, settled.rendition) or self._cache.put_rendition(
                    hit.entry.id, settled.rendition, made
                )
            except AudioPoolError:
                # removed meanwhile, or the disk is full: the rendition itself is still good
                path = self._moved_aside(made)
            later(self._deliver_now(settled.request, path, metadata))

        self._clerk.order(errand)

    def deliver(
        self, request: AudioRequest, path: str, metadata: SoundMetadata, later: Callable[[Final], None]
    ) -> Final | None:
        """The reply at once where only a path is wanted; else None, and ``later`` gets it."""
        if request.delivery == "path" and request.output_path is None:
            return Final(kind="result", path=path, metadata=metadata)
        self._clerk.order(lambda: later(self._deliver_now(request, path, metadata)))
        return None

    def _deliver_now(self, request: AudioRequest, path: str, metadata: SoundMetadata) -> Final:
        try:
            if request.output_path is not None:
                path = _linked(Path(path), Path(request.output_path))
            data = None
            if request.delivery == "inline":
                size = os.stat(path).st_size
                if size > self._max_inline_bytes:
                    raise InvalidAudio(
                        f"the file has {size:,} bytes, delivered inline are at most {self._max_inline_bytes:,}; "
                        "ask for delivery 'path' or a lossy format"
                    )
                data = Path(path).read_bytes()
            return Final(kind="result", path=path, metadata=metadata, data=data)
        except AudioPoolError as exc:
            return Final(kind="error", error=exc)
        except (OSError, ValueError) as exc:  # ValueError: a path with a zero byte in it
            return Final(kind="error", error=StorageError(f"the sound could not be delivered: {exc}"))


def _linked(source: Path, target: Path) -> str:
    """A hard link (or, across file systems, a copy) that no clear-out of the cache removes."""
    if not target.is_absolute():
        raise InvalidAudio(f"output_path: given {str(target)!r}, allowed is an absolute path")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return str(target)


def _unlink(paths: list[str]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)
