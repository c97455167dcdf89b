"""What each diffusion engine needs at its official size: weights by setting, and (on a GPU) measured peaks.

Run it alone with ``python -m benchmarks.memory``; ``rows()`` is what ``make bench`` prints.
Weights are counted from modules of the full official size that hold no data, as each setting stores
them. Working memory depends on kernels: it is measured, and so only given where there is a GPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.official_sizes import SIZES, USUAL
from tests.support import checkpoints

from audio_pool.engines import Item, load_engine

STAGES = {
    "text_encoder": "encoder",
    "text_encoder_2": "encoder",
    "language_model": "encoder",
    "projection_model": "encoder",
    "fc": "encoder",
    "duration": "encoder",
    "unet": "denoiser",
    "transformer": "denoiser",
    "vae": "decoder",
    "vocoder": "decoder",
}
GIGA = 2**30


def _modules(name: str) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        parts = getattr(checkpoints, f"{name}_parts")(SIZES[name])
    modules = {key: value for key, value in parts.items() if isinstance(value, torch.nn.Module)}
    if name == "tangoflux":
        modules["vae"] = modules["vae"].decoder  # the engine drops the encoder
    return modules


def _stored_bytes(part: str, module: torch.nn.Module, wide: int, bits: int) -> float:
    """Bytes of a part's weights: ``wide`` bytes each, linear layers of big parts at ``bits`` (0: as they are)."""
    total = sum(parameter.numel() for parameter in module.parameters())
    if not bits or STAGES[part] == "decoder" or part in ("fc", "duration", "projection_model"):
        return total * wide
    linear = sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, torch.nn.Linear))
    scales = linear / 128 * 4 if bits == 4 else 0
    return (total - linear) * wide + linear * bits / 8 + scales


def _weights(name: str, modules: dict[str, torch.nn.Module]) -> list[dict[str, Any]]:
    table = []
    for setting, wide, bits in (
        ("float32", 4, 0),
        ("float16", 2, 0),
        ("float16, 8bit", 2, 8),
        ("float16, 4bit", 2, 4),
    ):
        stages = dict.fromkeys(("encoder", "denoiser", "decoder"), 0.0)
        for part, module in modules.items():
            stages[STAGES[part]] += _stored_bytes(part, module, wide, bits)
        row: dict[str, Any] = {"engine": name, "setting": setting}
        row |= {f"{stage} GB": round(size / GIGA, 2) for stage, size in stages.items()}
        row["all GB"] = round(sum(stages.values()) / GIGA, 2)
        row["largest stage GB"] = round(max(stages.values()) / GIGA, 2)
        table.append(row)
    return table


def _peaks(name: str) -> list[dict[str, Any]]:
    """Measured on the GPU: one usual clip (two steps: memory does not grow with steps) by setting."""
    table = []
    item = Item(prompt="rain on a tin roof", seed=0, duration_s=float(USUAL[name]["duration_s"]), steps=2)
    lean = {"vae_slicing": True, "chunked_decode": True}
    with tempfile.TemporaryDirectory() as home:
        model = getattr(checkpoints, name)(Path(home) / name, SIZES[name])
        for setting in (
            {},
            lean,
            {"quantization": "8bit", **lean},
            {"quantization": "4bit", "dtype": "bfloat16", **lean},
            {"offload": "model", **lean},
            {"offload": "group", **lean},
            {"offload": "sequential", **lean},
        ):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            engine = load_engine(name, {"model": model, "device": "cuda:0", "dtype": "float16", **setting})
            engine.generate([item])
            peak = round(torch.cuda.max_memory_allocated() / GIGA, 2)
            shown = ", ".join(f"{key} = {value}" for key, value in setting.items()) or "float16"
            table.append({"engine": name, "setting": f"peak: {shown}", "all GB": peak})
            engine.close()
    return table


def rows() -> list[dict[str, Any]]:
    """Weights of every engine by setting, then peaks where they can be measured."""
    table = []
    for name in SIZES:
        table += _weights(name, _modules(name))
        if torch.cuda.is_available():
            table += _peaks(name)
    if not torch.cuda.is_available():
        table.append({"engine": "peaks", "setting": "need a GPU: not yet measured"})
    return table


def main() -> None:
    from benchmarks.__main__ import table

    print("\n".join(table(rows())))


if __name__ == "__main__":
    main()
