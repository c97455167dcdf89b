"""A warm worker against a new process for every request, on the same work.

The work: one second of sound, generated raw, once by the built-in engine and once by a small AudioLDM
pipeline with random weights (an honest one: the library's own code, tiny layers). Both sides make the
same sound from the same seed; only who makes it differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from audio_pool import AudioPool

ROUNDS = 5
_ALONE = """
import json, sys
from audio_pool.engines import Item, load_engine
name, settings, item = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
sound = load_engine(name, settings).generate([Item(**item)])[0]
print(sound.shape)
"""


def rows() -> list[dict[str, Any]]:
    """Median seconds of each way, and the ratio."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        for label, engine, settings, steps in _engines(Path(place)):
            alone = _alone(engine, settings, steps)
            warm = _warm(Path(place) / f"cache-{engine}", engine, settings, steps)
            found.append(
                {
                    "engine": label,
                    "process per request, s": round(alone, 3),
                    "warm worker, s": round(warm, 4),
                    "ratio": f"{alone / warm:.0f} x",
                    "reach": "20 x",
                }
            )
    return found


def _engines(place: Path) -> list[tuple[str, str, dict[str, Any], int | None]]:
    engines: list[tuple[str, str, dict[str, Any], int | None]] = [("procedural", "procedural", {}, None)]
    try:
        from tests.support.checkpoints import audioldm

        engines.append(("small AudioLDM", "audioldm", {"model": str(audioldm(place / "audioldm")), "device": "cpu"}, 2))
    except ImportError as exc:
        print(f"   (no diffusers here: {exc})")
    return engines


def _alone(engine: str, settings: dict[str, Any], steps: int | None) -> float:
    item = json.dumps({"prompt": "rain", "seed": 1, "duration_s": 1.0, "steps": steps})
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", _ALONE, engine, json.dumps(settings), item],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        took.append(time.perf_counter() - started)
    return sorted(took)[ROUNDS // 2]


def _warm(cache: Path, engine: str, settings: dict[str, Any], steps: int | None) -> float:
    """The whole way through the pool, look-up, mastering and storing included."""
    config = {
        "defaults": {"engine": engine},
        "engines": {engine: settings},
        "cache": {"dir": str(cache), "encoder": "off"},
        # random weights make noise: what the gate thinks of it is not what is measured
        "limits": {"max_rounds": 1},
    }
    took = []
    with AudioPool.from_config(config) as pool:
        for number in range(ROUNDS + 1):
            started = time.perf_counter()
            pending = pool.submit("rain", duration_s=1.0, steps=steps, seed=number, force=True)
            try:
                pending.result(300)
            except Exception as exc:
                if getattr(exc, "code", "") != "quality":
                    raise
            took.append(time.perf_counter() - started)
    return sorted(took[1:])[ROUNDS // 2]
