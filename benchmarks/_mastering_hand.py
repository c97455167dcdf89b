"""One version at work for mastering_beside: masters what it is told to, and says what processor time that took.

    python -m benchmarks._mastering_hand FOLDER OUT [numpy]      then a sound's name a line on stdin

With "numpy" it does without the compiled library.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from audio_pool.engine_info import Notes
from audio_pool.results import SoundMetadata
from audio_pool.types import Recipe, Rendition, Shape
from audio_pool.worker.mastering import Mastering
from audio_pool.worker.shaping import RawCandidate


def main(folder: Path, out: Path, without: bool) -> None:
    if without:
        from audio_pool.audio import native

        native.library = lambda: None  # type: ignore[assignment]
    mastering = Mastering()
    for line in sys.stdin:
        name = line.strip()
        told = json.loads((folder / f"{name}.json").read_text())
        candidates = [
            RawCandidate(
                audio=audio, sample_rate=told["raw_rate"], seed=seed, looped=told["native"],
                notes=Notes(expects=frozenset(told["expects"])),
            )
            for seed, audio in enumerate(np.load(folder / f"{name}.npy"), 1)
        ]  # fmt: skip
        frames, rate, loop = told["frames"], told["rate"], told["loop"]
        shape = Shape(
            sample_rate=rate, frames=frames, loop=loop, tail_s=told["tail_s"], highpass_hz=80.0, highpass_order=4
        )
        recipe = Recipe(
            prompt=told["prompt"], negative_prompt="", engine="procedural", model="procedural", frames=frames,
            sample_rate=rate, loop=loop, seed=1, steps=None, guidance_scale=None, candidates=len(candidates),
            voice=None, init_audio_sha256=None, init_strength=None, namespace="default",
        )  # fmt: skip
        cpu, wall = time.process_time(), time.perf_counter()
        finished = mastering.finish(
            candidates,
            recipe=recipe,
            shape=shape,
            rendition=Rendition(format="flac", sample_rate=rate, bit_depth=24, target_lufs=-23.0, true_peak_dbfs=-2.0),
            directory=out,
            name=name,
            metadata=SoundMetadata(prompt=told["prompt"], engine="procedural"),
            gated=False,
        )
        took = time.process_time() - cpu, time.perf_counter() - wall
        said = finished.sound.metadata
        report = {
            "gain": [said["loudness_lufs"], said["true_peak_dbfs"]],
            "verdict": [said["seed"], list(said["quality"]["issues"]), [one["verdict"] for one in said["candidates"]]],
            "score": said["quality"]["score"],
            "seam": said["loop"]["seam_score"] if loop else 100.0,
            "vector": np.asarray(finished.vectors["sound:descriptors"], np.float64).tolist(),
        }
        print(json.dumps({"took": took, "report": report}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "numpy" in sys.argv[3:])
