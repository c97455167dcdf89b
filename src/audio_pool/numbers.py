"""Numbers that operators watch: what a pool has counted and measured since it was started, as ``status`` tells it.

Owns: their structs, and the bounds of every histogram.
Must not know: how they are counted (pool/tally.py), who shows them (Prometheus, a terminal).
"""

from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct

from audio_pool.plain_mapping import PlainMapping

__all__ = [
    "BOUNDS_S",
    "DiskSpace",
    "DoorNumbers",
    "EngineLoad",
    "ErrorNote",
    "GpuMemory",
    "Histogram",
    "Measured",
    "PoolNumbers",
    "RequestCount",
    "TaskAtWork",
    "UnderWay",
]

BOUNDS_S = (0.000625, 0.00125, 0.0025, 0.005, *(0.01 * (1 << power) for power in range(14)))
"""Upper bounds in seconds: those of OpenTelemetry's GenAI conventions (0.01 .. 81.92), and four below them, among
which hits are told apart."""


class Histogram(PlainMapping, Struct, frozen=True, kw_only=True):
    """How many took how long."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    """By step: up to each of the bounds and above the one before; the last holds what is above all of them."""
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Estimate below which time so large a share of them lies: straight lines within the steps; None: there are
        none. What lies beyond the last bound counts as that."""
        rank, passed = share * self.count, 0
        for number, count in enumerate(self.counts):
            if count and passed + count >= rank:
                if number == len(BOUNDS_S):
                    break
                low = BOUNDS_S[number - 1] if number else 0.0
                return low + (BOUNDS_S[number] - low) * max(0.0, rank - passed) / count
            passed += count
        return BOUNDS_S[-1] if passed else None

    def since(self, before: Histogram) -> Histogram:
        """Return what has come since an earlier look; everything where the server was started meanwhile."""
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        if min(counts) < 0:
            return self
        return Histogram(counts=counts, sum_s=self.sum_s - before.sum_s)


class Measured:
    """A histogram that is being counted."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def told(self) -> Histogram:
        """Return it as it is now."""
        return Histogram(counts=tuple(self._counts), sum_s=self._sum_s)


class DoorNumbers(Struct, frozen=True, kw_only=True):
    """What a gateway has counted of the requests for sounds that came to it."""

    requests: dict[tuple[str, str, str, str], int] = {}
    """By dialect, engine, status, cache."""
    seconds: dict[str, Histogram] = {}
    """By dialect."""


class RequestCount(PlainMapping, Struct, frozen=True, kw_only=True):
    """Requests for sounds that were answered alike."""

    engine: str
    status: str
    """Kind of the final reply: result, error, cancelled, expired, busy."""
    cache: str
    """``cache_type`` of a result; "" for what is none."""
    count: int


class EngineLoad(PlainMapping, Struct, frozen=True, kw_only=True):
    """Sounds of one engine and priority that are being made, or wait for a worker."""

    engine: str
    priority: str
    running: int = 0
    waiting: int = 0


class TaskAtWork(PlainMapping, Struct, frozen=True, kw_only=True):
    """What one thread of a worker is at."""

    role: str
    """generate, master, embed, render, call."""
    engine: str = ""
    busy_s: float = 0.0
    sounds: int = 1
    """Made together."""
    stage: str = ""
    """As its progress names it; "": it has told of none."""
    fraction: float = 0.0
    """0..1 of that stage."""


class UnderWay(PlainMapping, Struct, frozen=True, kw_only=True):
    """One sound that is being made, or waits."""

    request_id: str
    """Of whoever asked first; ``cancel`` takes it."""
    prompt: str
    engine: str
    priority: str
    stage: str
    """waiting: for a worker; else what its worker tells of, or where the pool has it: lookup, generate, master."""
    fraction: float = 0.0
    """0..1 of that stage."""
    worker: str = ""
    """That has it in hand."""
    age_s: float = 0.0
    """Since it was asked for."""
    callers: int = 1
    """Who wait for it."""


class GpuMemory(PlainMapping, Struct, frozen=True, kw_only=True):
    """Graphics memory of one card, every process counted."""

    uuid: str
    name: str
    used_bytes: int
    free_bytes: int


class DiskSpace(PlainMapping, Struct, frozen=True, kw_only=True):
    """Of the file system that sounds are kept on."""

    free_bytes: int = 0
    total_bytes: int = 0
    """0: not known."""


class ErrorNote(PlainMapping, Struct, frozen=True, kw_only=True):
    """A request that came to an error."""

    at: float
    """Seconds since 1970."""
    code: str
    message: str = ""
    request_id: str = ""
    """Both only for those who may see what others asked for."""


class PoolNumbers(PlainMapping, Struct, frozen=True, kw_only=True):
    """Counted since ``started`` unless said otherwise."""

    started: float = 0.0
    """Seconds since 1970."""
    bounds_s: tuple[float, ...] = BOUNDS_S
    """Upper bounds of every histogram's steps."""
    requests: tuple[RequestCount, ...] = ()
    load: tuple[EngineLoad, ...] = ()
    """Now."""
    under_way: tuple[UnderWay, ...] = ()
    """The first of them: those being made, then those that wait, by when they were asked for. Only for those who may
    see what others asked for."""
    request_seconds: dict[str, Histogram] = {}
    """Whole requests for sounds, by ``cache_type``; "" for those that came to no sound."""
    stage_seconds: dict[str, Histogram] = {}
    """New sounds, by stage: lookup, queue, generate, score, master, store."""
    generate_seconds: dict[str, Histogram] = {}
    """New sounds, by engine."""
    audio_seconds: dict[str, float] = {}
    """Seconds of new sounds, by engine."""
    lookups: dict[str, int] = {}
    """Look-ups by kind: exact (the same words), semantic (the same meaning), join (the same recipe under way)."""
    hits: dict[str, int] = {}
    """Results that they found, likewise."""
    rerolls: dict[str, int] = {}
    """Further rounds of fresh seeds by reason: gate (all failed), quality (the best scored too low),
    similarity (it was too unlike the words)."""
    loop_rejects: int = 0
    """Candidates of loops that the quality gate refused."""
    model_loads: dict[str, int] = {}
    """Engines loaded by workers so far."""
    worker_bytes: dict[str, int] = {}
    """Memory of each worker's process, last seen."""
    gpus: tuple[GpuMemory, ...] = ()
    """Last seen."""
    disk: DiskSpace = DiskSpace()
    """Last seen."""
    errors: tuple[ErrorNote, ...] = ()
    """The last few, the newest first."""
