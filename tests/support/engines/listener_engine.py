"""``listener``: a scorer that knows the word "loud" alone.

The similarity of a text that has it with a sound is the sound's RMS, that of any other text is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engine_info import EngineInfo
from audio_pool.engines.base import Audio, Vectors

INFO = EngineInfo(
    name="listener", role="scorer", model="listener", licence="Apache-2.0", commercial_use=True, dimensions=3
)


class Listener:
    logit_scale = 10.0

    def __init__(self) -> None:
        self.info = INFO

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        return np.array([[1, 0, 0] if "loud" in text else [0, 0, 1] for text in texts], np.float32)

    def embed_audio(self, sounds: Sequence[Audio], sample_rate: int) -> Vectors:
        levels = [min(1.0, float(np.sqrt(np.mean(sound**2)))) for sound in sounds]
        return np.array([[level, np.sqrt(1 - level**2), 0] for level in levels], np.float32)

    def close(self) -> None: ...


def load() -> Listener:
    return Listener()
