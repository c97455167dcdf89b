"""What a look-up found.

Owns: Lookup and Hit, and what an offered sound's metadata says of the offer.
Must not know: how it was found.
"""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct, structs

from audio_pool.cache.entry import Entry, Row
from audio_pool.cache.policy import Verdict
from audio_pool.reports import HitReport, HitRule, RefusedReport
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe

__all__ = ["Hit", "HitType", "Lookup", "figure", "offer", "refused"]

HitType = Literal["exact", "canonical", "semantic", "global", "looser"]


class Hit(Struct, frozen=True, kw_only=True):
    """A kept sound that answers a request, and why."""

    entry: Entry
    cache_type: HitType
    reason: str
    similarity: float | None
    """Cosine of the prompts; 1 for the same words, None where nothing was compared."""
    metadata: SoundMetadata
    """As stored, with the fields that say how it came to be offered."""
    warnings: tuple[str, ...] = ()
    """Added by this offer to the sound's own."""
    row: Row
    alone: bool = False
    """Nothing else could have been offered."""


class Lookup(Struct, frozen=True, kw_only=True):
    """The outcome of a look-up."""

    hit: Hit | None = None
    refused: tuple[str, ...] = ()
    """One reason for each entry whose words would do and whose sound does not fit them."""


def offer(
    entry: Entry,
    row: Row,
    recipe: Recipe,
    cache_type: HitType,
    rule: HitRule,
    reason: str,
    now: float,
    *,
    similarity: float | None = None,
    cosine: float | None = None,
    clap: float | None = None,
    nearest_refused: RefusedReport | None = None,
    alone: bool = False,
) -> Hit:
    """Return the hit that an entry is for a recipe.

    Args:
        similarity: where nothing was compared by meaning; otherwise it is ``cosine`` or, by the sound, ``clap``.
    """
    warnings: tuple[str, ...] = ()
    if not entry.metadata.natural_length and abs(row.duration_s - recipe.duration_s) > 0.5 / recipe.sample_rate:
        warnings = (
            f"duration_differs: {recipe.duration_s:.3f} s were asked for, this sound has {row.duration_s:.3f} s",
        )
    if similarity is None:
        similarity = clap if rule == "sound" or cosine is None else cosine
    metadata = structs.replace(
        entry.metadata,
        cached=True,
        cache_type=cache_type,
        hit_reason=reason,
        cache_similarity=similarity,
        cache_age_seconds=max(0.0, now - entry.created_at),
        matched_prompt=row.prompt,
        entry_id=row.id,
        hit=HitReport(
            entry_id=row.id,
            stage=cache_type,
            rule=rule,
            cosine=cosine,
            clap=clap,
            nearest_refused=nearest_refused,
        ),
        warnings=(*entry.metadata.warnings, *warnings),
    )
    return Hit(
        entry=entry,
        cache_type=cache_type,
        reason=reason,
        similarity=similarity,
        metadata=metadata,
        warnings=warnings,
        row=row,
        alone=alone,
    )


def refused(verdict: Verdict, row: Row) -> RefusedReport:
    """Return the report on an entry that is not offered."""
    return RefusedReport(
        entry_id=row.id,
        prompt=row.prompt,
        reason=verdict.reason,
        cosine=figure(verdict.cosine),
        clap=verdict.clap,
    )


def figure(cosine: float) -> float | None:
    """Return a verdict's cosine; None where there is none."""
    return None if math.isnan(cosine) else cosine
