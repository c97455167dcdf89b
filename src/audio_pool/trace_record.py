"""What a pool tells of one request for its trace, after it was answered.

Owns: TraceRecord and Mark. Must not know: spans (monitoring/spans.py), who writes and who reads them.

Times are of the pool's monotonic clock, in seconds; ``epoch_s`` added to one gives seconds since 1970.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

__all__ = ["Mark", "Part", "TraceRecord"]

Part = Literal["whole", "queue", "work", "cut"]
"""The whole stage; its wait for a worker; a worker's time for it; a stage that its request ended in."""


class Mark(NamedTuple):
    """A part of a job's way."""

    stage: str
    """Of the scheduler: lookup, embed, near, claim, recheck, generate, master, render, store."""
    part: Part
    start: float
    end: float
    worker: str = ""
    failed: bool = False


class TraceRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request."""

    traceparent: str
    epoch_s: float
    opened: float
    ended: float
    request_id: str
    status: str
    """Kind of the final reply."""
    engine: str
    """That was asked for."""
    error: str = ""
    """Its code."""
    model: str = ""
    cache: str = ""
    entry: int | None = None
    prompt: str = ""
    """Its beginning, where it may be told."""
    seed: int | None = None
    steps: int | None = None
    duration_s: float = 0.0
    candidates: int = 1
    worker: str = ""
    device: str = ""
    lookup_ms: float = 0.0
    generate_ms: float = 0.0
    score_ms: float = 0.0
    master_ms: float = 0.0
    """As the workers measured them; 0 for what was not made now."""
    marks: tuple[Mark, ...] = ()
