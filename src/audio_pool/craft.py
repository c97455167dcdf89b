"""What is done to sounds that are given: looped, mastered, converted, mixed, put in sequence, checked.

Owns: each of these crafts as data, how the file is written, and the report of what came of it.
Must not know: how any of it is done (worker/crafting.py), where files come from.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.plain_mapping import PlainMapping
from audio_pool.reports import HighpassReport, LoopReport, QualityReport, SignatureReport
from audio_pool.types import (
    BitDepth,
    BitRate,
    Crossfade,
    Duration,
    Format,
    Highpass,
    LoopMethod,
    Lufs,
    Measure,
    Moment,
    PeakDb,
    SampleRate,
)

__all__ = [
    "MOST_SOUNDS",
    "Check",
    "Convert",
    "Craft",
    "CraftForm",
    "CraftReport",
    "GivenReport",
    "Loop",
    "Master",
    "Mix",
    "Sequence",
]

MOST_SOUNDS = 64
"""Given sounds of one mix or sequence."""
Decibels = Annotated[float, Meta(ge=-96.0, le=24.0)]


class _Craft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"):
    """Told apart by ``kind``."""


class Loop(_Craft, frozen=True, kw_only=True, tag="loop"):
    """One sound made to repeat without a seam."""

    duration_s: Duration | None = None
    """Of one turn; None: as much as the sound gives beside the crossfade."""
    crossfade_s: Crossfade = 1.5
    """The longest; no longer than a third of the sound."""
    method: LoopMethod = "auto"
    """auto: a sound that closes by itself stays as it is. native: it has to. crossfade: it is always crossfaded."""


class Master(_Craft, frozen=True, kw_only=True, tag="master"):
    """One sound filtered and brought to its level, as generated ones are."""

    highpass_hz: Highpass | None = None
    """None: as configured, lower where the sound lives down there; 0: no filter."""


class Convert(_Craft, frozen=True, kw_only=True, tag="convert"):
    """One sound written in another form, at its own level."""


class Mix(_Craft, frozen=True, kw_only=True, tag="mix"):
    """Several sounds at once."""

    levels_db: Annotated[tuple[Decibels, ...], Meta(max_length=MOST_SOUNDS)] = ()
    """Of each sound; empty: 0 for all."""
    offsets_s: Annotated[tuple[Moment, ...], Meta(max_length=MOST_SOUNDS)] = ()
    """When each begins; empty: all at once."""
    duration_s: Duration | None = None
    """Of the whole; None: until the last has ended; of a loop, the longest sound."""
    loop: bool = False
    """It repeats without a seam: loops go on in it, what is longer than a turn comes round."""


class Sequence(_Craft, frozen=True, kw_only=True, tag="sequence"):
    """Several sounds one after the other."""

    crossfade_s: Crossfade = 0.5
    """Between neighbours; no longer than half of the shorter of the two."""
    gap_s: Annotated[float, Meta(ge=0.0, le=60.0)] = 0.0
    """Silence between neighbours, instead of a crossfade."""
    loop: bool = False
    """The last leads into the first."""


class Check(_Craft, frozen=True, kw_only=True, tag="check"):
    """One sound judged: nothing is written."""

    loop: bool | None = None
    """Judge it as a loop; None: if its file says that it is one."""


Craft = Loop | Master | Convert | Mix | Sequence | Check


class CraftForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the file is written; None: as the first of the given ones, at its own level."""

    format: Format | None = None
    sample_rate: SampleRate | None = None
    """Hz; None: the highest of the given sounds, or the nearest that the format has."""
    bit_depth: BitDepth | None = None
    """WAV and FLAC only."""
    bit_rate: BitRate | None = None
    """Kilobits a second, MP3 and Opus only."""
    target_lufs: Lufs | None = None
    """None: ``master`` takes the configured one, all others keep the level."""
    true_peak_dbfs: PeakDb | None = None
    """None: ``master`` takes the configured one, mixes and sequences -1; all others keep theirs."""
    limiter: bool = False
    """Hold peaks down that the target would lift over the true peak."""
    measure: Measure = "integrated"
    """Which loudness of a one-shot the target is of."""
    mono: bool = False
    comment: Annotated[str, Meta(max_length=65_536)] | None = None
    """What the file says of itself; None: what the given ones said, and what was done to them."""


class GivenReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """A sound as it was given."""

    name: str
    """Its path, or ``sound 1`` for what was sent."""
    sha256: str
    """Of the file, in hex."""
    format: str
    sample_rate: int
    channels: int
    duration_s: float
    loop: bool = False
    """Its file says that it is one."""
    loudness_lufs: float | None = None
    """None: it is silent, or too short to have one."""
    true_peak_dbfs: float | None = None


class CraftReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """What became of given sounds."""

    craft: str
    given: tuple[GivenReport, ...]
    path: str | None = None
    """Of the file that was written; None: none was, or it is delivered as bytes."""
    format: str
    bit_depth: int | None = None
    """None where it is lossy."""
    sample_rate: int
    channels: int
    duration_s: float
    loudness_lufs: float | None = None
    true_peak_dbfs: float | None = None
    limited_db: float | UnsetType = UNSET
    """By how much a limiter took peaks down at the most."""
    is_loop: bool = False
    loop: LoopReport | None = None
    """How it closes; None: it is no loop."""
    highpass: HighpassReport | UnsetType = UNSET
    quality: QualityReport = QualityReport()
    bandwidth_hz: float | None = None
    """Highest frequency at which there is anything to hear."""
    provenance: SignatureReport | UnsetType = UNSET
    """Only where files are to be signed: whether this one is."""
    unsigned_sha256: str | UnsetType = UNSET
    """Of a signed file, in hex: of what it was before it was signed, which is the same whenever it is made again."""
    warnings: tuple[str, ...] = ()
    data: bytes | UnsetType = UNSET
    """The file itself, where it was asked for inline."""
