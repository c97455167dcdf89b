"""Why a request would hit or miss: the report that answers ``explain``.

Owns: Explanation and its parts.
Must not know: what counts as a hit.
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.plain_mapping import PlainMapping
from audio_pool.reports import HitRule, PresentSettings

__all__ = ["ExplainedEntry", "Explanation", "Making"]


class ExplainedEntry(PlainMapping, Struct, frozen=True, kw_only=True):
    """One kept sound that would be offered or came near, and the verdict on it."""

    id: int
    prompt: str
    accepted: bool
    stage: str
    """exact, canonical, semantic, global; judged where somebody denied it; settings where the settings do not fit."""
    reason: str
    rule: HitRule | None = None
    """The rule that accepted it."""
    cosine: float | None = None
    clap: float | None = None


class Making(PlainMapping, Struct, frozen=True, kw_only=True):
    """What a kept sound was made with."""

    engine: str
    steps: int | None
    guidance_scale: float | None
    candidates: int
    duration_s: float
    tau_accept_new: float | None


class Explanation(PlainMapping, Struct, frozen=True, kw_only=True):
    """Why a request would hit or miss."""

    hit: bool
    encoder: str = ""
    """Space of the vectors that prompts were compared by; "": by words alone."""
    entries: tuple[ExplainedEntry, ...] = ()
    """Best first: the one that would be offered comes before all others."""
    made: Making | None = None
    """What that one was made with."""
    present_settings: PresentSettings | None = None
    """What a new sound would be made with."""
    warnings: tuple[str, ...] = ()
