"""``piecewise``: gives its sound a second at a time, and can be held, and die, in the middle of it.

After its fourth second, ``wait PATH`` goes on when the file is there; ``die PATH`` ends its worker, unless the file is
there; ``stop`` is no sound from there on. ``early PATH`` ends its worker before the first, unless the file is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np

from audio_pool.engines.base import Audio, EngineInfo, Item, Notes, OnStep

INFO = EngineInfo(
    name="piecewise", role="generator", model="piecewise", licence="Apache-2.0", commercial_use=True,
    sample_rate=32_000, channels=2, gated=False, streams=True, window_s=1.0,
)  # fmt: skip


class Piecewise:
    device = "cpu"
    info = INFO

    def __init__(self, diary: str) -> None:
        self.diary = diary

    def notes(self, item: Item) -> Notes:
        return Notes()

    def generate(self, items: list[Item], on_step: OnStep | None = None) -> list[Audio]:
        return [np.concatenate(list(self.pieces(item, on_step)), axis=1) for item in items]

    def pieces(self, item: Item, on_step: OnStep | None = None) -> Iterator[Audio]:
        with open(self.diary, "a") as diary:
            diary.write(item.prompt + "\n")
        verb, _, path = item.prompt.partition(" ")
        if verb == "early" and not os.path.exists(path):
            open(path, "w").close()
            os._exit(9)
        frames, rate = round(item.duration_s * self.info.sample_rate), self.info.sample_rate
        total = -(-frames // rate)
        for number in range(total):
            if number == 4:
                self._in_the_middle(verb, path, on_step)
            at = np.arange(number * rate, min((number + 1) * rate, frames))
            # each second is twice as loud as the one before
            wave = 0.03 * 2**number * np.sin(at * (0.03 + item.seed % 100 / 1000))
            yield np.tile(wave.astype(np.float32), (2, 1))
            if on_step is not None:
                on_step(number + 1, total)

    def _in_the_middle(self, verb: str, path: str, on_step: OnStep | None) -> None:
        while verb in ("wait", "die") and not os.path.exists(path):
            if verb == "die" and os.path.exists(path + ".now"):
                os._exit(9)
            if on_step is not None:
                on_step(4, 5)
            time.sleep(0.01)
        if verb == "stop":
            raise RuntimeError("a gear is broken")

    def close(self) -> None: ...


def load(diary: str = "") -> Piecewise:
    return Piecewise(diary)
