"""What a client can ask of a pool beside sounds, said once for the blocking and the awaiting client.

Owns: the questions and their fields. Must not know: how an answer is waited for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, TypeVar

__all__ = ["QUESTION_TIMEOUT_S", "Questions"]

QUESTION_TIMEOUT_S = 10.0

Answer = TypeVar("Answer")
"""The body of the answer, a dict; or something to await that gives it."""


class Questions(ABC, Generic[Answer]):
    """Each question raises what it came to instead of an answer: Timeout, Disconnected, NotFound, ..."""

    @abstractmethod
    def ask(self, kind: str, fields: dict[str, Any], *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """Any question of the protocol (``echo`` and ``clap`` too): its answer's body."""

    def status(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """What the pool is doing: queue, workers, cache."""
        return self.ask("status", {}, timeout_s=timeout_s)

    def health(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """``state``: starting, ready, degraded or draining; and why."""
        return self.ask("health", {}, timeout_s=timeout_s)

    def engines(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """The engines that can be asked for, and what each can do."""
        return self.ask("engines", {}, timeout_s=timeout_s)

    def cache_stats(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """What the cache holds."""
        return self.ask("cache_stats", {}, timeout_s=timeout_s)

    def feedback(
        self,
        target: str,
        verdict: Literal["good", "wrong", "bad_sound"],
        *,
        comment: str = "",
        timeout_s: float = QUESTION_TIMEOUT_S,
    ) -> Answer:
        """Tells what the result of request ``target`` was like."""
        fields = {"target": target, "verdict": verdict, "comment": comment}
        return self.ask("feedback", fields, timeout_s=timeout_s)

    def cancel(self, target: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> Answer:
        """Stops the request with the id ``target``, which then ends as Cancelled."""
        return self.ask("cancel", {"target": target}, timeout_s=timeout_s)
