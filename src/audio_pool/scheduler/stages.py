"""The order of a job's stages.

Owns: where a job goes next.
Must not know: what a stage does, when it is over (scheduler.py, outcomes.py).
"""

from __future__ import annotations

from audio_pool.scheduler.events import Call
from audio_pool.scheduler.jobs import Job, Stage

__all__ = ["next_stage"]


def next_stage(job: Job) -> Stage:
    """Return where a job goes next, given what is known of it. This is the whole way of a request."""
    if job.value is not None:
        return "done"
    if isinstance(job.asked, Call):
        return "call"
    if job.hit is not None:
        return "render"  # found, in another format than asked for
    asked = job.asked
    if asked.stands_in and not job.released:
        return "looser" if job.stage == "new" and asked.looser else "held"
    match job.stage:
        case "held" if asked.lookup:
            return "lookup"
        case "new" if asked.lookup:
            return "lookup"  # the same words?
        case "new" | "lookup" | "embed" if job.missing:
            return "embed"  # a vector of the prompt from each encoder, one after the other
        case "embed" if asked.lookup and asked.near and job.vectors:
            return "near"  # the same meaning?
        case "new" | "lookup" | "embed" | "near" if asked.claims:
            return "claim"  # does another pool on this cache make it already?
        case "claim" if asked.lookup:
            return "recheck"  # it may have done so since the look-up
        case "generate" if job.raw is not None:
            return "master"  # candidates that another worker generated
        case _ if job.chosen is not None:
            return "store"
        case _:
            return "generate"  # for the first time, again after a worker's death, or with fresh seeds
