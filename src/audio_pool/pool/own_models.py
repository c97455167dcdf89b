"""``models`` of AudioPool: models listed and ordered by the program that the pool runs in.

Owns: PoolModels.
Must not know: how an order is carried out (model_orders.py).
"""

from __future__ import annotations

from audio_pool.pool.questions import QUESTION_TIMEOUT_S, on_router
from audio_pool.pool.router import Router
from audio_pool.pool.service import PoolService
from audio_pool.residents import ModelOrder, ModelsApi, ModelsReport

__all__ = ["PoolModels"]


class PoolModels(ModelsApi):
    """See ModelsApi; every method takes ``timeout_s``."""

    def __init__(self, router: Router, service: PoolService) -> None:
        self._router = router
        self._models = service.models

    def list(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Get every engine on every worker that hosts it."""
        return on_router(self._router, self._models.list, timeout_s)

    def load(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Have an engine loaded, though nobody asks for it."""
        return self._order("load", engine, worker, timeout_s)

    def unload(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Have an engine taken out of memory."""
        return self._order("unload", engine, worker, timeout_s)

    def pin(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Have an engine loaded, and kept whatever comes."""
        return self._order("pin", engine, worker, timeout_s)

    def unpin(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Let a pinned engine go again where its room is needed."""
        return self._order("unpin", engine, worker, timeout_s)

    def switch(
        self, engine: str, model: str, *, revision: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """Have another model come in the place of an engine's, while requests are served."""
        return on_router(self._router, lambda: self._models.switch(engine, model, revision=revision), timeout_s)

    def _order(self, order: ModelOrder, engine: str, worker: str | None, timeout_s: float) -> ModelsReport:
        return on_router(self._router, lambda: self._models.order(order, engine, worker=worker), timeout_s)
