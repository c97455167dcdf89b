"""How well loops join, over 100 generated ones, with the same measure at random places as the control.

Two kinds: sounds that the built-in engine makes as loops, and one-shots of it that are looped by the
crossfade. The bar: as good, within 3 points, as anywhere else in the same sounds, and no click.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from audio_pool.audio.loop import make_loop
from audio_pool.audio.seam import seam_score
from audio_pool.engines import Item, load_engine

PROMPTS = (
    "rain", "wind", "stream", "fire", "ocean waves", "crickets", "ambient drone", "rain on a tin roof",
    "machine hum", "crowd murmur",
)  # fmt: skip
RATE = 44_100
SECONDS = 5.0


def rows() -> list[dict[str, Any]]:
    """Mean score and share of at least 99, at the seam and at random places, for both kinds."""
    engine = load_engine("procedural")
    rng = np.random.default_rng(0)
    found = []
    for kind, native in (("made as a loop", True), ("looped by crossfade", False)):
        at_seam, elsewhere, worst_step = [], [], 0.0
        for number in range(50):
            audio, fade = _loop(engine, PROMPTS[number % len(PROMPTS)], number, native)
            at_seam.append(seam_score(audio, RATE, fade))
            place = int(rng.integers(audio.shape[1] // 4, 3 * audio.shape[1] // 4))
            elsewhere.append(seam_score(audio, RATE, fade, position=place))
            worst_step = max(worst_step, _step_ratio(audio))
        found.append(
            {
                "kind": kind,
                "seam, mean": round(float(np.mean(at_seam)), 2),
                "random places, mean": round(float(np.mean(elsewhere)), 2),
                "difference (bar: 3)": round(float(np.mean(elsewhere) - np.mean(at_seam)), 2),
                "seam >= 99": f"{np.mean(np.array(at_seam) >= 99):.0%}",
                "random >= 99": f"{np.mean(np.array(elsewhere) >= 99):.0%}",
                "worst seam step / largest step inside": round(worst_step, 3),
            }
        )
    return found


def _loop(engine: Any, prompt: str, seed: int, native: bool) -> tuple[Any, int]:
    frames = int(SECONDS * RATE)
    if native:
        item = Item(prompt=prompt, seed=seed, duration_s=SECONDS, loop=True, sample_rate=RATE)
        return engine.generate([item])[0], 0
    tail = int(1.5 * RATE)
    item = Item(prompt=prompt, seed=seed, duration_s=SECONDS + 1.5, sample_rate=RATE)
    loop = make_loop(engine.generate([item])[0], frames, tail, RATE)
    return loop.audio, loop.crossfade_frames


def _step_ratio(audio: Any) -> float:
    """The sample step across the wrap, against the largest inside: a click is well above 1."""
    inside = np.abs(np.diff(audio, axis=1)).max(axis=1)
    return float((np.abs(audio[:, 0] - audio[:, -1]) / np.maximum(inside, 1e-9)).max())
