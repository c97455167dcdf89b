"""How many cores one GPU needs: CPU a finished sound, and how many one core finishes in a second.

Candidates are the built-in engine's, so that no generator is in the figures; with several, the first has a fault (a
long silence before it), or none has: only then do they differ in what they cost. CLAP judges all of them: one of the
official size (HTSAT-tiny, RoBERTa-base) with random weights, on one thread of the CPU; its rows are left out where it
cannot be built. Files go to a folder in memory where there is one. CPU of this process, all threads, the least of
several runs; wall time is less where a second core is free, as the master is encoded in a thread of its own.

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

from audio_pool.engines.base import Item, Scorer
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker.mastering import Mastering
from audio_pool.worker.shaping import RawCandidate

RATE = 44_100
TAIL_S = 1.5
PROMPTS = ("rain", "piano")
RUNS = 3


GPU_S = 0.3
"""A sound that a GPU makes in so long is what cores are counted for."""


def rows() -> list[dict[str, Any]]:
    """One line a length, loop or not, number of candidates, other format, and judge."""
    mastering = Mastering()
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        found = [
            _row(mastering, folder, seconds, loop, count, faulty)
            for seconds in (10.0, 30.0)
            for loop in (False, True)
            for count, faulty in ((1, False), (4, False), (4, True))
        ]
        found += [_row(mastering, folder, 30.0, False, 1, False, format=name) for name in ("wav", "ogg")]
        if (clap := _clap()) is not None:
            found += [
                _row(mastering, folder, seconds, False, count, False, clap)
                for seconds, count in ((10.0, 1), (10.0, 4), (30.0, 1), (30.0, 4))
            ]
        return found
    finally:
        shutil.rmtree(folder)


def _clap() -> Scorer | None:
    try:
        import torch
        from benchmarks import official_sizes
        from tests.support import built
    except ImportError as exc:
        print(f"without CLAP: {exc}")
        return None
    torch.set_num_threads(1)
    scorer: Scorer = built.clap(sizes=official_sizes.CLAP)
    return scorer


def _row(
    mastering: Mastering,
    folder: Path,
    seconds: float,
    loop: bool,
    count: int,
    faulty: bool,
    scorer: Scorer | None = None,
    format: str = "flac",
) -> dict[str, Any]:
    spent = [_seconds(mastering, folder, prompt, seconds, loop, count, faulty, scorer, format) for prompt in PROMPTS]
    cpu, wall = (sum(column) / len(spent) for column in zip(*spent, strict=True))
    beside = "" if format == "flac" else f", and as {format.upper()}"
    judged = ", by CLAP" if scorer else "" if count == 1 else ", one faulty" if faulty else ", none faulty"
    return {
        "sound": f"{seconds:.0f} s, {'loop' if loop else 'one-shot'}{beside}",
        "candidates": f"{count}{judged}",
        "CPU a sound, ms": round(1000 * cpu, 1),
        "wall, ms": round(1000 * wall, 1),
        "sounds a second and core": round(1 / cpu, 1),
        f"cores a GPU needs at {GPU_S} s a sound": round(cpu / GPU_S, 2),
    }


def _seconds(
    mastering: Mastering,
    folder: Path,
    prompt: str,
    seconds: float,
    loop: bool,
    count: int,
    faulty: bool,
    scorer: Scorer | None,
    format: str,
) -> tuple[float, float]:
    """Processor time and wall time of one sound."""
    tail = TAIL_S if loop else 0.0
    candidates = [_candidate(prompt, seed, seconds + tail, faulty and seed == 1) for seed in range(1, count + 1)]
    shape = Shape(
        sample_rate=RATE, frames=round(seconds * RATE), loop=loop, tail_s=tail, highpass_hz=80.0, highpass_order=4
    )
    depth = 16 if format == "wav" else 24
    rendition = Rendition(format=format, sample_rate=RATE, bit_depth=depth, target_lufs=-23.0, true_peak_dbfs=-2.0)
    recipe = Recipe(
        prompt=prompt, negative_prompt="", engine="procedural", model="procedural", frames=shape.frames,
        sample_rate=RATE, loop=loop, seed=1, steps=None, guidance_scale=None, candidates=count, voice=None,
        init_audio_sha256=None, init_strength=None, namespace="default",
    )  # fmt: skip
    cpu = wall = float("inf")
    for _ in range(RUNS if scorer is None else 1):
        started, began = time.process_time(), time.perf_counter()
        mastering.finish(
            candidates,
            recipe=recipe,
            shape=shape,
            rendition=rendition,
            directory=folder,
            name="sound",
            metadata=SoundMetadata(prompt=prompt, engine="procedural"),
            gated=False,
            scorer=scorer,
        )
        cpu = min(cpu, time.process_time() - started)
        wall = min(wall, time.perf_counter() - began)
    return cpu, wall


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
