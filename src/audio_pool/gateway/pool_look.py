"""What an operator sees of a pool at one time: who works at what, what waits, how fast it is, what went wrong. Pure.

Owns: PoolLook, and how it follows from what the pool tells.
Must not know: when the pool is asked, who looks.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, structs

from audio_pool.api import Health, PoolStatus
from audio_pool.gateway.told import public_health, public_status, without_paths
from audio_pool.numbers import DiskSpace, EngineLoad, ErrorNote, GpuMemory, Histogram, PoolNumbers, UnderWay

__all__ = ["Answers", "LookedFor", "PoolLook", "Quantiles", "Times", "look_of"]

_STAGES = ("lookup", "queue", "generate", "score", "master", "store")
_KINDS = ("exact", "semantic", "join")


class Answers(Struct, frozen=True, kw_only=True):
    """Requests for sounds that were answered alike."""

    cache: str
    """``cache_type`` of the sound; "": it came to none."""
    count: int
    lately: int


class LookedFor(Struct, frozen=True, kw_only=True):
    """One stage of looking for a kept sound."""

    kind: str
    """exact (the same words), semantic (the same meaning), join (the same sound is being made)."""
    lookups: int
    hits: int
    lookups_lately: int
    hits_lately: int


class Quantiles(Struct, frozen=True, kw_only=True):
    """How long so many took: half of them at most ``p50_s``, all but one in a hundred at most ``p99_s``."""

    count: int
    p50_s: float | None
    p99_s: float | None


class Times(Struct, frozen=True, kw_only=True):
    """How long one thing takes."""

    name: str
    ever: Quantiles
    lately: Quantiles


class PoolLook(Struct, frozen=True, kw_only=True):
    """A pool at one time. ``lately``: within the last ``window_s``; ``ever``: since the pool was started."""

    at: float
    """Seconds since 1970."""
    health: Health
    status: PoolStatus | None = None
    """None, as everything below: the pool does not answer."""
    started: float = 0.0
    """Seconds since 1970."""
    window_s: float = 0.0
    operator: bool = False
    """Whoever looks may see what others asked for, and stop it."""
    under_way: tuple[UnderWay, ...] = ()
    """The first that are being made, and the first that wait; for operators."""
    load: tuple[EngineLoad, ...] = ()
    worker_bytes: dict[str, int] = {}
    gpus: tuple[GpuMemory, ...] = ()
    disk: DiskSpace = DiskSpace()
    answers: tuple[Answers, ...] = ()
    looked_for: tuple[LookedFor, ...] = ()
    requests: tuple[Times, ...] = ()
    """Whole requests, by ``cache_type``."""
    stages: tuple[Times, ...] = ()
    """Of new sounds."""
    errors: tuple[ErrorNote, ...] = ()


def look_of(
    status: PoolStatus, health: Health, before: PoolNumbers | None, *, at: float, window_s: float, discreet: bool
) -> PoolLook:
    """Return what is seen.

    Args:
        status: with its numbers.
        before: those of an earlier look at the same start of the pool; None: there was none.
        at: now, in seconds since 1970.
        window_s: since that earlier look.
        discreet: whoever looks may not see what others asked for.
    """
    now = status.numbers or PoolNumbers()
    then = before or now
    return PoolLook(
        at=at,
        health=public_health(health, discreet=discreet),
        status=structs.replace(public_status(status, discreet=discreet), numbers=None),
        started=now.started,
        window_s=window_s,
        operator=not discreet,
        under_way=() if discreet else now.under_way,
        load=now.load,
        worker_bytes=now.worker_bytes,
        gpus=now.gpus,
        disk=now.disk,
        answers=_answers(now, then),
        looked_for=tuple(_looked_for(kind, now, then) for kind in _KINDS if now.lookups.get(kind)),
        requests=_times(now.request_seconds, then.request_seconds, tuple(sorted(now.request_seconds))),
        stages=_times(now.stage_seconds, then.stage_seconds, _STAGES),
        errors=tuple(_error(note, discreet) for note in now.errors),
    )


def _answers(now: PoolNumbers, then: PoolNumbers) -> tuple[Answers, ...]:
    counts: dict[str, list[int]] = {}
    for number, numbers in enumerate((now, then)):
        for one in numbers.requests:
            counts.setdefault(one.cache, [0, 0])[number] += one.count
    return tuple(
        Answers(cache=cache, count=count, lately=count - earlier) for cache, (count, earlier) in sorted(counts.items())
    )


def _looked_for(kind: str, now: PoolNumbers, then: PoolNumbers) -> LookedFor:
    lookups, hits = now.lookups.get(kind, 0), now.hits.get(kind, 0)
    return LookedFor(
        kind=kind,
        lookups=lookups,
        hits=hits,
        lookups_lately=lookups - then.lookups.get(kind, 0),
        hits_lately=hits - then.hits.get(kind, 0),
    )


def _times(now: Mapping[str, Histogram], then: Mapping[str, Histogram], names: tuple[str, ...]) -> tuple[Times, ...]:
    return tuple(
        Times(
            name=name,
            ever=_quantiles(now[name]),
            lately=_quantiles(now[name].since(then[name]) if name in then else now[name]),
        )
        for name in names
        if name in now and now[name].count
    )


def _quantiles(measured: Histogram) -> Quantiles:
    return Quantiles(count=measured.count, p50_s=measured.quantile(0.5), p99_s=measured.quantile(0.99))


def _error(note: ErrorNote, discreet: bool) -> ErrorNote:
    message, request_id = ("", "") if discreet else (without_paths(note.message), note.request_id)
    return structs.replace(note, message=message, request_id=request_id)
