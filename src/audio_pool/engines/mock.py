"""A test engine: a tone, silence or noise, as the prompt's first known word says; a tone otherwise.

Must not know: anything but the contract. Its sounds are exact, so that what stands behind it can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_pool.engine_info import EngineInfo, Notes
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.types import frames_of

__all__ = ["INFO", "MockEngine", "load"]

INFO = EngineInfo(
    name="mock",
    role="generator",
    model="mock",
    model_revision="1",
    licence="Apache-2.0",
    commercial_use=True,
    sample_rate=44_100,
    channels=2,
    any_rate=True,
    gated=False,
    summary="For tests: a tone of 220 to 880 Hz by seed, silence, or white noise",
)


def load(*, model: str = "mock", device: str = "cpu", dtype: str = "") -> MockEngine:
    """The engine; its arguments are accepted from callers that set them for every engine."""
    return MockEngine()


class MockEngine:
    info = INFO

    def notes(self, item: Item) -> Notes:
        return Notes(details={"kind": _kind(item.prompt)})

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        sounds = []
        for done, item in enumerate(items, 1):
            sounds.append(_sound(item))
            if on_step is not None:
                on_step(done, len(items))
        return sounds

    def close(self) -> None:
        """Nothing is held."""


def _kind(prompt: str) -> str:
    return next((word for word in prompt.lower().split() if word in ("tone", "silence", "noise")), "tone")


def _sound(item: Item) -> Audio:
    """float32 [2, T]: a sine of amplitude 0.5, zeros, or noise of RMS 0.1."""
    rate = item.sample_rate or INFO.sample_rate
    frames = frames_of(item.duration_s, rate)
    kind = _kind(item.prompt)
    if kind == "silence":
        return np.zeros((2, frames), dtype=np.float32)
    if kind == "noise":
        return 0.1 * np.random.default_rng(item.seed).standard_normal((2, frames), dtype=np.float32)
    hz = 220.0 + item.seed % 661
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(frames) / rate)
    return np.tile(wave.astype(np.float32), (2, 1))
