"""``[loudness.NAME]``: a profile of loudness by name.

Owns: the section's keys, their defaults and bounds.
Must not know: the built-in profiles, how loudness is measured.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from audio_pool.types import Lufs, Measure, PeakDb

__all__ = ["LoudnessProfile"]


class LoudnessProfile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[loudness.NAME]``: the level that a place of use wants."""

    target_lufs: Lufs = -23.0
    true_peak_dbfs: PeakDb = -2.0
    one_shots: Measure = "integrated"
    """What the target of a sound that does not loop is measured by: all of it, or its loudest three seconds."""
    mono: Literal["never", "one_shots", "always"] = "never"
    """Sounds that are placed in space are mono."""
    limiter: bool = False
