"""A test engine: a tone, silence or noise, as the prompt's first known word says; a tone otherwise.

Must not know: anything but the contract. Its sounds are exact, so that what stands behind it can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from audio_pool.engine_info import EngineInfo, Notes, OptionInfo
from audio_pool.engines._item import check_item
from audio_pool.engines.base import Audio, Item, OnStep
from audio_pool.engines.options import option_values
from audio_pool.types import frames_of

__all__ = ["INFO", "MockEngine", "Settings", "load"]

_FREQUENCY = OptionInfo(
    name="frequency_hz",
    type="float",
    low=20.0,
    high=20_000.0,
    summary="Frequency of the tone; unset: 220 to 880 Hz by seed",
)

INFO = EngineInfo(
    name="mock",
    role="generator",
    kinds=("test",),
    model="mock",
    model_revision="1",
    licence="Apache-2.0",
    commercial_use=True,
    sample_rate=44_100,
    channels=2,
    any_rate=True,
    gated=False,
    options=(_FREQUENCY,),
    summary="For tests: a tone of 220 to 880 Hz by seed, silence, or white noise",
)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accepted from callers that set them for every engine; nothing depends on them."""

    model: Literal["mock", ""] = ""
    device: str = "cpu"
    dtype: str = ""


def load(info: EngineInfo, settings: Settings) -> MockEngine:
    """Return the engine."""
    return MockEngine(info)


class MockEngine:
    device = "cpu"

    def __init__(self, info: EngineInfo = INFO) -> None:
        self.info = info

    def notes(self, item: Item) -> Notes:
        check_item(self.info.name, item)
        option_values(self.info, item.options)
        return Notes(details={"kind": _kind(item.prompt)})

    def generate(self, items: Sequence[Item], on_step: OnStep | None = None) -> list[Audio]:
        sounds = []
        for done, item in enumerate(items, 1):
            sounds.append(self._sound(item))
            if on_step is not None:
                on_step(done, len(items))
        return sounds

    def close(self) -> None:
        """Nothing is held."""

    def _sound(self, item: Item) -> Audio:
        """Return float32 [2, T]: a sine of amplitude 0.5, zeros, or noise of RMS 0.1."""
        check_item(self.info.name, item)
        rate = item.sample_rate or self.info.sample_rate
        frames = frames_of(item.duration_s, rate)
        kind = _kind(item.prompt)
        if kind == "silence":
            return np.zeros((2, frames), dtype=np.float32)
        if kind == "noise":
            return 0.1 * np.random.default_rng(item.seed).standard_normal((2, frames), dtype=np.float32)
        asked = option_values(self.info, item.options)[_FREQUENCY.name]
        hz = float(asked) if asked is not None else 220.0 + item.seed % 661
        wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(frames) / rate)
        return np.tile(wave.astype(np.float32), (2, 1))


def _kind(prompt: str) -> str:
    return next((word for word in prompt.lower().split() if word in ("tone", "silence", "noise")), "tone")
