"""``tight``: TangoFlux on a card that holds two sounds at once, and says so as torch does.

Its first sound is silent for one prompt.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import torch

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import tangoflux

INFO = msgspec.structs.replace(tangoflux.INFO, name="tight")
Settings = tangoflux.Settings


class Tight(tangoflux.TangoFlux):
    silent_once = True

    def generate(self, items: Any, on_step: Any = None) -> Any:
        sounds = super().generate(items, on_step)
        if items[0].prompt == "first nothing, then rain" and self.silent_once:
            self.silent_once = False
            return [np.zeros_like(sound) for sound in sounds]
        return sounds

    def _placed_sample(self, jobs: Any, texts: Any, tick: Any) -> Any:
        if len(jobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super()._placed_sample(jobs, texts, tick)


def load(info: EngineInfo, settings: tangoflux.Settings) -> tangoflux.TangoFlux:
    loaded = tangoflux.load(info, settings)
    loaded.__class__ = Tight
    return loaded
