"""The parts of a sound's metadata: how it was judged, closed, sent, timed, and why it is a hit.

Owns: each of these reports, as data.
Must not know: who makes a report; the whole, which is ``results.py: SoundMetadata``.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from audio_pool.plain_mapping import PlainMapping

__all__ = [
    "CacheType",
    "CandidateReport",
    "CandidateVerdict",
    "ChoiceReport",
    "HighpassReport",
    "HighpassWhy",
    "HitReport",
    "HitRule",
    "KeptCandidate",
    "LoopReport",
    "PresentSettings",
    "PresetType",
    "PresetUse",
    "QualityReport",
    "RefusedReport",
    "Rung",
    "SignatureReport",
    "StreamReport",
    "Timings",
    "WorkerReport",
]

CacheType = Literal["new_generation", "exact", "canonical", "semantic", "global", "joined", "looser"]
Rung = Literal["exact", "near", "made", "looser", "built_in"]
"""How an answer came about that had to be there in time, the best first: kept, near by the usual rules, made as it was
asked for; a looser match, a sound of the built-in engine."""
PresetType = Literal["prompt", "generation_parameters"]
CandidateVerdict = Literal["chosen", "not_chosen", "best_of_rejected", "failed_gate", "not_judged"]


class QualityReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """The quality gate's judgement."""

    score: float = 0.0
    """0..100."""
    issues: tuple[str, ...] = ()


HighpassWhy = Literal["configured", "asked", "engine", "words", "spectrum", "off"]


class HighpassReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """The high-pass as it was applied."""

    hz: float
    """Cut-off; 0: none."""
    why: HighpassWhy
    """What decided it: the configuration, the request, the engine, the prompt's words, the sound's own spectrum."""


class LoopReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """How well a loop closes."""

    seam_score: float
    """0..100."""
    crossfade_s: float = 0.0
    """Seconds; 0 where the engine made the loop natively."""
    method: Literal["native", "crossfade"] | UnsetType = UNSET
    """How it closes; not told of sounds kept by earlier versions, and of what came from elsewhere."""


class StreamReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """How a sound was sent while it was made: what could not be known then was decided by its first seconds."""

    gain_db: float
    """The one gain of the whole sound."""
    gain_from_s: float
    """Seconds at its beginning that the gain was taken from."""
    limited_db: float = 0.0
    """By how much the look-ahead limiter took later peaks down at the most."""
    pieces: Literal["engine", "whole"] = "whole"
    """The engine gave it piece by piece, or all at once: then the first chunk left when it was generated."""


class CandidateReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """One candidate of any round, chosen or not."""

    seed: int
    score: float | None = None
    """CLAP similarity where there is a scorer, else the quality score; None where it was not judged."""
    quality: QualityReport | None = None
    clap_similarity: float | None = None
    verdict: CandidateVerdict = "not_chosen"


class SignatureReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """Whether a result's file is signed by C2PA, and by whom."""

    signed: bool = False
    manifest: str = ""
    """Its label, ``urn:c2pa:...``; "": there is none."""
    issuer: str = ""
    """Organisation that the certificate names."""
    certificate: str = ""
    """First digits of its SHA-256, in hex."""
    why: str = ""
    """Why it is not signed."""


class KeptCandidate(PlainMapping, Struct, frozen=True, kw_only=True):
    """A candidate that was not chosen and can be heard for a while: finished as the one that was."""

    number: int
    """Among all ``candidates`` of the sound, from 1."""
    seed: int
    """Asked for with ``candidates`` 1 it gives this sound again."""
    verdict: CandidateVerdict = "not_chosen"
    quality: QualityReport = QualityReport()
    clap_similarity: float | None = None
    duration_s: float = 0.0
    loudness_lufs: float | None = None
    true_peak_dbfs: float | None = None
    loop: LoopReport | None = None
    format: str = ""
    size_bytes: int = 0
    path: str | None = None
    """Of the pool's own file; None: it is not told."""
    url: str | UnsetType = UNSET
    """Over HTTP: where its bytes are."""
    expires_at: float = 0.0
    """Seconds since 1970; then it is gone, or sooner where others need the room."""


class ChoiceReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """Somebody chose the sound among its candidates, in place of the one that the pool had chosen."""

    by: str
    """Who: a key's name, a user, or who the program says."""
    at: float
    """Seconds since 1970."""
    request_id: str
    """Of the request that the candidates were made for."""
    instead_of: int | None = None
    """Seed of the sound that was kept before; None: none was."""


class WorkerReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """Which worker made the sound, and on what."""

    id: str = ""
    device: str = "cpu"
    peak_memory_bytes: int | UnsetType = UNSET
    """The most that the worker held of its GPU's memory, or of its logical device's, while it generated it."""


class Timings(PlainMapping, Struct, frozen=True, kw_only=True):
    """Milliseconds spent in each stage."""

    lookup: float = 0.0
    queue: float = 0.0
    generate: float = 0.0
    score: float = 0.0
    master: float = 0.0
    store: float = 0.0
    total: float = 0.0


HitRule = Literal["recipe", "text", "canonical", "confirmed", "words", "cosine", "sound", "like"]


class RefusedReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """A kept sound that came near and was not offered."""

    entry_id: int
    prompt: str
    reason: str
    cosine: float | None = None
    clap: float | None = None


class HitReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """How a kept sound came to answer a request."""

    entry_id: int
    stage: CacheType
    rule: HitRule
    cosine: float | None = None
    """Of the words; None where they were not compared by their meaning."""
    clap: float | None = None
    """CLAP(words, sound)."""
    nearest_refused: RefusedReport | None = None
    """Only where the look-up by meaning ran."""


class PresentSettings(PlainMapping, Struct, frozen=True, kw_only=True):
    """What the same request would be made with now, were there no hit."""

    engine: str
    steps: int | None
    guidance_scale: float | None
    candidates: int
    duration_s: float
    tau_use: float
    tau_prompt_sem: float
    tau_accept_new: float | None


class PresetUse(PlainMapping, Struct, frozen=True, kw_only=True):
    """What became of a preset in one request."""

    id: str
    type: PresetType
    priority: int
    revision: str
    """Of what it said then."""
    contributed: dict[str, Any] = {}  # opaque: words by where they stand, values by their field
    left_out: dict[str, str] = {}
    """What of it did not count, and why."""
