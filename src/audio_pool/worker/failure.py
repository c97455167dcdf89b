"""What an engine raised, as an error with a code that can be sent.

Owns: failure_of: which error any exception becomes, whatever its author put into it.
Must not know: what is done about it.
"""

from __future__ import annotations

from audio_pool.errors import AudioPoolError, EngineError, OutOfMemory, WorkerStartFailed
from audio_pool.results import Failure

__all__ = ["failure_of"]

_LONGEST_TEXT = 2000


def _mapped(exc: BaseException, doing: str) -> AudioPoolError:
    """Return an error of ours as it is, a foreign one in general terms (the log has the traceback)."""
    if isinstance(exc, AudioPoolError):
        return exc
    if isinstance(exc, MemoryError):
        return OutOfMemory(f"out of memory while {doing}", hint="ask for less, or set lower limits")
    said = f"{type(exc).__name__}: {_text(exc)}"
    if doing == "loading":
        return WorkerStartFailed(said)
    if not isinstance(exc, Exception):
        hint = "an engine must not exit or interrupt its worker; it raises an EngineError"
        return EngineError(f"{doing} failed: {said}", hint=hint)
    return EngineError(f"{doing} failed: {said}")


def failure_of(exc: BaseException, doing: str) -> Failure:
    """Return an exception as data that can be sent: an engine may put anything into its errors."""
    error = _mapped(exc, doing)
    return Failure(
        code=_text(error.code),
        message=_text(error.message),
        hint=_text(error.hint),
        retryable=bool(error.retryable),
    )


def _text(value: object) -> str:  # opaque: whatever an engine raised, or put into an error
    """Return it as text; its own ``__str__`` may fail."""
    try:
        return str(value)[:_LONGEST_TEXT]
    except Exception:
        return f"(a {type(value).__name__} that cannot be shown)"
