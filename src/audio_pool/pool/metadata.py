"""A reply's metadata: what was stored of the sound, and how this caller came to it. Pure.

Owns: the flat mapping that every result carries (docs/architecture.md lists its keys).
Must not know: sockets, the schedule, files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audio_pool.pool.resolve import Settled
from audio_pool.results import SoundMetadata
from audio_pool.types import Rendition

__all__ = ["is_master", "new_metadata", "rendered_metadata", "told"]

_NEW = {
    "cached": False,
    "hit_reason": None,
    "cache_similarity": None,
    "cache_age_seconds": None,
    "matched_prompt": None,
}


def new_metadata(settled: Settled, request_id: str, seed: int, timestamp: float) -> SoundMetadata:
    """What is known of a sound before it is made; engine and mastering add their parts."""
    recipe = settled.recipe
    return {
        "request_id": request_id,
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "seed": seed,
        "base_seed": seed,
        "steps": recipe.steps,
        "guidance_scale": recipe.guidance_scale,
        "voice": recipe.voice,
        "namespace": recipe.namespace,
        "requested_duration_s": recipe.duration_s,
        "tau_accept_new": settled.tau_accept_new,
        "clap_similarity": None,
        "target_lufs": settled.rendition.target_lufs,
        "generation_timestamp": timestamp,
        "warnings": list(settled.warnings),
    }


def told(
    stored: Mapping[str, object],
    settled: Settled,
    request_id: str,
    *,
    cache_type: str,
    times_ms: Mapping[str, float],
    warnings: Iterable[str],
) -> SoundMetadata:
    """The metadata of one caller's result.

    Args:
        stored: of the sound (or of the hit, which says already why it is one).
        cache_type: ``new_generation`` or ``joined``; "" leaves what the hit says.
    """
    metadata: SoundMetadata = {**stored, "request_id": request_id, "requested_duration_s": settled.recipe.duration_s}
    if cache_type:
        metadata |= {**_NEW, "cache_type": cache_type}
    else:
        metadata["requested_prompt"] = settled.recipe.prompt
    made = stored.get("timings_ms")
    # a hit was made in no time: how long it once took stands under generation_timings_ms
    timings = dict(made) if cache_type and isinstance(made, Mapping) else {}
    if not cache_type:
        metadata["generation_timings_ms"] = made
    metadata["timings_ms"] = {
        **dict.fromkeys(("lookup", "queue", "generate", "score", "master", "store", "total"), 0.0),
        **timings,
        **{name: round(value, 3) for name, value in times_ms.items()},
    }
    known = stored.get("warnings")
    metadata["warnings"] = list(dict.fromkeys([*(known if isinstance(known, list) else []), *warnings]))
    metadata["labels"] = dict(settled.request.metadata)
    return metadata


def is_master(stored: SoundMetadata, rendition: Rendition) -> bool:
    """Whether the kept master itself is what was asked for."""
    return (
        rendition.format == "flac"
        and rendition.bit_depth == 24
        and rendition.sample_rate == stored.get("sample_rate")
        and rendition.target_lufs == stored.get("target_lufs")
    )


def rendered_metadata(stored: SoundMetadata, rendition: Rendition) -> SoundMetadata:
    """The keys that a kept rendition changes, reckoned from its master's: one constant gain and a codec."""
    if is_master(stored, rendition):
        return {}
    changed: SoundMetadata = {"format": rendition.format, "sample_rate": rendition.sample_rate}
    if rendition.format in ("wav", "flac"):
        changed["bit_depth"] = rendition.bit_depth
    lufs, peak = stored.get("loudness_lufs"), stored.get("true_peak_dbfs")
    if rendition.target_lufs is not None and isinstance(lufs, float) and isinstance(peak, float):
        gain = min(rendition.target_lufs - lufs, rendition.true_peak_dbfs - peak)
        changed |= {"loudness_lufs": round(lufs + gain, 2), "true_peak_dbfs": round(peak + gain, 2)}
    return changed
