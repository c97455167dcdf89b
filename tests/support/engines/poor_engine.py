"""``poor``, an engine whose sounds do not get past the gate: all of them broken, or only faint, as the prompt says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engines.base import Audio, EngineInfo, Item, Notes, OnStep

INFO = EngineInfo(
    name="poor", role="generator", model="poor", licence="Apache-2.0", commercial_use=True,
    sample_rate=44_100, channels=2, any_rate=False, summary="a tone with an offset, or a faint one",
)  # fmt: skip


class Poor:
    device = "cpu"

    def __init__(self) -> None:
        self.info = INFO

    def notes(self, item: Item) -> Notes:
        return Notes(highpass_hz=0.0)

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        return [self._sound(item) for item in items]

    def _sound(self, item: Item) -> Audio:
        seconds = np.arange(round(item.duration_s * INFO.sample_rate)) / INFO.sample_rate
        hz = 300 + item.seed % 500
        tone = np.stack([np.sin(2 * np.pi * hz * seconds), np.sin(2 * np.pi * (hz + 1) * seconds)])
        if "faint" in item.prompt:
            return (0.003 * tone).astype(np.float32)
        return (0.2 * tone + 0.3).astype(np.float32)

    def close(self) -> None:
        """Nothing is held."""


def load(**settings: object) -> Poor:
    return Poor()
