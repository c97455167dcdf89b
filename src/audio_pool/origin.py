"""Where a file comes from, as it is told to who asks.

Owns: what is remembered of a sound that was made here, what a file says of itself, the answer and what was changed.
Must not know: how it is found out, where it is kept.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from audio_pool.plain_mapping import PlainMapping
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe

__all__ = ["Changes", "Declared", "How", "Made", "Origin", "VerifyReport", "made_of"]

How = Literal["file", "samples", "manifest", "fingerprint", "tags", "nothing"]
"""By what a file was recognised: its bytes, its samples, a manifest that we signed, its likeness, its own words."""
Verdict = Literal["made_here", "says_so", "unknown"]


class Made(PlainMapping, Struct, frozen=True, kw_only=True):
    """What is remembered of a sound that was made here: no words of its prompt."""

    recipe_id: str
    made_at: float = 0.0
    """Seconds since 1970; 0: not known."""
    engine: str = ""
    model: str = ""
    model_revision: str = ""
    seed: int | None = None
    licence: str = ""
    sample_rate: int = 0
    channels: int = 0
    duration_s: float = 0.0
    is_loop: bool = False
    loudness_lufs: float | None = None
    true_peak_dbfs: float | None = None


class Origin(Made, frozen=True, kw_only=True):
    """A sound that was made here, as it is told."""

    entry: int | UnsetType = UNSET
    """Its number, where it is still kept and the asker may know."""
    prompt: str | UnsetType = UNSET
    """As ``entry``."""


class Declared(PlainMapping, Struct, frozen=True, kw_only=True):
    """What a file says of itself, which anybody may write into it."""

    made_by: str = ""
    """The software."""
    recipe_id: str = ""
    engine: str = ""
    model: str = ""
    licence: str = ""
    digital_source_type: str = ""
    aigc: bool = False
    """It carries the label of GB 45438-2025."""
    manifest: str = ""
    """State of its C2PA manifest: of its signature, and whether the samples are those that were signed; "": none."""
    manifest_by: str = ""
    """Who signed it."""


class Changes(PlainMapping, Struct, frozen=True, kw_only=True):
    """What is other than it was made; what is not named was not changed, or cannot be told."""

    compared_with: Literal["samples", "figures", "nothing"] = "nothing"
    """Of the kept sound, or what is remembered of it."""
    loudness_db: float | UnsetType = UNSET
    from_s: float | UnsetType = UNSET
    """Trimmed: what is left of it begins there..."""
    to_s: float | UnsetType = UNSET
    """... and ends there."""
    turns: float | UnsetType = UNSET
    """Of a loop: how many times it comes round."""
    rotated_s: float | UnsetType = UNSET
    """Of a loop: where in it the file begins."""
    within_s: float | UnsetType = UNSET
    """It is a part of something longer, from there on."""
    sample_rate: int | UnsetType = UNSET
    """Hz, where it is another than it was made at."""
    channels: int | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    """The lossy format that it is in."""
    bandwidth_hz: float | UnsetType = UNSET
    """What lies above is gone."""
    tone_db: float | UnsetType = UNSET
    """Filtered: greatest difference between its bands, after its loudness."""
    residual_db: float | UnsetType = UNSET
    """Power of what is not explained by the above, against the whole: mixed with something, or processed."""
    untagged: bool = False
    """It does not say any more what it is."""

    def told(self) -> list[str]:
        """Return each change in a few words."""
        told = []
        if isinstance(self.loudness_db, float):
            told.append(f"loudness ({self.loudness_db:+.1f} dB)")
        if isinstance(self.from_s, float) and isinstance(self.to_s, float):
            told.append(f"trimmed ({self.from_s:.2f}..{self.to_s:.2f} s are left)")
        if isinstance(self.turns, float):
            told.append(f"looped ({self.turns:.2f} turns)")
        if isinstance(self.rotated_s, float):
            told.append(f"begins elsewhere (at {self.rotated_s:.2f} s)")
        if isinstance(self.within_s, float):
            told.append(f"part of something longer (from {self.within_s:.2f} s)")
        if isinstance(self.sample_rate, int):
            told.append(f"resampled ({self.sample_rate:,} Hz)")
        if isinstance(self.channels, int):
            told.append("mixed to mono" if self.channels == 1 else f"{self.channels} channels")
        if isinstance(self.encoding, str):
            told.append(f"re-encoded ({self.encoding})")
        if isinstance(self.bandwidth_hz, float):
            told.append(f"nothing above {self.bandwidth_hz:,.0f} Hz")
        if isinstance(self.tone_db, float):
            told.append(f"filtered ({self.tone_db:.0f} dB between bands)")
        if isinstance(self.residual_db, float):
            told.append(f"mixed or processed ({self.residual_db:.0f} dB of something else)")
        if self.untagged:
            told.append("tags stripped")
        return told


class VerifyReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """Where a file comes from, as far as it can be told here."""

    name: str
    sha256: str
    """Of the file, in hex."""
    format: str
    sample_rate: int
    channels: int
    duration_s: float
    verdict: Verdict
    by: How
    certain: bool = False
    """Not a matter of likelihood."""
    origin: Origin | None = None
    changes: Changes = Changes()
    bit_error_rate: float | UnsetType = UNSET
    """Of the marks that both fingerprints have."""
    chromaprint: float | UnsetType = UNSET
    """Bit error rate by Chromaprint, where its library is installed and the sound long enough for it."""
    false_match: float | UnsetType = UNSET
    """Estimate of how likely chance alone gives such a likeness, among all that are registered."""
    declares: Declared = Declared()
    notes: tuple[str, ...] = ()


def made_of(recipe: Recipe, metadata: SoundMetadata, made_at: float) -> Made:
    """Return what is remembered of a sound."""
    return Made(
        recipe_id=recipe.identity(),
        made_at=made_at,
        engine=metadata.engine,
        model=metadata.model,
        model_revision=metadata.model_revision,
        seed=metadata.seed,
        licence=metadata.licence,
        sample_rate=metadata.sample_rate,
        channels=metadata.channels,
        duration_s=metadata.duration_s,
        is_loop=metadata.is_loop,
        loudness_lufs=metadata.loudness_lufs,
        true_peak_dbfs=metadata.true_peak_dbfs,
    )
