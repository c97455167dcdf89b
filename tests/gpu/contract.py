"""What every diffusion engine is held to on a GPU; each engine's test module subclasses Contract.

Tiny models with random weights, built without a file: the same as on the CPU, which is the measure.
"""

from __future__ import annotations

import gc
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import built

from audio_pool.engines import Item, _torch
from audio_pool.errors import Cancelled, OutOfMemory
from audio_pool.worker.batching import generate_halving

FLOAT32 = torch.float32
LIBRARIES = {"8bit": "torchao", "4bit": "optimum"}


def item(prompt: str = "rain on a tin roof", seed: int = 7, **more: Any) -> Item:
    return Item(**{"prompt": prompt, "seed": seed, "duration_s": 0.5, "steps": 4, **more})


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).mean() / np.abs(wanted).mean())


def alike(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-3) -> None:
    """Equal but for rounding, measured against the loudest sample."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def needs(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")


class Contract:
    name = ""

    def engine(self, device: str = "cuda:0", dtype: torch.dtype = FLOAT32, **settings: Any) -> Any:
        return built.engine(self.name, device, dtype, **settings)

    def test_the_same_seed_is_the_same_sound_on_cpu_and_gpu_alone_and_in_a_batch(self) -> None:
        batch = [item(), item("dog", 8, guidance_scale=2.0), item(negative_prompt="music")]
        wanted = self.engine("cpu").latents(batch)
        engine = self.engine()
        for found, expected in zip(engine.latents(batch), wanted, strict=True):
            assert error(found, expected) < 0.01
        eight = [item(seed=seed) for seed in range(8)]
        for items in (batch, eight):
            for one, found in zip(items, engine.generate(items), strict=True):
                alike(found, engine.generate([one])[0])

    @pytest.mark.parametrize(
        ("dtype", "bits", "close"),
        [("float16", "none", 0.05), ("bfloat16", "none", 0.15), ("bfloat16", "8bit", 0.15), ("bfloat16", "4bit", 0.4)],
    )
    def test_fewer_bits_sound_alike(self, dtype: str, bits: str, close: float) -> None:
        if bits != "none":
            needs(LIBRARIES[bits])
        wanted = self.engine().latents([item()])[0]
        engine = self.engine(dtype=getattr(torch, dtype), quantization=bits)
        assert 0 < error(engine.latents([item()])[0], wanted) < close
        assert np.isfinite(engine.generate([item()])[0]).all()

    @pytest.mark.parametrize("bits", ["8bit", "4bit"])
    def test_bitsandbytes(self, bits: str) -> None:
        needs("bitsandbytes")
        full = self.engine()
        engine = self.engine(dtype=torch.float16, quantization=bits, quantization_backend="bitsandbytes")
        assert _torch.weight_bytes(engine._denoiser) < 0.4 * _torch.weight_bytes(full._denoiser)
        assert 0 < error(engine.latents([item()])[0], full.latents([item()])[0]) < 0.4

    @pytest.mark.parametrize("offload", ["model", "sequential", "group"])
    def test_offloading_frees_the_gpu_and_changes_nothing(self, offload: str) -> None:
        if offload == "sequential":
            needs("accelerate")
        wanted = self.engine().generate([item()])[0]
        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        engine = self.engine(offload=offload)

        def stop(done: int, total: int) -> None:
            raise Cancelled("stop")

        with pytest.raises(Cancelled):
            engine.generate([item()], stop)
        alike(engine.generate([item()])[0], wanted)
        engine._encodings.clear()
        gc.collect()
        assert torch.cuda.memory_allocated() - before < max(_torch.weight_bytes(engine._denoiser), 2**20)

    def test_a_closed_engine_gives_its_memory_back(self) -> None:
        self.engine().generate([item()])  # cuBLAS and cuDNN keep workspaces of their own from the first run on
        gc.collect()
        before = torch.cuda.memory_allocated()
        engine = self.engine()
        engine.generate([item()])
        assert torch.cuda.memory_allocated() > before
        engine.close()
        assert torch.cuda.memory_allocated() <= before

    def test_a_batch_that_runs_out_of_memory_is_halved(self) -> None:
        engine = self.engine()
        items = [item(seed=seed) for seed in range(4)]
        wanted = engine.generate(items)
        predict = engine._predict

        def greedy(rows: torch.Tensor, *more: Any) -> torch.Tensor:
            if len(rows) > 4:
                torch.empty(2**50, dtype=torch.uint8, device="cuda:0")
            return predict(rows, *more)

        engine._predict = greedy
        sounds, warnings, _ = generate_halving(engine, items)
        assert warnings == ["batch_halved: 4 sounds did not fit in memory at once; made 2 at a time"]
        for found, expected in zip(sounds, wanted, strict=True):
            alike(found, expected)

    def test_max_memory_is_a_hard_cap_that_says_what_to_change(self) -> None:
        engine = self.engine(max_memory="3GB")
        engine._predict = lambda *_: torch.empty(4 * 2**30, dtype=torch.uint8, device="cuda:0")
        with pytest.raises(OutOfMemory, match=r"max_memory = '3GB'") as caught:
            engine.generate([item()])
        assert "a larger max_memory" in caught.value.hint
        torch.empty(4 * 2**30, dtype=torch.uint8, device="cuda:0")  # others are not capped

    def test_a_cancel_stops_before_the_queue_is_worked_off(self) -> None:
        """At most two steps are queued ahead: progress means work done."""
        engine = self.engine()
        seen = []

        def stop(done: int, total: int) -> None:
            seen.append(done)
            if done == 3:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            engine.generate([item(steps=200)], stop)
        assert seen == [1, 2, 3]

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", ["graphs", "full"])
    def test_compiled_it_sounds_the_same(self, mode: str) -> None:
        wanted = self.engine().generate([item()])[0]
        shapes = [_torch.CompileShape(items=1, duration_s=0.5)]
        engine = self.engine(compile=True, compile_mode=mode, compile_shapes=shapes)
        for _ in range(3):
            alike(engine.generate([item()])[0], wanted, 1e-2)
        engine.close()
        torch.compiler.reset()
