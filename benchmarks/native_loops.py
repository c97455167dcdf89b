"""Loops closed by their engine against loops closed by a crossfade: the joint, and how even the level is.

Of the built-in engine (the control: its loops are periodic by construction) and of tiny random models of the diffusion
engines, each in lengths below, at and above its window. "plain" is what the model makes without any of it, its end put
to its beginning. A random model's sound is the same everywhere, so these figures say what the arithmetic does to a
steady sound; what trained weights make of a ring has to be heard.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tests.support import checkpoints

from audio_pool.audio.loop import make_loop
from audio_pool.audio.seam import rotate_to_quiet_start, seam_score
from audio_pool.engines import Item, load_engine

CONTROLS = ("rain", "wind", "stream", "fire", "ambient drone", "machine hum", "crowd murmur", "rain on a tin roof")
SEEDS = 16
"""Of loops of a few seconds; of longer ones a quarter."""
TAIL_S = 1.5
MODELS: dict[str, tuple[float, ...]] = {
    "tangoflux": (0.74, 1.48, 2.5),
    "stable_audio": (0.74, 1.48, 2.5),
    "audioldm": (2.0, 2.04, 12.0),
    "audioldm2": (2.0, 2.04, 12.0),
}
"""Seconds of loops; the windows of the tiny ones of Oobleck are 1.49 s, AudioLDM's are 10.24 s."""


def rows() -> list[dict[str, Any]]:
    """One row per engine, length and method."""
    import torch

    torch.set_num_threads(1)
    found = []
    procedural = load_engine("procedural")
    found += _compared(procedural, "procedural", 5.0, [(prompt, number) for number, prompt in enumerate(CONTROLS)])
    with tempfile.TemporaryDirectory() as directory:
        for name, lengths in MODELS.items():
            engine = load_engine(name, {"model": _built(name, Path(directory) / name), "device": "cpu"})
            for seconds in lengths:
                found += _compared(engine, name, seconds, _asked(seconds))
    return found


def _asked(seconds: float) -> list[tuple[str, int]]:
    return [("rain on a tin roof", 100 * seed) for seed in range(SEEDS if seconds < 5 else SEEDS // 4)]


def _built(name: str, directory: Path) -> Path:
    if name == "tangoflux":
        return checkpoints.tangoflux(directory, sequence=32, longest_s=1.48)
    built: Path = getattr(checkpoints, name)(directory)
    return built


def _compared(engine: Any, name: str, seconds: float, asked: list[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    for method in ("native", "crossfade", "plain"):
        turns = [_turn(engine, prompt, seed, seconds, method) for prompt, seed in asked]
        rng = np.random.default_rng(0)
        rate = engine.info.sample_rate
        joints = [seam_score(audio, rate, fade) for audio, fade in turns]
        places = [int(rng.integers(audio.shape[1] // 4, 3 * audio.shape[1] // 4)) for audio, _ in turns]
        others = [seam_score(audio, rate, fade, place) for (audio, fade), place in zip(turns, places, strict=True)]
        yield {
            "engine": name,
            "seconds": seconds,
            "closed by": method,
            "seam, mean": round(float(np.mean(joints)), 1),
            "worst": round(min(joints), 1),
            "random places": round(float(np.mean(others)), 1),
            "step / p99": round(float(np.mean([_step(audio) for audio, _ in turns])), 2),
            "level at joint, dB": round(float(np.mean([_at_joint(audio) for audio, _ in turns])), 2),
            "ripple, dB": round(float(np.mean([_ripple(audio) for audio, _ in turns])), 2),
        }


def _turn(engine: Any, prompt: str, seed: int, seconds: float, method: str) -> tuple[Any, int]:
    """Return one turn, float32 [C, T], and the frames of its crossfade."""
    rate = engine.info.sample_rate
    steps = {} if engine.info.steps is None else {"steps": 4}
    tail = min(TAIL_S, seconds / 2) if method == "crossfade" else 0.0
    item = Item(
        prompt=prompt,
        seed=seed,
        duration_s=seconds + tail,
        loop=method == "native",
        sample_rate=rate if engine.info.any_rate else None,
        **steps,
    )
    (audio,) = engine.generate([item])
    if method == "native":
        return rotate_to_quiet_start(audio, rate)[0], 0  # as it is delivered: a stroke may stand on the joint
    if method == "plain":
        return audio, 0
    made = make_loop(audio, round(seconds * rate), round(tail * rate), rate)
    return made.audio, made.crossfade_frames


def _levels(audio: Any) -> Any:
    """Levels in dB of 32 equal parts, the first of which lies across the joint."""
    part = audio.shape[1] // 32
    around = np.roll(audio, part // 2, axis=1)[:, : 32 * part]
    power = np.square(around.astype(np.float64)).reshape(len(audio), 32, part).mean(axis=(0, 2))
    return 10 * np.log10(power + 1e-12)


def _at_joint(audio: Any) -> float:
    """Level across the joint against the median of all parts."""
    levels = _levels(audio)
    return float(levels[0] - np.median(levels))


def _ripple(audio: Any) -> float:
    """Standard deviation of the level."""
    return float(np.std(_levels(audio)))


def _step(audio: Any) -> float:
    """Sample step across the joint against the 99th percentile of all others: a click is well above 1."""
    inside = np.percentile(np.abs(np.diff(audio, axis=1)), 99)
    return float(np.abs(audio[:, 0] - audio[:, -1]).max() / max(inside, 1e-9))
