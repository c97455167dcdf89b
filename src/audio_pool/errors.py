"""Every exception of audio_pool, each owning its wire code and whether a retry can help.

Owns: the tree below and its translation to and from the wire's ``code`` strings.
Must not know: anything else of the package.

    AudioPoolError                internal
    |-- CallerError               the caller's fault; the same call fails again
    |   |-- InvalidRequest        bad_request
    |   |-- InvalidConfig         bad_config
    |   |-- BadMessage            bad_message
    |   |-- UnknownEngine         unknown_engine
    |   |-- NotSupported          not_supported     the engine cannot do what was asked
    |   |-- NotFound              not_found
    |   |-- Conflict              conflict          the id of a durable job stands for another request
    |   |-- InvalidAudio          bad_audio         a file or array that is not the audio it claims to be
    |   `-- Refused               refused           by policy: licence, key, permission
    |       |-- BadToken          bad_token         not this server's: it was started anew, or is another
    |       `-- PathNotAllowed    path_not_allowed  this caller may not name that path; tells nothing of what is there
    |-- EngineError               engine_failed     the engine's fault
    |   |-- EngineUnavailable     engine_unavailable   a library or model is missing, or it would not load
    |   |-- OutOfMemory           out_of_memory
    |   |-- DeviceLost            device_lost       no more work in this process: its GPU answers with errors only
    |   `-- QualityError          quality           every candidate failed the quality gate
    |-- SigningFailed             signing_failed  a file was to be signed, and is not: it is not delivered unsigned
    |-- WorkerError               worker_failed
    |   |-- WorkerDied            worker_died
    |   |   `-- Poisoned          poisoned          this very request has ended workers, and is not tried for a while
    |   `-- WorkerStartFailed     worker_start
    |-- Timeout                   timeout           work or a wait took longer than its limit
    |   `-- Expired               expired           the caller's deadline passed before the sound was there
    |-- Busy                      busy              the queue is full; see retry_after_ms
    |-- Cancelled                 cancelled
    |-- Disconnected              disconnected      the server cannot be reached or went away
    |   `-- ServerRestarted       server_restarted  its successor knows nothing of what it had accepted
    |-- PoolClosed                closed            the pool is stopping or stopped
    `-- StorageError              storage           the cache directory cannot be read or written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "AudioPoolError",
    "BadMessage",
    "BadToken",
    "Busy",
    "CallerError",
    "Cancelled",
    "Conflict",
    "DeviceLost",
    "Disconnected",
    "EngineError",
    "EngineUnavailable",
    "Expired",
    "InvalidAudio",
    "InvalidConfig",
    "InvalidRequest",
    "NotFound",
    "NotSupported",
    "OutOfMemory",
    "PathNotAllowed",
    "Poisoned",
    "PoolClosed",
    "QualityError",
    "Refused",
    "ServerRestarted",
    "SigningFailed",
    "StorageError",
    "Timeout",
    "UnknownEngine",
    "WorkerDied",
    "WorkerError",
    "WorkerStartFailed",
    "error_from_code",
    "nearest_name",
]


class AudioPoolError(Exception):
    """Root of everything this package raises on purpose.

    ``hint`` is one sentence that says what to do about it ("" where the message already does);
    commands and front ends show it after the message.
    """

    code: ClassVar[str] = "internal"
    retryable: bool = False
    """True where the same call may succeed later: by class, unless it is known better of one error."""
    retry_after_ms: int | None = None
    """When it may succeed, where that is known."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class CallerError(AudioPoolError):
    code = "bad_request"


class InvalidRequest(CallerError):
    code = "bad_request"


class InvalidConfig(CallerError):
    code = "bad_config"


class BadMessage(CallerError):
    code = "bad_message"


class UnknownEngine(CallerError):
    code = "unknown_engine"


class NotSupported(CallerError):
    code = "not_supported"


class NotFound(CallerError):
    code = "not_found"


class Conflict(CallerError):
    code = "conflict"


class InvalidAudio(CallerError):
    code = "bad_audio"


class Refused(CallerError):
    code = "refused"


class BadToken(Refused):
    code = "bad_token"
    retryable = True


class PathNotAllowed(Refused):
    code = "path_not_allowed"


class EngineError(AudioPoolError):
    code = "engine_failed"


class EngineUnavailable(EngineError):
    code = "engine_unavailable"


class OutOfMemory(EngineError):
    code = "out_of_memory"
    retryable = True


class DeviceLost(EngineError):
    """The process can use its device no more, such as after a fault in a CUDA kernel. A worker ends by it and is
    started anew; its jobs are tried again."""

    code = "device_lost"
    retryable = True


class QualityError(EngineError):
    code = "quality"
    retryable = True


class SigningFailed(AudioPoolError):
    """Its key, its certificate or its library is not as it was when signing was turned on."""

    code = "signing_failed"


class WorkerError(AudioPoolError):
    code = "worker_failed"
    retryable = True


class WorkerDied(WorkerError):
    code = "worker_died"


class Poisoned(WorkerDied):
    """This very request has ended the workers that tried it. ``retry_after_ms``: when it may be tried again."""

    code = "poisoned"
    retryable = False

    def __init__(self, message: str, *, hint: str = "", retry_after_ms: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_ms = retry_after_ms


class WorkerStartFailed(WorkerError):
    code = "worker_start"
    retryable = False


class Timeout(AudioPoolError):
    code = "timeout"
    retryable = True


class Expired(Timeout):
    code = "expired"


class Busy(AudioPoolError):
    """The queue is full. ``retry_after_ms`` is an estimate of when there will be room."""

    code = "busy"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after_ms: int = 1000) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_ms = retry_after_ms


class Cancelled(AudioPoolError):
    code = "cancelled"


class Disconnected(AudioPoolError):
    code = "disconnected"
    retryable = True


class ServerRestarted(Disconnected):
    code = "server_restarted"


class PoolClosed(AudioPoolError):
    code = "closed"


class StorageError(AudioPoolError):
    code = "storage"
    retryable = True


def _tree(cls: type[AudioPoolError]) -> Iterable[type[AudioPoolError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def error_from_code(code: str, message: str, *, hint: str = "") -> AudioPoolError:
    """Return the exception that a wire ``code`` stands for; an unknown code gives the root class."""
    by_code: dict[str, type[AudioPoolError]] = {}
    for cls in _tree(AudioPoolError):
        by_code.setdefault(cls.code, cls)
    by_code["bad_request"] = InvalidRequest
    return by_code.get(code, AudioPoolError)(message, hint=hint)


def nearest_name(given: str, known: Iterable[str]) -> str | None:
    """Return the known name most like the given one, or None where nothing comes near."""
    found = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
