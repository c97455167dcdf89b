"""``gated``: a generator that is put through the quality gate, with everything that a runner has to pass on.

A prompt that starts with ``mute`` gives silence, ``odd`` is refused, ``vague`` gets a warning.
"""

from __future__ import annotations

import numpy as np
from scripted_engine import ScriptedEngine

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.errors import NotSupported, OutOfMemory

INFO = EngineInfo(
    name="gated", role="generator", model="gated", model_revision="7", licence="MIT", commercial_use=True,
    sample_rate=22_050, channels=2, longest_s=4.0, init_audio=True, loop=True, steps=4, guidance_scale=2.0,
)  # fmt: skip


class Gated(ScriptedEngine):
    def __init__(self, info: EngineInfo, room: int) -> None:
        super().__init__(info)
        self.room = room
        self.batches = 0

    def notes(self, item: Item) -> Notes:
        if item.prompt.startswith("odd"):
            raise NotSupported("not this one")
        started = {} if item.init_audio is None else {"start": [*item.init_audio.shape, item.init_strength]}
        vague = item.prompt.startswith("vague")
        return Notes(
            expects=frozenset({"noise"}),
            loops=item.prompt.startswith("ring"),
            warnings=("nearest_recipe: something like it",) if vague else (),
            details={"batches": self.batches, **started},
        )

    def generate(self, items: list[Item], on_step: OnStep | None = None) -> list[Audio]:
        if len(items) > self.room:
            raise OutOfMemory("too many at once")
        self.batches += 1
        if on_step is not None:
            on_step(2, 4)
            on_step(4, 4)
        return super().generate(items)

    def sound(self, item: Item, on_step: OnStep) -> Audio:
        frames = round(item.duration_s * self.info.sample_rate)
        if item.prompt.startswith("mute"):
            return np.zeros((2, frames), np.float32)
        noise = np.random.default_rng(item.seed).standard_normal((2, frames)) * (0.05 + 0.1 * (item.seed % 3))
        return noise.astype(np.float32)


def load(room: int = 16) -> Gated:
    return Gated(INFO, room)
