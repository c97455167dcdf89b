"""Vectors of words that somebody asks about, made by workers.

Owns: Meaning: which encoders are asked, and that a missing one is told and not waited for.
Must not know: what the vectors are compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from audio_pool.config import Config
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.plan import vector_space
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.tasks import Embedded, EmbedTask

__all__ = ["Meaning", "Vectors"]

Vectors = dict[str, npt.NDArray[np.float32]]
"""float32 [D] by space."""


class Meaning:
    """Router's thread only."""

    def __init__(self, config: Config, intake: Intake, encoders: tuple[str, ...]) -> None:
        """
        Args:
            encoders: embedder and scorer that words are put through.
        """
        self._config = config
        self._intake = intake
        self._encoders = encoders

    def of(
        self,
        text: str,
        request_id: str,
        done: Callable[[Vectors, list[str]], None],
        *,
        size_bytes: int = 0,
        caller: Caller,
        within_s: float | None = None,
    ) -> None:
        """Have words embedded by every encoder; ``done`` gets the vectors, and why others are missing.

        Args:
            within_s: an encoder that has not answered by then is missing; None: it is waited for.
        """
        waiting = set(self._encoders)
        vectors: Vectors = {}
        warnings: list[str] = []

        def embedded(name: str, reply: Reply) -> None:
            waiting.discard(name)
            if isinstance(reply.body, Embedded) and name in reply.body.vectors:
                vectors[vector_space(name, self._config)] = np.frombuffer(reply.body.vectors[name], np.float32)
            else:
                why = reply.failure.message if reply.failure is not None else "it gave no vector"
                warnings.append(f"not compared by {name!r}: {why}")
            if not waiting:
                done(vectors, warnings)

        if not waiting:
            done(vectors, warnings)
        for name in list(waiting):
            answer = LocalSink(
                request_id=request_id, on_reply=lambda reply, name=name: embedded(name, reply)  # type: ignore[misc]
            )
            task = EmbedTask(job=0, engine=name, text=text)
            self._intake.call(task, answer, size_bytes=size_bytes, caller=caller, within_s=within_s)
