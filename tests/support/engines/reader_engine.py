"""``reader``: an embedder whose vectors count letters, so that equal words are equal vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engine_info import EngineInfo
from audio_pool.engines.base import Vectors

INFO = EngineInfo(
    name="reader", role="embedder", model="reader", licence="Apache-2.0", commercial_use=True, dimensions=26
)


class Reader:
    def __init__(self) -> None:
        self.info = INFO

    def embed(self, texts: Sequence[str]) -> Vectors:
        counts = np.array([[text.count(chr(97 + letter)) for letter in range(26)] for text in texts], np.float32)
        vectors: Vectors = counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
        return vectors

    def close(self) -> None: ...


def load() -> Reader:
    return Reader()
