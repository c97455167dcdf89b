"""What the schedule knows of a caller's request (Ticket) and of the sound made for it (Work). Data only.

Owns: the stages a work goes through.
Must not know: what moves it from one to the next (schedule, dispatch).

    exact -> embed -> near -> (render | make -> finish -> keep) -> settled        errand -> settled
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from audio_pool.scheduler.events import Ask, Errand

__all__ = ["Stage", "Ticket", "Work"]

Stage = Literal["exact", "embed", "near", "render", "make", "finish", "keep", "errand", "settled"]


@dataclass(slots=True)
class Ticket:
    """One caller's request."""

    number: int
    work: int
    deadline: float | None
    events: bool
    size_bytes: int
    joined: bool


@dataclass(slots=True)
class Work:
    """One sound (or errand) being made, for one or more tickets."""

    number: int
    ask: Ask | None
    errand: Errand | None
    arrival: float
    stage: Stage
    tickets: list[int] = field(default_factory=list)
    priority: int = 1
    failures: int = 0
    """Times its worker died under it."""
    round: int = 0
    best: dict[str, Any] | None = None
    """The best outcome of earlier rounds that passed the gate."""
    tried: list[Any] = field(default_factory=list)
    """Candidates of all rounds, for the metadata."""
    outcome: dict[str, Any] | None = None
    """What a make job handed over, on its way to finish; or the hit on its way to render."""
    vectors: dict[str, Any] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    """Encoders whose vectors are still awaited."""
    embed_due: float | None = None
    jobs: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """job -> (worker, incarnation, attempt) of those in hand."""
    queued_at: float = 0.0
    times_ms: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
