"""The diffusion engines beside the plain library pipelines: seconds per clip, memory, share of the floor.

Run it alone with ``python -m benchmarks.gpu_engines``; ``rows()`` is what ``make bench`` prints.
On a GPU every engine has its full official size with random weights (speed does not depend on their
values) and makes its usual clip. Without one the models are tiny and the clips short: only the gain of
batching over the plain pipeline is then worth reading, and the GPU's figures are not yet measured.

The floor is the arithmetic of the clip (counted by torch) at the rate of the best large matrix product
of the same run. Guidance and all sounds of a batch share one pass.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.official_sizes import SIZES, USUAL
from tests.support.plain_pipelines import PLAIN
from tests.support import checkpoints
from torch.utils.flop_counter import FlopCounterMode

from audio_pool.engines import Item, load_engine

REDUCED = {"duration_s": 1.4, "steps": 8}
PROMPTS = ("rain on a tin roof", "dog bark", "the low wind on the sea", "music on the roof")


def _device() -> tuple[str, torch.dtype, bool]:
    if torch.cuda.is_available():
        return "cuda:0", torch.bfloat16, True
    return "cpu", torch.float32, False


def _matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Operations per second of the best of ten large matrix products."""
    size = 8192 if device != "cpu" else 1024
    left = torch.randn(size, size, device=device, dtype=dtype)
    times = [_seconds(lambda: left @ left, device) for _ in range(10)]
    return 2 * size**3 / min(times)


def _seconds(work: Callable[[], Any], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _operations(engine: Any, item: Item) -> float:
    """Of one clip: what a step adds is counted from two short runs, so that counting stays quick."""
    counts = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            engine.generate([Item(prompt=item.prompt, seed=0, duration_s=item.duration_s, steps=steps)])
        counts.append(counter.get_total_flops())
    each = counts[1] - counts[0]
    return float(counts[0] + each * ((item.steps or 1) - 1))


def _measured(work: Callable[[], Any], device: str, rounds: int) -> tuple[float, float | None]:
    """Median seconds after one warm-up, and peak memory in GB on a GPU."""
    work()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(_seconds(work, device) for _ in range(rounds))
    return seconds, torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else None


def engine_rows(name: str) -> list[dict[str, Any]]:
    """The table of one engine."""
    device, dtype, gpu = _device()
    usual = USUAL[name] if gpu else REDUCED
    items = [
        Item(
            prompt=PROMPTS[seed % len(PROMPTS)],
            seed=seed,
            duration_s=float(usual["duration_s"]),
            steps=int(usual["steps"]),
        )
        for seed in range(8)
    ]
    settings: dict[str, Any] = {"device": device, "dtype": str(dtype).removeprefix("torch.")}
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        sizes = (SIZES[name],) if gpu else ()
        model = getattr(checkpoints, name)(Path(home) / name, *sizes)
        table.append(_plain(name, model, items[0], device, dtype))
        engine = load_engine(name, {"model": model, **settings})
        floor = _operations(engine, items[0]) / _matmul_rate(device, dtype)
        table += _batches(engine, items, "engine", device)
        engine.close()
        if gpu:
            shapes = [{"items": size, "duration_s": items[0].duration_s} for size in (1, 8)]
            engine = load_engine(name, {"model": model, "compile": True, "compile_shapes": shapes, **settings})
            table += _batches(engine, items, "engine, compiled", device)
            engine.close()
    return [_row(name, entry, table[0]["seconds"], floor, items[0]) for entry in table]


def _plain(name: str, model: Path, item: Item, device: str, dtype: torch.dtype) -> dict[str, Any]:
    sound = PLAIN[name](model, device, dtype)
    seconds, memory = _measured(lambda: sound(item), device, 3)
    return {"setting": "plain pipeline, one by one", "batch": 1, "seconds": seconds, "memory": memory}


def _batches(engine: Any, items: list[Item], setting: str, device: str) -> list[dict[str, Any]]:
    found = []
    for size in (1, 8):
        batch = items[:size]
        seconds, memory = _measured(lambda batch=batch: engine.generate(batch), device, 3)
        found.append({"setting": setting, "batch": size, "seconds": seconds, "memory": memory})
    return found


def _row(name: str, entry: dict[str, Any], plain: float, floor: float, item: Item) -> dict[str, Any]:
    each = entry["seconds"] / entry["batch"]
    return {
        "engine": name,
        "setting": entry["setting"],
        "batch": entry["batch"],
        "s per batch": round(entry["seconds"], 3),
        "s of sound per s": round(item.duration_s / each, 2),
        "x plain": round(plain / each, 2),
        "share of floor": f"{floor / each:.0%}",
        "peak GB": "" if entry["memory"] is None else round(entry["memory"], 2),
    }


def rows() -> list[dict[str, Any]]:
    """One row per engine and setting; the last says on which machine."""
    _, _, gpu = _device()
    threads = torch.get_num_threads()
    table = []
    try:
        torch.set_num_threads(threads if gpu else 1)
        for name in SIZES:
            table += engine_rows(name)
    finally:
        torch.set_num_threads(threads)
    machine = torch.cuda.get_device_name(0) if gpu else "CPU, tiny models, one thread; GPU figures not yet measured"
    return [*table, {"engine": f"on: {machine}"}]


def main() -> None:
    from benchmarks.__main__ import table

    print("\n".join(table(rows())))


if __name__ == "__main__":
    main()
