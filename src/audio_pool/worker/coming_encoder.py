"""An encoder that is still being loaded, for those who can begin without it.

Owns: the wait of whoever needs it before it is there.
Must not know: how it is loaded, what is done with its vectors.

A generator that reads prompts by their meaning is given this at once: only a prompt that it cannot read by its words
waits, so that one prompt and seed give one sound, whenever they are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import Embedder, Vectors
from audio_pool.errors import EngineUnavailable

__all__ = ["ComingEncoder"]

_PATIENCE_S = 60.0
_INFO = EngineInfo(name="coming", role="embedder", model="", licence="", commercial_use=True)
"""Of one that is not there yet."""


class ComingEncoder:
    """An Embedder, once ``arrive`` was called. All methods may be called from any thread."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self.info = _INFO
        self.device = ""
        self._patience_s = patience_s
        self._settled = threading.Event()
        self._encoder: Embedder | None = None
        self._failure: BaseException | None = None

    def arrive(self, encoder: Embedder) -> None:
        """Let those who wait go on with this encoder."""
        self._encoder, self.info, self.device = encoder, encoder.info, encoder.device
        self._settled.set()

    def fail(self, failure: BaseException) -> None:
        """Tell those who wait that it does not come."""
        self._failure = failure
        self._settled.set()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D], rows of unit length.

        Raises:
            EngineUnavailable: it did not come, or not in time.
        """
        return self._arrived().embed(texts)

    def close(self) -> None:
        """Nothing is held: whoever loaded the encoder closes it."""

    def _arrived(self) -> Embedder:
        self._settled.wait(self._patience_s)
        if self._encoder is None:
            late = f"is not there after {self._patience_s:g} s"
            why = f"could not be loaded: {self._failure}" if self._failure else late
            raise EngineUnavailable(f"the encoder that prompts are read with {why}", hint="see the worker's log")
        return self._encoder
