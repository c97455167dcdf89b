"""How many seconds of sound the built-in engine makes per second, recipe by recipe, on one core.

Run it alone with ``python -m benchmarks.engine_speed``; ``rows()`` is what ``make bench`` prints.
Ten seconds of stereo at 44.1 kHz each; the processor's time of this thread is counted, so that other
work on the machine does not; the best of three.
"""

from __future__ import annotations

import time
from typing import Any

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES

SECONDS = 10.0
RATE = 44_100
REACH = 50.0


def rows() -> list[dict[str, Any]]:
    """One row per recipe, a mix of three with rooms, and the slowest: seconds of sound per second of work."""
    prompts = {name: recipe.keys[0] for name, recipe in RECIPES.items()}
    prompts["three layers, one far off"] = "rain on leaves, birds and distant thunder"
    speeds = {name: _speed(prompt) for name, prompt in prompts.items()}
    slowest = min(speeds, key=lambda name: speeds[name])
    results = [
        {"name": f"procedural: {name}", "value": round(speed), "unit": "x real time", "against": f"at least {REACH:g}"}
        for name, speed in speeds.items()
    ]
    results.append(
        {
            "name": f"procedural: slowest ({slowest})",
            "value": round(speeds[slowest]),
            "unit": "x real time",
            "against": f"at least {REACH:g}",
        }
    )
    return results


def _speed(prompt: str) -> float:
    engine = ProceduralEngine()
    times = []
    for seed in range(3):
        item = Item(prompt=prompt, seed=seed, duration_s=SECONDS, sample_rate=RATE, loop=True)
        start = time.thread_time()
        engine.generate([item])
        times.append(time.thread_time() - start)
    return SECONDS / min(times)


if __name__ == "__main__":
    for row in rows():
        print(f"{row['name']:48} {row['value']:6} {row['unit']}  {row['against']}")
