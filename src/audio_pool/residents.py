"""Models in memory, as those see them who ask for them or order them in and out.

Owns: what is told of a model on a worker, and the verbs of ``models``.
Must not know: who asks (in this process, over ZMQ), how a model is loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from audio_pool.plain_mapping import PlainMapping

__all__ = [
    "HasModels",
    "ModelId",
    "ModelOrder",
    "ModelReport",
    "ModelRevision",
    "ModelState",
    "ModelsApi",
    "ModelsReport",
]

ModelOrder = Literal["load", "unload", "pin", "unpin"]
ModelId = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
"""A hub id, or a directory of the server's machine."""
ModelRevision = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[A-Za-z0-9._/\-]+\Z")]
"""A branch, a tag or a commit."""
ModelState = Literal["loaded", "loading", "leaving", "out", "failed", "down"]


class ModelReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """One engine on one worker that hosts it."""

    engine: str
    worker: str
    state: ModelState
    """leaving: it is being taken out; out: it is loaded when it is asked for; failed: it could not be loaded, which
    is tried again; down: its worker is not up."""
    memory_bytes: int = 0
    """What it takes, or took when it was loaded last; 0: not known."""
    pinned: bool = False
    """It stays in memory whatever comes."""
    idle_s: float | None = None
    """Since it was last asked for; None: it is not in memory."""
    error: str | None = None
    """Why it could not be loaded."""
    retry_in_s: float | None = None
    """When that is tried again, at the latest."""


class ModelsReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """The engines of a pool and where they are."""

    models: tuple[ModelReport, ...] = ()


class ModelsApi(Protocol):
    """The verbs of ``models`` of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited.

    An order is answered at once, with what has become of it so far: ``list`` tells when a model is there.
    """

    def list(self) -> ModelsReport | Awaitable[ModelsReport]:
        """Get every engine on every worker that hosts it."""

    def load(self, engine: str, *, worker: str | None = None) -> ModelsReport | Awaitable[ModelsReport]:
        """Have an engine loaded, though nobody asks for it; others go for it, the least recently used first.

        Args:
            worker: where; None: where it disturbs least, unless it is somewhere.

        Raises:
            NotFound: no worker hosts it. Refused: this caller is no operator.
        """

    def unload(self, engine: str, *, worker: str | None = None) -> ModelsReport | Awaitable[ModelsReport]:
        """Have an engine taken out of memory, behind what is at work with it. Who asks for it later has it loaded.

        Raises:
            NotFound. InvalidRequest: it is pinned. Refused.
        """

    def pin(self, engine: str, *, worker: str | None = None) -> ModelsReport | Awaitable[ModelsReport]:
        """Have an engine loaded, and kept whatever comes. Raises NotFound, Refused."""

    def unpin(self, engine: str, *, worker: str | None = None) -> ModelsReport | Awaitable[ModelsReport]:
        """Let a pinned engine go again where its room is needed. Raises NotFound, Refused."""


    def switch(
        self, engine: str, model: str, *, revision: str | None = None
    ) -> ModelsReport | Awaitable[ModelsReport]:
        """Have another model come in the place of an engine's, while requests are served.

        It is loaded beside the former one where there is room, else after that has gone. From when it is there it makes
        what is asked for; what was asked for before is still made by the former one. It lasts until the server ends.

        Args:
            model: a hub id, or a directory of the server's machine.

        Returns:
            how far it is, under the name that it has in ``list``: ``ENGINE@MODEL``.

        Raises:
            NotFound, InvalidRequest, Refused.
        """


class HasModels(Protocol):
    """Where models can be ordered in and out."""

    @property
    def models(self) -> ModelsApi:
        """Models in memory: listed, loaded, taken out, kept."""
