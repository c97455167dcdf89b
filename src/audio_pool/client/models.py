"""``models`` of the clients: models of a served pool listed, loaded, taken out and kept, by who blocks and who awaits.

Owns: the two classes, and the questions that they put.
Must not know: sockets, how an answer is waited for.
"""

from __future__ import annotations

from audio_pool.client.control import QUESTION_TIMEOUT_S, Question
from audio_pool.client.library import Ask, AskLater
from audio_pool.residents import ModelOrder, ModelsApi, ModelsReport

__all__ = ["AsyncClientModels", "ClientModels"]

_LIST = Question("models", ModelsReport)


def _order(order: ModelOrder, engine: str, worker: str | None) -> Question[ModelsReport]:
    return Question("model_order", ModelsReport, {"order": order, "engine": engine, "worker": worker})


def _switch(engine: str, model: str, revision: str | None) -> Question[ModelsReport]:
    return Question("model_switch", ModelsReport, {"engine": engine, "model": model, "revision": revision})


class ClientModels(ModelsApi):
    """See ModelsApi; every method takes ``timeout_s``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def list(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Get every engine on every worker that hosts it."""
        return self._ask(_LIST, timeout_s)

    def load(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Have an engine loaded, though nobody asks for it."""
        return self._ask(_order("load", engine, worker), timeout_s)

    def unload(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Have an engine taken out of memory."""
        return self._ask(_order("unload", engine, worker), timeout_s)

    def pin(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Have an engine loaded, and kept whatever comes."""
        return self._ask(_order("pin", engine, worker), timeout_s)

    def unpin(self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """Let a pinned engine go again where its room is needed."""
        return self._ask(_order("unpin", engine, worker), timeout_s)

    def switch(
        self, engine: str, model: str, *, revision: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """Have another model come in the place of an engine's, while requests are served."""
        return self._ask(_switch(engine, model, revision), timeout_s)


class AsyncClientModels(ModelsApi):
    """As ClientModels; every answer is awaited."""

    def __init__(self, ask: AskLater) -> None:
        self._ask = ask

    async def list(self, *, timeout_s: float = QUESTION_TIMEOUT_S) -> ModelsReport:
        """As ClientModels.list."""
        return await self._ask(_LIST, timeout_s)

    async def load(
        self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """As ClientModels.load."""
        return await self._ask(_order("load", engine, worker), timeout_s)

    async def unload(
        self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """As ClientModels.unload."""
        return await self._ask(_order("unload", engine, worker), timeout_s)

    async def pin(
        self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """As ClientModels.pin."""
        return await self._ask(_order("pin", engine, worker), timeout_s)

    async def unpin(
        self, engine: str, *, worker: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """As ClientModels.unpin."""
        return await self._ask(_order("unpin", engine, worker), timeout_s)

    async def switch(
        self, engine: str, model: str, *, revision: str | None = None, timeout_s: float = QUESTION_TIMEOUT_S
    ) -> ModelsReport:
        """As ClientModels.switch."""
        return await self._ask(_switch(engine, model, revision), timeout_s)
