"""A sound that the cache keeps, handed out without a running pool: no worker, thread or socket.

Owns: which requests can be answered so, and the answer; which file a hit is.
Must not know: the command line, the scheduler.

For a program that asks once and ends, starting a pool would be most of the time a hit takes. What is found here is what
a pool would find first; everything else is left to one.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path

from msgspec import structs

from audio_pool.cache.lookup import Hit
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.config import Config
from audio_pool.errors import AudioPoolError, InvalidRequest, NotFound
from audio_pool.pool.bringing import absent_file
from audio_pool.pool.cache_limits import limits_of
from audio_pool.pool.copying import copy_file
from audio_pool.pool.kept_candidates import KEPT_ANSWERED, NOT_KEPT
from audio_pool.pool.metadata import as_delivered, is_master, rendition_report, result_metadata
from audio_pool.pool.plan import hosted_infos, workers_of
from audio_pool.pool.resolve import resolve
from audio_pool.pool.signing import signing_of
from audio_pool.presets import Preset
from audio_pool.results import AudioResult
from audio_pool.types import AudioRequest, Rendition

__all__ = ["file_of", "kept_sound"]

NO_CANDIDATES = f"{NOT_KEPT}: {KEPT_ANSWERED}"
_PATIENCE_S = 1.0
"""Where another process writes for longer, a pool waits, and says so."""


def kept_sound(config: Config, request: AudioRequest) -> AudioResult | None:
    """Return the result of a request whose very words, or words that say the same, are kept as they are asked for.

    Args:
        config: of the pool that would be asked.

    Returns:
        None: a pool is needed, to look further, to make the sound or to write it in another format.

    Raises:
        CallerError: as a pool would refuse it. StorageError, OSError: the cache or the output is in trouble.
    """
    started = time.monotonic()
    if not _may_be_kept(config, request):
        return None
    infos = hosted_infos(workers_of(config), config)
    signing = signing_of(config.provenance)
    # refused before anything is opened
    resolved = None if request.presets else resolve(request, config, infos, signing=signing)
    with contextlib.ExitStack() as rest:
        try:
            cache = SoundCache(
                config.cache_dir,
                create=False,
                max_per_prompt=config.cache.max_per_prompt,
                cap_strategy=config.cache.cap_strategy,
                limits=limits_of(config.cache),
                render_dir=config.render_dir,
                grace_s=config.cache.delivered_grace_s,
                patience_s=_PATIENCE_S,
            )
        except NotFound:
            return None
        rest.callback(cache.close)
        if resolved is None:
            resolved = resolve(request, config, infos, presets=_presets(config, cache, request), signing=signing)
        hit = cache.find_exact(resolved.recipe, resolved.query).hit
        path = None if hit is None else file_of(cache, hit, resolved.rendition)
        if hit is None or hit.entry.id is None or path is None:
            return None
        absent = absent_file(cache, hit, resolved.rendition)
        if absent is not None:
            try:
                cache.store.blobs.bring(absent.file, absent.size_bytes)
            except AudioPoolError:  # a pool makes it anew, and says why
                return None
        if not _is_sound(cache, hit, resolved.rendition):
            return None
        looked_ms = (time.monotonic() - started) * 1000
        if request.output_path is not None:
            path = copy_file(Path(path), Path(request.output_path))
        cache.usage.answered(hit.metadata.cache_type, hit.metadata.timings_ms.generate / 1000, hit.entry.id)
        stored = as_delivered(hit.metadata, resolved.rendition, rendition_report(hit.metadata, resolved.rendition))
        total_ms = (time.monotonic() - started) * 1000
        metadata = result_metadata(
            stored,
            resolved,
            f"kept-{secrets.token_hex(8)}",
            cache_type=None,
            times_ms={"lookup": looked_ms, "total": total_ms},
            warnings=(*resolved.warnings, *([NO_CANDIDATES] if request.keep_candidates else ())),
        )
        if request.keep_candidates:
            metadata = structs.replace(metadata, candidates_kept=())
    return AudioResult(request_id=metadata.request_id, path=path, metadata=metadata)


def _presets(config: Config, cache: SoundCache, request: AudioRequest) -> list[Preset]:
    """Return what the request names. Raises NotFound."""
    from audio_pool.pool.preset_book import PresetBook, presets_of  # the others wait for no preset to be read

    return PresetBook(presets_of(config), lambda: cache.store.presets).named(request.presets)


def _is_sound(cache: SoundCache, hit: Hit, rendition: Rendition) -> bool:
    """Return False where the hit's files are not what was stored: read now, as nobody is there to do it behind."""
    if not cache.store.read_only:
        cache.tend()
    assert hit.entry.id is not None
    return cache.has(hit.entry.id, hit.entry.path) and file_of(cache, hit, rendition) is not None


def _may_be_kept(config: Config, request: AudioRequest) -> bool:
    if request.output_path is not None and not request.output_path.startswith("/"):
        raise InvalidRequest(f"output_path: given {request.output_path!r}, allowed is an absolute path")
    return (
        config.cache.enabled
        and not (request.force or request.durable or request.shuffle or request.prefetch)
        and request.init_audio is None
        and request.delivery == "path"
        and not (request.engine or config.defaults.engine).startswith("kind:")  # the first that is ready
        and not any(worker.python for worker in config.workers)  # what another interpreter hosts, only it can say
        and not config.policy.commercial_only  # a pool that hosts what is not allowed does not start
    )


def file_of(cache: SoundCache, hit: Hit, rendition: Rendition) -> str | None:
    """Return the hit's file as asked for, or None where it must be made first."""
    assert hit.entry.id is not None
    if is_master(hit.metadata, rendition):
        return hit.entry.path
    return cache.find_rendition(hit.entry.id, rendition)
