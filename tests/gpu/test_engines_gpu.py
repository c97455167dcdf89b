"""The diffusion engines on a GPU: same sounds as on the CPU, limits that hold, offloading that frees."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import checkpoints

from audio_pool.engines import Item, _torch, load_engine
from audio_pool.errors import Cancelled, OutOfMemory
from audio_pool.worker.batching import generate_halving

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NAMES = ["tangoflux", "audioldm", "audioldm2", "stable_audio"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {name: getattr(checkpoints, name)(home / name) for name in NAMES}


@pytest.fixture(autouse=True)
def whole_gpu():
    yield
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0, 0)


def item(prompt: str = "rain on a tin roof", seed: int = 7, **more) -> Item:
    return Item(**{"prompt": prompt, "seed": seed, "duration_s": 0.5, "steps": 4, **more})


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).mean() / np.abs(wanted).mean())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_is_the_same_sound_on_cpu_and_gpu(models, name):
    batch = [item(), item("dog", 8, guidance_scale=2.0), item(negative_prompt="music")]
    wanted = load_engine(name, {"model": models[name], "device": "cpu"}).latents(batch)
    engine = load_engine(name, {"model": models[name], "device": "cuda:0", "dtype": "float32"})
    for found, expected in zip(engine.latents(batch), wanted, strict=True):
        assert error(found, expected) < 0.01
    alone = engine.generate([batch[1]])[0]
    np.testing.assert_allclose(alone, engine.generate(batch)[1], atol=1e-3 * np.abs(alone).max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "close"),
    [
        ({"dtype": "float16"}, 0.05),
        ({"dtype": "bfloat16"}, 0.15),
        ({"dtype": "bfloat16", "quantization": "8bit"}, 0.15),
        ({"dtype": "bfloat16", "quantization": "4bit"}, 0.4),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_fewer_bits_sound_alike(models, name, settings, close):
    wanted = load_engine(name, {"model": models[name], "device": "cuda:0", "dtype": "float32"}).latents([item()])[0]
    engine = load_engine(name, {"model": models[name], "device": "cuda:0", **settings})
    assert 0 < error(engine.latents([item()])[0], wanted) < close
    assert np.isfinite(engine.generate([item()])[0]).all()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_bitsandbytes(models, bits):
    given = {"model": models["tangoflux"], "device": "cuda:0"}
    full = load_engine("tangoflux", {"dtype": "float32", **given})
    engine = load_engine(
        "tangoflux", {"dtype": "float16", "quantization": bits, "quantization_backend": "bitsandbytes", **given}
    )
    assert _torch.weight_bytes(engine._denoiser) < 0.4 * _torch.weight_bytes(full._denoiser)
    assert 0 < error(engine.latents([item()])[0], full.latents([item()])[0]) < 0.4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("offload", ["model", "sequential", "group"])
def test_offloading_frees_the_gpu_and_changes_nothing(models, name, offload):
    wanted = load_engine(name, {"model": models[name], "device": "cuda:0", "dtype": "float32"}).generate([item()])[0]
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    engine = load_engine(name, {"model": models[name], "device": "cuda:0", "dtype": "float32", "offload": offload})

    def stop(done: int, total: int) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item()], stop)
    found = engine.generate([item()])[0]
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    engine._encodings.clear()
    gc.collect()
    weights = sum(_torch.weight_bytes(part) for part in (engine._denoiser,))
    assert torch.cuda.memory_allocated() - before < max(weights, 2**20)


def test_the_driver_counts_what_torch_takes():
    device = torch.device("cuda:0")
    before = _torch.device_memory(device)
    assert before is not None
    assert before.source == ("amdgpu" if torch.version.hip else "NVML")
    block = torch.empty(2**28, dtype=torch.uint8, device=device)
    after = _torch.device_memory(device)
    assert before.free_bytes - after.free_bytes >= block.numel() // 2
    assert after.total_bytes == before.total_bytes


def test_max_memory_is_a_hard_cap_that_says_what_to_change(models):
    engine = load_engine("tangoflux", {"model": models["tangoflux"], "device": "cuda:0", "max_memory": "3GB"})
    engine._predict = lambda *_: torch.empty(4 * 2**30, dtype=torch.uint8, device="cuda:0")
    with pytest.raises(OutOfMemory, match=r"max_memory = '3GB'") as caught:
        engine.generate([item()])
    assert "a larger max_memory" in caught.value.hint


def test_a_batch_that_runs_out_of_memory_is_halved(models):
    engine = load_engine("stable_audio", {"model": models["stable_audio"], "device": "cuda:0", "dtype": "float32"})
    items = [item(seed=seed) for seed in range(4)]
    wanted = engine.generate(items)
    predict = engine._predict

    def greedy(rows, t, condition):
        if len(rows) > 4:
            torch.empty(2**50, dtype=torch.uint8, device="cuda:0")
        return predict(rows, t, condition)

    engine._predict = greedy
    sounds, warnings = generate_halving(engine, items)
    assert warnings == ["batch_halved: 4 sounds did not fit in memory at once; made 2 at a time"]
    for found, expected in zip(sounds, wanted, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_with_cuda_graphs_sounds_the_same(models, name):
    wanted = load_engine(name, {"model": models[name], "device": "cuda:0", "dtype": "float32"}).generate([item()])[0]
    compiled = {"compile": True, "compile_shapes": [{"items": 1, "duration_s": 0.5}]}
    engine = load_engine(name, {"model": models[name], "device": "cuda:0", "dtype": "float32", **compiled})
    for _ in range(3):
        np.testing.assert_allclose(engine.generate([item()])[0], wanted, atol=1e-2 * np.abs(wanted).max())


@pytest.mark.slow
def test_a_cancel_stops_before_the_queue_is_worked_off(models):
    """At most two steps are queued ahead: progress means work done."""
    engine = load_engine("tangoflux", {"model": models["tangoflux"], "device": "cuda:0"})
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item(steps=200)], stop)
    assert seen == [1, 2, 3]
