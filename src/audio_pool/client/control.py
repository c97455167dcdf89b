"""The questions that a client can ask beside sounds, written once for the blocking and the awaiting client.

Owns: the questions, their fields, and the type of each answer.
Must not know: how an answer is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from audio_pool.api import (
    CacheStats,
    Cancellation,
    ClapAnswer,
    ClapOperation,
    Engines,
    FeedbackNoted,
    FeedbackVerdict,
    Health,
    PoolStatus,
)

__all__ = [
    "CACHE_STATS",
    "ENGINES",
    "HEALTH",
    "QUESTION_TIMEOUT_S",
    "STATUS",
    "EchoAnswer",
    "Question",
    "cancel",
    "clap",
    "echo",
    "feedback",
]

QUESTION_TIMEOUT_S = 10.0

EchoAnswer = dict[str, Any]
"""Opaque: ``payload`` as it was sent."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """A message of the protocol, and the type of its answer's body."""

    kind: str
    answer: type[Answer]
    fields: Mapping[str, str | bytes | list[str] | None] = field(default_factory=dict)
    """Checked when the message is made."""


HEALTH = Question("health", Health)
STATUS = Question("status", PoolStatus)
ENGINES = Question("engines", Engines)
CACHE_STATS = Question("cache_stats", CacheStats)


def cancel(request_id: str) -> Question[Cancellation]:
    return Question("cancel", Cancellation, {"target": request_id})


def feedback(target: str, verdict: FeedbackVerdict, comment: str) -> Question[FeedbackNoted]:
    return Question("feedback", FeedbackNoted, {"target": target, "verdict": verdict, "comment": comment})


def echo(payload: bytes, worker: str | None) -> Question[EchoAnswer]:
    return Question("echo", dict, {"payload": payload, "worker": worker})


def clap(operation: ClapOperation, texts: Sequence[str], paths: Sequence[str | Path]) -> Question[ClapAnswer]:
    # the server's working directory is not the caller's
    absolute = [os.path.abspath(path) for path in paths]
    return Question("clap", dict, {"operation": operation, "texts": list(texts), "paths": absolute})
