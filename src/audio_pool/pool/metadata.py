"""A result's metadata: what was stored of the sound, and how this caller came to it. Pure.

Owns: how SoundMetadata is begun for a new sound and completed for one caller.
Must not know: sockets, the scheduler, files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import UNSET, structs

from audio_pool.audio.file_rates import file_warnings, nearest_rate
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.pool.signing import signature_report
from audio_pool.reports import CacheType, PresentSettings, Timings
from audio_pool.results import RenditionReport, SoundMetadata
from audio_pool.types import LOUDNESS_LIMITED, Recipe, Rendition

__all__ = [
    "as_delivered", "has_sound_of_master", "is_master", "new_metadata", "present_settings", "rendition_report",
    "result_metadata",
]  # fmt: skip


def new_metadata(resolved: ResolvedRequest, request_id: str, seed: int, timestamp: float) -> SoundMetadata:
    """Return what is known of a sound before it is generated; worker and mastering add their parts.

    What was ignored of the request is not the sound's: the next caller may not have asked for it.
    """
    recipe, request = resolved.recipe, resolved.request
    return SoundMetadata(
        request_id=request_id,
        prompt=recipe.prompt,
        negative_prompt=recipe.negative_prompt,
        seed=seed,
        base_seed=seed,
        steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        voice=recipe.voice,
        options=dict(recipe.options),
        namespace=recipe.namespace,
        requested_duration_s=recipe.duration_s,
        candidates_requested=recipe.candidates,
        crossfade_s=recipe.crossfade_s,
        highpass_hz=recipe.highpass_hz,
        tau_accept_new=resolved.tau_accept_new,
        target_lufs=resolved.rendition.target_lufs,
        generation_timestamp=timestamp,
        labels=request.metadata,
        tags=tuple(request.tags),
        forced=request.force and request.priority != "background",
    )


def result_metadata(
    stored: SoundMetadata,
    resolved: ResolvedRequest,
    request_id: str,
    *,
    cache_type: CacheType | None,
    times_ms: Mapping[str, float],
    warnings: Iterable[str],
) -> SoundMetadata:
    """Return the metadata of one caller's result.

    Args:
        stored: of the sound; of a hit, which already says why it is one.
        cache_type: new_generation or joined for a new sound; None for a hit.
        times_ms: what this request took, by stage.
    """
    request, recipe = resolved.request, resolved.recipe
    times = {name: round(times_ms.get(name, 0.0), 3) for name in ("lookup", "queue", "total")}
    signature = signature_report(stored, resolved.rendition, resolved.seal, resolved.not_signed)
    every_warning = tuple(dict.fromkeys((*stored.warnings, *warnings)))
    if cache_type is not None:
        return structs.replace(
            stored,
            request_id=request_id,
            requested_duration_s=_requested(stored, recipe),
            cache_type=cache_type,
            timings_ms=structs.replace(stored.timings_ms, **times),
            warnings=every_warning,
            labels=request.metadata,
            tags=tuple(request.tags),
            presets=resolved.presets,
            provenance=signature,
        )
    return structs.replace(
        stored,
        provenance=signature,
        request_id=request_id,
        requested_duration_s=_requested(stored, recipe),
        requested_prompt=recipe.prompt,
        present_settings=present_settings(resolved),
        generation_timings_ms=stored.timings_ms,
        timings_ms=Timings(**times),  # a hit costs no generation time now
        warnings=every_warning,
        labels={**stored.labels, **request.metadata} if request.metadata else stored.labels,
        tags=tuple(dict.fromkeys((*stored.tags, *request.tags))) if request.tags else stored.tags,
        presets=resolved.presets,
    )


def _requested(stored: SoundMetadata, recipe: Recipe) -> float:
    """Return the seconds that were asked for; of a sound whose length cannot be, its own."""
    return stored.duration_s if stored.natural_length else recipe.duration_s


def present_settings(resolved: ResolvedRequest) -> PresentSettings:
    """Return what a new sound would be made with."""
    recipe = resolved.recipe
    return PresentSettings(
        engine=recipe.engine,
        steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        candidates=recipe.candidates,
        duration_s=recipe.duration_s,
        tau_use=resolved.query.tau_use,
        tau_prompt_sem=resolved.query.tau_prompt_sem,
        tau_accept_new=resolved.tau_accept_new,
    )


def is_master(stored: SoundMetadata, rendition: Rendition) -> bool:
    """Return True if the kept master itself is what was asked for: the sound, and what its file tells."""
    return (
        has_sound_of_master(stored, rendition)
        and not rendition.signed
        and rendition.inscription in (None, stored.inscription)
    )


def has_sound_of_master(stored: SoundMetadata, rendition: Rendition) -> bool:
    """Return True if the master has the very samples that were asked for."""
    return (
        rendition.format == "flac"
        and rendition.bit_depth == 24
        and rendition.sample_rate == stored.sample_rate
        and rendition.target_lufs == stored.target_lufs
        and not (rendition.limiter or rendition.mono or rendition.measure != "integrated")
    )


def rendition_report(stored: SoundMetadata, rendition: Rendition) -> RenditionReport | None:
    """Return what a kept rendition changes, computed from its master's: one constant gain and a codec."""
    if has_sound_of_master(stored, rendition):
        return None
    lufs, peak = stored.loudness_lufs, stored.true_peak_dbfs
    gain = 0.0
    if rendition.target_lufs is not None and lufs is not None and peak is not None:
        gain = min(rendition.target_lufs - lufs, rendition.true_peak_dbfs - peak)
    if rendition.limiter and rendition.target_lufs is not None and lufs is not None:
        limited = max(0.0, rendition.target_lufs - lufs - gain)  # about what it had to hold down
        gain = rendition.target_lufs - lufs
        peak = None if peak is None else min(peak, rendition.true_peak_dbfs - gain)
    else:
        limited = 0.0
    return RenditionReport(
        limited_db=round(limited, 2) if rendition.limiter else UNSET,
        channels=1 if rendition.mono else UNSET,
        format=rendition.format,
        sample_rate=nearest_rate(rendition.format, rendition.sample_rate),
        bit_depth=rendition.bit_depth if rendition.format in ("wav", "flac", "pcm") else UNSET,
        loudness_lufs=None if lufs is None else round(lufs + gain, 2),
        true_peak_dbfs=None if peak is None else round(peak + gain, 2),
        warnings=file_warnings(rendition.format, rendition.sample_rate, stored.is_loop),
    )


def as_delivered(stored: SoundMetadata, rendition: Rendition, report: RenditionReport | None) -> SoundMetadata:
    """Return a kept sound's metadata as they are for one rendition: its level, its target, and if it was reached."""
    told = stored if report is None else report.applied(stored)
    short = rendition.shortfall(told.loudness_lufs)
    if told.target_lufs == rendition.target_lufs and not short and not told.warnings:
        return told
    others = tuple(warning for warning in told.warnings if not warning.startswith(LOUDNESS_LIMITED))
    return structs.replace(told, target_lufs=rendition.target_lufs, warnings=(*others, *short))
