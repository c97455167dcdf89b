"""``candidates`` of the clients: those that were not chosen, asked of a served pool by whoever blocks or awaits.

Owns: ClientCandidates and AsyncClientCandidates.
Must not know: sockets, what messages look like (control.py), how an answer is waited for.
"""

from __future__ import annotations

from typing import Any

from audio_pool.candidates import CandidateChosen, CandidateFile, CandidatesApi, CandidatesKept
from audio_pool.client import control
from audio_pool.client.control import QUESTION_TIMEOUT_S
from audio_pool.client.library import Ask, AskLater
from audio_pool.library import WRITING_TIMEOUT_S
from audio_pool.types import Delivery

__all__ = ["AsyncClientCandidates", "ClientCandidates"]


class ClientCandidates(CandidatesApi):
    """See CandidatesApi; every method takes ``timeout_s``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def of(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CandidatesKept:
        """Get which candidates of a request can be heard now."""
        return self._ask(control.candidates(request_id), timeout_s)

    def file(
        self,
        request_id: str,
        number: int,
        *,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
        **form: Any,
    ) -> CandidateFile:
        """Get a candidate's file; ``form`` of FileForm. ``delivery="inline"`` gives it as ``data``."""
        return self._ask(control.candidate_file(request_id, number, delivery, form), timeout_s)

    def choose(
        self, request_id: str, number: int, *, by: str = "", timeout_s: float = QUESTION_TIMEOUT_S
    ) -> CandidateChosen:
        """Keep a candidate in place of the sound that is kept."""
        return self._ask(control.choose(request_id, number, by), timeout_s)


class AsyncClientCandidates(CandidatesApi):
    """As ClientCandidates; every answer is awaited."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def of(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CandidatesKept:
        """As ClientCandidates.of."""
        return await self._ask(control.candidates(request_id), timeout_s)

    async def file(
        self,
        request_id: str,
        number: int,
        *,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
        **form: Any,
    ) -> CandidateFile:
        """As ClientCandidates.file."""
        return await self._ask(control.candidate_file(request_id, number, delivery, form), timeout_s)

    async def choose(
        self, request_id: str, number: int, *, by: str = "", timeout_s: float = QUESTION_TIMEOUT_S
    ) -> CandidateChosen:
        """As ClientCandidates.choose."""
        return await self._ask(control.choose(request_id, number, by), timeout_s)
