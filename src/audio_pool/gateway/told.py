"""What may be told over HTTP: nothing of where the server's files lie, and of others' requests only to operators.

Owns: how paths are taken out of texts, of a sound's metadata, of errors, of the pool's reports.
Must not know: routes.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET, structs

from audio_pool.api import Health, PoolStatus, WorkerStatus
from audio_pool.errors import AudioPoolError, CallerError
from audio_pool.reports import KeptCandidate
from audio_pool.residents import ModelReport
from audio_pool.results import Failure, SoundMetadata

__all__ = [
    "public",
    "public_error",
    "public_failure",
    "public_health",
    "public_status",
    "told_candidates",
    "without_paths",
]

_PATH = re.compile(r"(?<![\w.:/~-])(?:file://|ipc://)?~?(?:/[^\s/'\"`,;:()<>|\\]+){2,}/?")
"""An absolute path of at least two parts: one alone, such as a unit after a slash, is hardly the name of a file."""


def without_paths(text: str) -> str:
    """Return a text with only the last part of each path in it."""
    if "/" not in text:  # nearly always; the expression takes ten times as long
        return text
    return _PATH.sub(lambda found: found.group().rstrip("/").rpartition("/")[2], text)


def public(metadata: SoundMetadata) -> SoundMetadata:
    """Return metadata as anybody may have them. What the caller wrote stays as it is."""
    if metadata.candidates_kept:
        metadata = structs.replace(metadata, candidates_kept=told_candidates(metadata.candidates_kept))
    return structs.replace(
        metadata,
        model=without_paths(metadata.model),
        warnings=tuple(without_paths(warning) for warning in metadata.warnings),
        engine_details=_plain(metadata.engine_details),
    )


def told_candidates(kept: tuple[KeptCandidate, ...], address: str = "") -> tuple[KeptCandidate, ...]:
    """Return kept candidates without their paths; ``address``: where those of their sound are, which tells each's."""
    return tuple(
        structs.replace(one, path=None, url=f"{address}/{one.number}/audio" if address else UNSET) for one in kept
    )


def public_error(error: AudioPoolError) -> AudioPoolError:
    """Return an error as anybody may have it. A caller's own fault names what the caller gave."""
    if not isinstance(error, CallerError):
        error.message, error.hint = without_paths(error.message), without_paths(error.hint)
    return error


def public_failure(failure: Failure) -> Failure:
    """Do as ``public_error``."""
    return Failure.of(public_error(failure.error()))


def public_health(found: Health, *, discreet: bool) -> Health:
    """Return the pool's health as it may be told; ``discreet``: without errors' words."""
    texts = ((), ()) if discreet else (found.reasons, found.blockers)
    reasons, blockers = (tuple(without_paths(text) for text in part) for part in texts)
    return structs.replace(found, reasons=reasons, blockers=blockers)


def public_status(found: PoolStatus, *, discreet: bool) -> PoolStatus:
    """Return the pool's status as it may be told; ``discreet``: without what others' requests came to."""
    semantic = found.semantic.partition(":")[0] if discreet else without_paths(found.semantic)
    return structs.replace(
        found,
        workers={name: _worker(worker, discreet) for name, worker in found.workers.items()},
        cache="off" if found.cache == "off" else "on",
        semantic=semantic,
        leases=() if discreet else found.leases,
    )


def _worker(worker: WorkerStatus, discreet: bool) -> WorkerStatus:
    return structs.replace(
        worker,
        error=None if discreet or worker.error is None else without_paths(worker.error),
        at_work=() if discreet else worker.at_work,
        models=tuple(public_model(model, discreet=discreet) for model in worker.models),
    )


def public_model(model: ModelReport, *, discreet: bool = False) -> ModelReport:
    """Return a model as it may be told; ``discreet``: without errors' words."""
    return structs.replace(model, error=None if discreet or model.error is None else without_paths(model.error))


def _plain(value: Any) -> Any:  # Any: an engine's own words
    if isinstance(value, str):
        return without_paths(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
