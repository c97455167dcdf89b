"""The default encoder without torch beside the same model in torch: one prompt, a batch, its load, how equal it is."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from audio_pool.engines import load_engine
from audio_pool.engines.procedural.recipe import RECIPES
from audio_pool.errors import EngineUnavailable

WAYS: dict[str, dict[str, str]] = {
    "torch, float32": {"backend": "torch"},
    "ONNX Runtime, float32": {"quantization": "none"},
    "ONNX Runtime, int8": {},
}
BATCH = 32


def rows() -> list[dict[str, Any]]:
    """One row a way; cosines are those to the first that can be loaded."""
    import audio_pool.engines.procedural.engine  # noqa: F401 - reads the recipes

    texts = sorted({recipe.summary for recipe in RECIPES.values()})[:200]
    found, first = [], None
    for way, settings in WAYS.items():
        begun = time.perf_counter()
        try:
            engine = load_engine("minilm", settings)
        except EngineUnavailable as exc:
            print(f"   (no {way}: {exc})")
            continue
        load_s = time.perf_counter() - begun
        engine.embed(texts[:3])
        singly, wall_ms, processor_ms = [], [], []
        for text in texts:
            at, used = time.perf_counter(), time.process_time()
            singly.append(engine.embed([text])[0])
            wall_ms.append(1000 * (time.perf_counter() - at))
            processor_ms.append(1000 * (time.process_time() - used))
        used = time.process_time()
        together = np.concatenate([engine.embed(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)])
        batched_ms = 1000 * (time.process_time() - used) / len(texts)
        first = together if first is None else first
        cosines = (together * first).sum(axis=1)
        found.append(
            {
                "encoder": way,
                "load, s": round(load_s, 2),
                "one prompt, ms": round(statistics.median(wall_ms), 2),
                "processor, ms": round(statistics.median(processor_ms), 2),
                f"in {BATCH}, ms each": round(batched_ms, 2),
                "cosine, least": round(float(cosines.min()), 5),
                "alone - together": float(np.abs(np.stack(singly) - together).max()),
            }
        )
    return found
