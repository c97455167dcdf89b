"""Better sounds over HTTP: jobs that go on where an answer in time stood in for what was asked for.

Owns: the names of such jobs, what they ask the pool for, and how one takes over what the pool has begun.
Must not know: routes, how jobs are followed (live_jobs.py), which answers stand in (docs/deadlines.md).

The pool announces a better sound to the connection that asked. Who asks over HTTP may be gone by then, and finds it
by its address: it is a durable job like any other, which joins what the pool is at already, and outlives gateways and
servers.
"""

from __future__ import annotations

from msgspec import structs

from audio_pool.results import SoundMetadata
from audio_pool.types import AudioRequest

__all__ = ["betters", "first_of", "is_upgrade", "of_sound", "stands_in", "upgrade_of"]

_MARK = "u"


def betters(request: AudioRequest) -> bool:
    """Return whether a request wants a better sound made where something stands in."""
    return request.upgrade or request.stand_in


def stands_in(metadata: SoundMetadata | None) -> bool:
    """Return whether an answer stands in for what was asked for."""
    return metadata is not None and metadata.approximate is True


def of_sound(request: AudioRequest) -> AudioRequest:
    """Return the request for the sound itself, however long it takes; everybody else goes first."""
    return structs.replace(
        request, best_by_deadline=False, stand_in=False, upgrade=False, deadline_ms=None, priority="background"
    )


def first_of(request: AudioRequest) -> AudioRequest:
    """Return the request for the first answer as a job of its own, which has one result."""
    return structs.replace(request, upgrade=False)


def upgrade_of(job_id: str) -> str:
    """Return the id of the job that makes a better sound than this one's."""
    return job_id + _MARK


def is_upgrade(job_id: str) -> bool:
    """Return whether a job makes a better sound than an earlier answer."""
    return job_id.endswith(_MARK) and len(job_id.rpartition(".")[2]) == 33
