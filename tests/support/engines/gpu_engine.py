"""``gpu``: stands in for an engine on a graphics card, which leaves the processor free while it generates.

A batch takes ``batch_s`` and ``sound_s`` for each of its sounds, whatever they are. Then each sound comes into memory
of its own, as from a card. The diary gets one line a batch: the process, when it began and ended, how many sounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from audio_pool.engines import Audio, EngineInfo, Item, Notes, OnStep, load_engine
from audio_pool.types import frames_of

STEPS = 8
PROMPTS = ("rain", "piano")
SPARE_S = 2.0
"""Beyond the sound that was asked for: a loop's tail."""

INFO = EngineInfo(
    name="gpu", role="generator", model="gpu", licence="Apache-2.0", commercial_use=True, sample_rate=44_100,
    channels=2, summary="stands in for an engine on a card",
)  # fmt: skip


class Card:
    device = "cpu"

    def __init__(self, info: EngineInfo, diary: str, batch_s: float, sound_s: float, longest_s: float) -> None:
        self.info = info
        self._diary = diary
        self._batch_s, self._sound_s = batch_s, sound_s
        drawn = [Item(prompt=prompt, seed=1, duration_s=longest_s, sample_rate=info.sample_rate) for prompt in PROMPTS]
        self._sounds = load_engine("procedural").generate(drawn)  # type: ignore[union-attr]  # a generator

    def notes(self, item: Item) -> Notes:
        return Notes()

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        began = time.monotonic()
        lasts_s = self._batch_s + self._sound_s * len(items)
        for step in range(1, STEPS + 1):
            time.sleep(max(0.0, began + lasts_s * step / STEPS - time.monotonic()))
            if on_step is not None:
                on_step(step, STEPS)
        sounds = [self._sound(item, faulty=item.prompt.startswith("faulty") and not n) for n, item in enumerate(items)]
        with open(self._diary, "a") as file:
            file.write(f"{os.getpid()} {began} {time.monotonic()} {len(items)}\n")
        return sounds

    def _sound(self, item: Item, *, faulty: bool) -> Audio:
        source = self._sounds[item.seed % len(self._sounds)]
        frames = frames_of(item.duration_s, self.info.sample_rate)
        sound = np.multiply(source[:, :frames], np.float32(0.5 + item.seed % 1000 / 2000))
        if faulty:
            sound[:, : frames // 2] = 0.0
        return sound

    def close(self) -> None: ...


def load(
    name: str = "gpu", diary: str = "", batch_s: float = 0.3, sound_s: float = 0.0, longest_s: float = 32.0
) -> Card:
    return Card(INFO, diary, batch_s, sound_s, longest_s)
