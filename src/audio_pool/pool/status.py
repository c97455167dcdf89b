"""What the pool is doing: health and status, from what the workers said last.

Owns: ``health``, ``status`` and ``engines``.
Must not know: who asks.
"""

from __future__ import annotations

import time
from typing import Any

from audio_pool import __version__
from audio_pool.engine_info import EngineInfo
from audio_pool.pool.executor import PoolHands

__all__ = ["health", "status"]

def health(hands: PoolHands) -> dict[str, Any]:
    """Whether a real job could run now, from what the workers said last."""
    schedule = hands.router.schedule
    now = time.monotonic()
    limits = schedule.limits.worker
    reasons: list[str] = []
    served: dict[str, str] = {}
    coming = False
    for name, worker in schedule.roster.workers.items():
        silent_s = now - worker.last_sign
        alive = worker.state == "ready" and not worker.killed and silent_s < max(2.5 * limits.heartbeat_s, 0.5)
        if worker.state in ("starting", "loading") and worker.error is None:
            coming = True
        elif not alive:
            why = str(worker.error) if worker.error else f"{worker.state}, last heard of {silent_s:.1f} s ago"
            why += "; it is started again" if worker.state in ("down", "starting", "loading") else ""
            reasons.append(f"worker {name!r}: {why}")
        for engine in worker.plan.engines:
            state = "ready" if alive else worker.state if worker.state != "ready" else "silent"
            if served.get(engine) != "ready":
                served[engine] = state
    masters = any(
        worker.state == "ready" and "master" in worker.plan.roles for worker in schedule.roster.workers.values()
    )
    if schedule.drain_deadline is not None:
        overall = "draining"
    elif reasons:
        overall = "degraded"
    else:
        overall = "starting" if coming or not masters else "ready"
    return {"state": overall, "reasons": reasons, "engines": served}


def status(hands: PoolHands) -> dict[str, Any]:
    """What the pool is doing."""
    router, schedule = hands.router, hands.router.schedule
    workers = {
        name: {
            "state": worker.state,
            "incarnation": worker.incarnation,
            "engines": sorted(worker.plan.engines),
            "roles": sorted(worker.plan.roles),
            "device": hands.devices.get(name, ""),
            "jobs": len(worker.jobs),
            "jobs_done": worker.jobs_done,
            "crashes": worker.crashes,
            "error": str(worker.error) if worker.error else None,
        }
        for name, worker in schedule.roster.workers.items()
    }
    outbox = dict(router.outbox.counts) if router.outbox is not None else {}
    if router.image_door is not None:
        outbox["image_replies_dropped"] = router.image_door.dropped
    return {
        "version": __version__,
        "health": health(hands)["state"],
        "requests": len(schedule.tickets),
        "waiting": len(schedule.waiting),
        "workers": workers,
        "semantic": _semantic(hands),
        "cache": str(hands.config.cache_dir) if hands.cache is not None else "off",
        "answers": dict(router.counts),
        "cache_types": dict(hands.hits),
        "replies": outbox,
        "clients": dict(hands.reception.counts) if hands.reception is not None else {},
        "arena": hands.arena.stats(),
    }


def _semantic(hands: PoolHands) -> str:
    """Which encoders look-ups by meaning use, or that and why there are none."""
    if not hands.encoders:
        return "off"
    off = hands.cache.near_off if hands.cache is not None else ""
    return f"off: {off}" if off else ", ".join(hands.encoders)


def _engines(hands: PoolHands) -> list[dict[str, Any]]:
    import msgspec

    hosted = {engine for worker in hands.router.schedule.roster.workers.values() for engine in worker.plan.engines}

    def told(info: EngineInfo) -> dict[str, Any]:
        state = health(hands)["engines"].get(info.name, "not hosted")
        return {**msgspec.to_builtins(info), "state": state}

    return [told(hands.infos[name]) for name in sorted(hosted) if name in hands.infos]
