"""What finishing a sound costs: CPU per sound, and how many one core finishes in a second.

Candidates are the built-in engine's, so that no generator is in the figures; with several, the first has a fault (a
long silence before it), or none has: only then do they differ in what they cost. Files go to a folder in memory where
there is one. CPU of this process, all threads, the least of several runs.

    python -m benchmarks mastering
    PYTHONPATH=OTHER_CHECKOUT/src python -m benchmarks.mastering       the same of another version
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker.mastering import Mastering, RawCandidate

RATE = 44_100
TAIL_S = 1.5
PROMPTS = ("rain", "piano")
RUNS = 3


def rows() -> list[dict[str, Any]]:
    """One line a length, loop or not, and number of candidates."""
    mastering = Mastering()
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        return [
            _row(mastering, folder, seconds, loop, count, faulty)
            for seconds in (10.0, 30.0)
            for loop in (False, True)
            for count, faulty in ((1, False), (4, False), (4, True))
        ]
    finally:
        shutil.rmtree(folder)


def _row(mastering: Mastering, folder: Path, seconds: float, loop: bool, count: int, faulty: bool) -> dict[str, Any]:
    spent = [_cpu_s(mastering, folder, prompt, seconds, loop, count, faulty) for prompt in PROMPTS]
    mean = sum(spent) / len(spent)
    kind = f"{seconds:.0f} s, {'loop' if loop else 'one-shot'}"
    judged = "" if count == 1 else ", one faulty" if faulty else ", none faulty"
    return {
        "sound": kind,
        "candidates": f"{count}{judged}",
        "CPU a sound, ms": round(1000 * mean, 1),
        "sounds a second and core": round(1 / mean, 1),
    }


def _cpu_s(
    mastering: Mastering, folder: Path, prompt: str, seconds: float, loop: bool, count: int, faulty: bool
) -> float:
    tail = TAIL_S if loop else 0.0
    candidates = [_candidate(prompt, seed, seconds + tail, faulty and seed == 1) for seed in range(1, count + 1)]
    shape = Shape(
        sample_rate=RATE, frames=round(seconds * RATE), loop=loop, tail_s=tail, highpass_hz=80.0, highpass_order=4
    )
    rendition = Rendition(format="flac", sample_rate=RATE, bit_depth=24, target_lufs=-23.0, true_peak_dbfs=-2.0)
    recipe = Recipe(
        prompt=prompt, negative_prompt="", engine="procedural", model="procedural", frames=shape.frames,
        sample_rate=RATE, loop=loop, seed=1, steps=None, guidance_scale=None, candidates=count, voice=None,
        init_audio_sha256=None, init_strength=None, namespace="default",
    )  # fmt: skip
    least = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        mastering.finish(
            candidates,
            recipe=recipe,
            shape=shape,
            rendition=rendition,
            directory=folder,
            name="sound",
            metadata=SoundMetadata(prompt=prompt, engine="procedural"),
            gated=False,
        )
        least = min(least, time.process_time() - started)
    return least


def _candidate(prompt: str, seed: int, seconds: float, faulty: bool) -> RawCandidate:
    item = Item(prompt=prompt, seed=seed, duration_s=seconds, sample_rate=RATE)
    engine = ProceduralEngine()
    audio = np.ascontiguousarray(engine.generate([item])[0])
    if faulty:
        audio[:, : audio.shape[1] // 3] = 0
    return RawCandidate(audio=audio, sample_rate=RATE, seed=seed, notes=engine.notes(item))


if __name__ == "__main__":
    from benchmarks.__main__ import table

    print("\n".join(table(rows())))
