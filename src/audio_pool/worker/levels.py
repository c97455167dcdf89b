"""The level of a finished sound: what is measured, the one gain, the limiter where it was asked for.

Owns: how a Rendition's loudness is reached, and what is told of it.
Must not know: candidates, files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from msgspec import structs

from audio_pool.engines.base import Audio
from audio_pool.types import Rendition

__all__ = ["Level", "levelled", "measured", "of_master"]

_LIMITER_ROUNDS = 9
_ON_TARGET_LU = 0.1
_MOST_LIMITED_DB = 30.0


@dataclass(frozen=True, kw_only=True)
class Level:
    """What was measured: minus infinity where a sound is silent, or too short to have a loudness."""

    lufs: float
    peak_dbfs: float
    limited_db: float = 0.0
    """By how much a limiter took peaks down at the most."""

    @property
    def rounded_lufs(self) -> float | None:
        """None for what there is not: JSON has no infinity."""
        return round(self.lufs, 2) if self.lufs > -np.inf else None

    @property
    def rounded_peak_dbfs(self) -> float | None:
        """None for what there is not: JSON has no infinity."""
        return round(self.peak_dbfs, 2) if self.peak_dbfs > -np.inf else None


def of_master(rendition: Rendition) -> Rendition:
    """Return how the master is levelled: a limiter and a mix to mono could not be taken back."""
    return structs.replace(rendition, limiter=False, mono=False, measure="integrated", signed="")


def measured(audio: Audio, sample_rate: int, loop: bool) -> tuple[float, float]:
    """Return integrated loudness and true peak, each minus infinity where there is none."""
    from audio_pool.audio import loudness

    lufs = loudness.loudness_lufs(audio, sample_rate, circular=loop)
    return lufs, loudness.true_peak_dbfs(audio, sample_rate, circular=loop)


def levelled(
    audio: Audio, sample_rate: int, rendition: Rendition, loop: bool, known: tuple[float, float] | None = None
) -> tuple[Audio, Level]:
    """Return the sound at its level, as mono where the rendition says so, and what is then measured of it.

    Args:
        known: what ``measured`` found of the sound, where that is known.
    """
    from audio_pool.audio import limiter, loudness

    if rendition.mono and len(audio) > 1:
        audio, known = audio.mean(axis=0, keepdims=True, dtype=np.float32), None
    lufs, peak = known or measured(audio, sample_rate, loop)
    aimed = lufs
    if rendition.measure == "short_term" and not loop:
        aimed = loudness.short_term_lufs(audio, sample_rate)
    target, limit = rendition.target_lufs, rendition.true_peak_dbfs
    gain = loudness.gain_for(aimed, peak, target, limit)
    wanted = gain if target is None or aimed == -np.inf else target - aimed
    if not rendition.limiter or wanted <= gain + _ON_TARGET_LU:
        return audio * np.float32(10 ** (gain / 20)), Level(lufs=lufs + gain, peak_dbfs=peak + gain)
    most, slope = gain + _MOST_LIMITED_DB, 1.0
    before: tuple[float, float] | None = None
    for _ in range(_LIMITER_ROUNDS):
        out, deepest = limiter.limited(audio * np.float32(10 ** (wanted / 20)), sample_rate, limit, circular=loop)
        lufs, peak = measured(out, sample_rate, loop)
        reached = lufs
        if rendition.measure == "short_term" and not loop:
            reached = loudness.short_term_lufs(out, sample_rate)
        missing = (target or 0.0) - reached
        if abs(missing) <= _ON_TARGET_LU or wanted >= most:
            break
        # the harder it works, the less a decibel more is worth
        if before is not None and wanted > before[0]:
            slope = max(0.1, (reached - before[1]) / (wanted - before[0]))
        before = (wanted, reached)
        wanted = min(wanted + missing / slope, most)
    return out, Level(lufs=lufs, peak_dbfs=peak, limited_db=deepest)
