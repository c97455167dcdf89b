"""One line in the log for each request: who asked, what became of it, how long it took.

Owns: those lines and the names of their fields.
Must not know: where the log goes, how a line looks.

A record carries its facts in ``fields``, a mapping, beside a message for handlers that do not know it. It is made
here and not by ``Logger.info``, which looks for its caller on the stack, and from a pattern: all but time and thread
is always the same, and a hit has no time for more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping

from audio_pool.errors import AudioPoolError
from audio_pool.pool.replies import Reply
from audio_pool.types import Recipe

__all__ = ["log_answer", "log_refusal"]

log = logging.getLogger(__name__)

Fact = str | int | float | None
_PATTERN = logging.LogRecord(log.name, logging.INFO, __file__, 0, "", None, None)


def log_answer(
    number: int,
    request_id: str,
    client: str,
    opened: float,
    reply: Reply,
    kind: str,
    *,
    recipe: Recipe | None,
    trace: str = "",
) -> None:
    """Note how a request ended that had been taken in.

    Args:
        opened: when it was taken in, by the monotonic clock.
        kind: of the reply that left; another than the reply's own where that could not be sent.
        recipe: None for what is no sound, or was not yet read.
        trace: the traceparent of the trace that it belongs to.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    metadata, failure = reply.metadata, reply.failure
    fields: dict[str, Fact] = {
        "outcome": kind,
        "request_id": request_id,
        "client": client or None,
        "number": number,
        "ms": round((time.monotonic() - opened) * 1000, 2),
    }
    if trace:
        fields["trace_id"] = trace[3:35]
    if recipe is not None:
        fields["engine"] = recipe.engine
        fields["prompt"] = recipe.prompt
    if metadata is not None:
        fields["cache"] = metadata.cache_type
    if failure is not None:
        fields["code"] = failure.code
        fields["error"] = failure.message
    _note("answered", fields)


def log_refusal(request_id: str, client: str, error: AudioPoolError, *, trace: str = "") -> None:
    """Note what was turned away before it was taken in."""
    if log.isEnabledFor(logging.INFO):
        who = {"request_id": request_id or None, "client": client or None, "trace_id": trace[3:35] or None}
        _note("refused", {**who, "code": error.code, "error": error.message})


def _note(message: str, fields: Mapping[str, Fact]) -> None:
    record = logging.LogRecord.__new__(logging.LogRecord)
    vars(record).update(vars(_PATTERN))
    now, thread = time.time(), threading.current_thread()
    record.msg, record.fields = message, fields
    record.created, record.msecs = now, int(now % 1 * 1000) + 0.0
    record.relativeCreated = _PATTERN.relativeCreated + (now - _PATTERN.created) * 1000
    record.thread, record.threadName, record.process = thread.ident, thread.name, os.getpid()
    log.handle(record)
