"""What a pool answers when it is asked about itself: health, status, engines, cache, feedback, CLAP.

Owns: one report type per question.
Must not know: who asks (in this process, over ZMQ), how the answer is found.

Every report can be read like a mapping of plain values, as on the wire.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from audio_pool.engine_info import EngineInfo
from audio_pool.results import PlainMapping

__all__ = [
    "CacheStats",
    "Cancellation",
    "EngineReport",
    "Engines",
    "FeedbackNoted",
    "Health",
    "HealthState",
    "PoolStatus",
    "Verdict",
    "WorkerStatus",
]

HealthState = Literal["starting", "ready", "degraded", "draining"]
Verdict = Literal["good", "wrong", "bad_sound"]
"""What feedback can say of a result."""


class Health(PlainMapping, Struct, frozen=True, kw_only=True):
    """Whether a real job could run now."""

    state: HealthState
    reasons: tuple[str, ...] = ()
    engines: dict[str, str] = {}
    """Engine name -> ready, or the state of the worker that would host it."""


class WorkerStatus(PlainMapping, Struct, frozen=True, kw_only=True):
    """One worker process."""

    state: str
    incarnation: int
    """How often it has been started."""
    engines: tuple[str, ...] = ()
    roles: tuple[str, ...] = msgspec.field(default=(), name="duties")  # protocol v1's name
    device: str = ""
    tasks: int = msgspec.field(default=0, name="jobs")  # protocol v1's name
    """Sent to it and not done."""
    tasks_done: int = msgspec.field(default=0, name="jobs_done")  # protocol v1's name
    crashes: int = 0
    """In a row, without a finished task."""
    error: str | None = None


class PoolStatus(PlainMapping, Struct, frozen=True, kw_only=True):
    """What the pool is doing."""

    version: str
    health: HealthState
    requests: int
    """Taken in and not answered."""
    waiting: int
    """Jobs in the queue."""
    workers: dict[str, WorkerStatus]
    semantic: str
    """The encoders of look-ups by meaning, or "off" and why."""
    cache: str
    """The cache directory, or "off"."""
    answers: dict[str, int] = {}
    """Final replies by kind."""
    cache_types: dict[str, int] = {}
    replies: dict[str, int] = {}
    """Replies parked, dropped, or addressed to clients that have gone."""
    clients: dict[str, int] = {}
    """Messages refused, and feedback by verdict."""
    arena: dict[str, int] = {}


class EngineReport(PlainMapping, EngineInfo, frozen=True, kw_only=True):
    """An engine and whether it can be asked now."""

    state: str = "not hosted"
    """ready, or the state of the worker that hosts it."""


class Engines(PlainMapping, Struct, frozen=True, kw_only=True):
    """The engines of a pool, by name."""

    engines: tuple[EngineReport, ...] = ()


class CacheStats(PlainMapping, Struct, frozen=True, kw_only=True):
    """Figures about a whole cache. Sizes in MiB, times in seconds since 1970; None where there is no value."""

    total_items: int
    total_size_mb: float
    oldest_item: float | None = None
    newest_item: float | None = None
    average_duration: float | None = None
    """Seconds."""
    unique_prompts: int = 0
    average_clap_similarity: float | None = None
    missing_files: int = 0
    total_duration_s: float = 0.0
    renditions: int = 0
    engines: dict[str, int] = {}
    """Entries by engine."""
    encoders: dict[str, int] = {}
    """Vectors by the space that they are kept in."""
    renders: int = 0
    """Results that were delivered and not kept."""
    renders_size_mb: float = 0.0
    cache_dir: str = ""


class FeedbackNoted(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to feedback."""

    target: str
    noted: bool = True


class Cancellation(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to a cancel."""

    target: str
    cancelled: bool
    """False: no such request was in flight."""
