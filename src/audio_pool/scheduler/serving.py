"""Which worker serves what, from what is known of it; and what a caller is told while none does. Pure.

Owns: ``serves``, ``serves_now``, ``may_serve``, ``out_of_order``.
Must not know: who waits, whose turn it is (dispatch.py).
"""

from __future__ import annotations

from audio_pool.errors import AudioPoolError, EngineUnavailable
from audio_pool.scheduler.jobs import Job
from audio_pool.scheduler.queue import Need
from audio_pool.scheduler.worker_state import WorkerState

__all__ = ["OF_ENGINES", "may_serve", "out_of_order", "serves", "serves_now"]

OF_ENGINES = ("generate", "embed", "engine")
"""What is needed of an engine by its name."""

_PATIENCE_S = 10.0
"""How long a request without a deadline waits for a worker that is to be tried again."""


def out_of_order(down: list[WorkerState], need: Need, job: Job, now: float) -> AudioPoolError | None:
    """Return why none of the workers that are down will take a job in time; None: one is tried again soon enough."""
    probes = [worker.due for worker in down if worker.due is not None]
    if any(worker.ever_ready for worker in down) and probes:
        deadline = job.asked.deadline
        if min(probes) < (now + _PATIENCE_S if deadline is None else deadline):
            return None
    failure = down[0].failure
    named = f"{need.role} {need.name}".strip()
    error = failure.error() if failure else EngineUnavailable(f"every worker for this ({named}) is down")
    if probes:
        wait_s = max(0.0, min(probes) - now)
        error.retry_after_ms = max(1, round(wait_s * 1000))
        error.hint = error.hint or f"its worker is tried again in {wait_s:.0f} s"
    return error


def serves(worker: WorkerState, need: Need) -> bool:
    """Return True if a worker that is ready does what is needed."""
    match need.role:
        case "generate":
            return "generate" in worker.plan.roles and need.name in worker.engines
        case "master":
            return "master" in worker.plan.roles
        case "embed":
            return bool({"embed", "score"} & worker.plan.roles) and need.name in worker.engines
        case "engine":
            return need.name in worker.engines
        case "worker":
            return worker.plan.name == need.name
        case "any":
            return True


def serves_now(worker: WorkerState, need: Need) -> bool:
    """Return True if a worker serves that with what it has in memory."""
    if need.role == "generate":  # the same, for what is asked most
        return need.name in worker.loaded and need.name in worker.engines and "generate" in worker.plan.roles
    return serves(worker, need) and (need.role not in OF_ENGINES or need.name in worker.loaded)


def may_serve(worker: WorkerState, need: Need) -> bool:
    """Return True if the worker could, once it is up: what it hosts beyond its plan is known only when it is ready."""
    if worker.removed:
        return False
    if worker.state == "ready" or need.role not in ("generate", "engine"):
        return serves(worker, need)
    if need.role == "generate":
        return "generate" in worker.plan.roles and need.name in worker.plan.engines
    return need.name in worker.plan.engines or bool({"embed", "score"} & worker.plan.roles)
