"""``candidates`` of AudioPool: those that were not chosen, asked by the program that the pool runs in.

Owns: PoolCandidates: that its arguments are checked as those of a client's message.
Must not know: how a question is answered (candidate_files.py).
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from audio_pool.candidates import CandidateChosen, CandidateFile, CandidatesApi, CandidatesKept
from audio_pool.library import WRITING_TIMEOUT_S
from audio_pool.pool.own_library import checked
from audio_pool.pool.questions import QUESTION_TIMEOUT_S, answer_of, on_router
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.router import Router
from audio_pool.pool.service import PoolService
from audio_pool.transport.client_messages import CandidateFileRequest, CandidatesRequest, ChooseRequest
from audio_pool.types import Delivery

__all__ = ["PoolCandidates"]


class PoolCandidates(CandidatesApi):
    """See CandidatesApi; every method takes ``timeout_s``."""

    def __init__(self, router: Router, service: PoolService) -> None:
        self._router = router
        self._service = service

    def of(self, request_id: str, *, timeout_s: float = QUESTION_TIMEOUT_S) -> CandidatesKept:
        """Get which candidates of a request can be heard now."""
        asked = checked(CandidatesRequest, "candidates", {"target": request_id})
        return on_router(self._router, lambda: self._service.candidates.of(asked.target), timeout_s)

    def file(
        self,
        request_id: str,
        number: int,
        *,
        delivery: Delivery = "path",
        timeout_s: float = WRITING_TIMEOUT_S,
        **form: Any,  # opaque until it is parsed
    ) -> CandidateFile:
        """Get a candidate's file; ``form`` of FileForm. ``delivery="inline"`` gives it as ``data``."""
        fields = {"target": request_id, "number": number, "delivery": delivery}
        asked = checked(CandidateFileRequest, "candidate_file", {**fields, "form": form} if form else fields)

        def order(sink: LocalSink) -> None:
            self._service.candidates.ask(asked.target, asked.number, asked.form, asked.delivery, sink)

        found, data = answer_of(self._router, CandidateFile, order, timeout_s)
        return found if data is None else structs.replace(found, data=data)

    def choose(
        self, request_id: str, number: int, *, by: str = "", timeout_s: float = QUESTION_TIMEOUT_S
    ) -> CandidateChosen:
        """Keep a candidate in place of the sound that is kept."""
        asked = checked(ChooseRequest, "choose", {"target": request_id, "number": number, "by": by})

        def order(sink: LocalSink) -> None:
            self._service.candidates.choose(asked.target, asked.number, asked.by, sink)

        return answer_of(self._router, CandidateChosen, order, timeout_s)[0]
