"""What the test engines have in common: the first word of a prompt is a verb, the rest is its argument.

A prompt whose first word is no verb gives a tone. Pitch and length are all that differs between sounds.
"""

from __future__ import annotations

import os

import numpy as np

from audio_pool.engines.base import Audio, EngineInfo, Item, Notes, OnStep
from audio_pool.errors import DeviceLost


class ScriptedEngine:
    device = "cpu"
    lost = False
    """As a GPU's context after a fault: nothing works in this process any more."""
    verbs: tuple[str, ...] = ()
    """Methods ``(argument, on_step)`` that a prompt may name."""

    def __init__(self, info: EngineInfo) -> None:
        self.info = info

    def notes(self, item: Item) -> Notes:
        return Notes()

    def generate(self, items: list[Item], on_step: OnStep | None = None) -> list[Audio]:
        return [self.sound(item, on_step or (lambda done, total: None)) for item in items]

    def sound(self, item: Item, on_step: OnStep) -> Audio:
        verb, _, argument = item.prompt.partition(" ")
        self.begin(item)
        known = (*self.verbs, "poison")
        (getattr(self, verb) if verb in known else self.tone)(argument, on_step)
        if self.lost:
            raise DeviceLost("stage: cuda:0 is lost to this process: an illegal memory access was encountered")
        frames = round(item.duration_s * (item.sample_rate or self.info.sample_rate))
        wave = 0.3 * np.sin(np.arange(frames) * (0.03 + item.seed % 100 / 1000))
        return np.tile(wave.astype(np.float32), (2, 1))

    def begin(self, item: Item) -> None:
        """Note that the item's turn has come."""

    def poison(self, path: str, on_step: OnStep) -> None:
        """Loses the device: the first time, or every time where no file is named."""
        self.lost = self.lost or not (path and os.path.exists(path))
        if path:
            open(path, "w").close()

    def tone(self, argument: str, on_step: OnStep) -> None:
        on_step(1, 1)

    def close(self) -> None: ...
