"""The general half of a torch generator, held by a model that draws tokens instead of denoising."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from audio_pool.engine_info import EngineInfo, OptionInfo
from audio_pool.engines import Generator, Item
from audio_pool.engines._generation import Condition, Job, StagedEngine
from audio_pool.engines._opening import Opened
from audio_pool.engines._ticker import Ticker
from audio_pool.engines._torch import TorchSettings
from audio_pool.errors import Cancelled, EngineError, InvalidConfig, InvalidRequest

INFO = EngineInfo(
    name="babbler",
    role="generator",
    model="babbler",
    licence="MIT",
    commercial_use=True,
    sample_rate=8000,
    channels=1,
    longest_s=2.0,
    steps=5,
    guidance_scale=1.0,
    options=(OptionInfo(name="temperature", type="float", default=1.0, low=0.1, high=2.0),),
)
VOCABULARY = 16


class Babbler(StagedEngine):
    """Tokens drawn one by one from a softmax, each by its item's own generator; a token is a piece of a wave."""

    sampler_stage = "language_model"

    def __init__(self, settings: TorchSettings) -> None:
        torch.manual_seed(1)
        self.encoded = 0
        self.table = torch.nn.Embedding(128, VOCABULARY)
        self.head = torch.nn.Linear(VOCABULARY, VOCABULARY)
        self.pieces = torch.nn.Embedding(VOCABULARY, 1600)
        device = torch.device("cpu")
        opened = Opened(
            directory=Path("nowhere"), revision="7", device=device, dtype=torch.float32, wave_dtype=torch.float32
        )
        stages = {
            "encoder": {"table": self.table},
            "language_model": {"head": self.head},
            "decoder": {"pieces": self.pieces},
        }
        super().__init__(INFO, settings, opened, stages)

    def _encode(self, prompt: str, negative: str, guided: bool) -> Condition:
        self.encoded += 1
        return {"state": self.table(torch.tensor([ord(sign) % 128 for sign in prompt])).mean(dim=0)}

    def _step_count(self, job: Job) -> int:
        return job.steps

    def _sample(self, jobs: Sequence[Job], texts: Sequence[Condition], tick: Ticker) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(job.item.seed) for job in jobs]
        states = torch.stack([text["state"] for text in texts])
        tokens = torch.zeros(len(jobs), 0, dtype=torch.long)
        for _ in range(jobs[0].steps):
            spread = self.head(states) / (jobs[0].number("temperature") or 1.0)
            shares = spread.softmax(dim=-1)
            drawn = [torch.multinomial(row, 1, generator=each) for row, each in zip(shares, generators, strict=True)]
            tokens = torch.cat([tokens, torch.stack(drawn)], dim=1)
            states = states + torch.nn.functional.one_hot(tokens[:, -1], VOCABULARY)
            tick()
        return tokens.float()

    def _decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        return self.pieces(latents.long()).flatten(1)[:, None]


def item(prompt: str = "rain", seed: int = 1, duration_s: float = 0.8, **more: object) -> Item:
    return Item(prompt=prompt, seed=seed, duration_s=duration_s, **more)  # type: ignore[arg-type]


@pytest.fixture
def engine() -> Babbler:
    return Babbler(TorchSettings(max_batch=4))


def test_it_is_a_generator_that_says_what_was_loaded(engine: Babbler) -> None:
    assert isinstance(engine, Generator)
    assert (engine.info.model_revision, engine.info.dtype, engine.info.quantization) == ("7", "float32", "none")
    assert engine.device == "cpu"


def test_the_same_item_is_the_same_sound_alone_and_in_any_batch(engine: Babbler) -> None:
    items = [item(), item("wind", 2), item(seed=3, steps=3), item(seed=4, options={"temperature": 0.5}), item(seed=9)]
    together = engine.generate(items)
    for wanted, found in zip(items, together, strict=True):
        assert found.shape == (1, round(wanted.duration_s * 8000)) and found.dtype == np.float32
        np.testing.assert_array_equal(engine.generate([wanted])[0], found)
    assert not np.array_equal(together[0], together[4])


def test_an_option_changes_the_sound_and_its_default_does_not(engine: Babbler) -> None:
    usual, default, cold = engine.latents(
        [item(steps=12, options=options) for options in ({}, {"temperature": 1}, {"temperature": 0.1})]
    )
    np.testing.assert_array_equal(usual, default)
    assert not np.array_equal(usual, cold)
    with pytest.raises(InvalidRequest, match="temperature: given 9"):
        engine.notes(item(options={"temperature": 9}))


def test_what_the_model_cannot_fill_is_silence(engine: Babbler) -> None:
    (sound,) = engine.generate([item(duration_s=2.0, steps=5)])
    assert sound.shape == (1, 16_000)
    assert sound[:, :8000].any() and not sound[:, 8000:].any()


def test_a_prompt_is_encoded_once_and_every_step_is_counted(engine: Babbler) -> None:
    seen: list[tuple[int, int]] = []
    engine.generate([item(seed=seed) for seed in range(6)], lambda *at: seen.append(at))
    assert engine.encoded == 1
    assert seen == [(done, 10) for done in range(1, 11)], "six items are two batches of five steps"


def test_a_cancel_leaves_the_next_run_unharmed(engine: Babbler) -> None:
    (before,) = engine.generate([item()])

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        engine.generate([item()], stop)
    np.testing.assert_array_equal(engine.generate([item()])[0], before)


def test_its_stage_is_named_by_the_engine() -> None:
    Babbler(TorchSettings(offload_modules=["language_model"]))
    with pytest.raises(InvalidConfig, match="allowed is any of encoder, language_model, decoder"):
        Babbler(TorchSettings(offload_modules=["denoiser"]))


def test_it_needs_nothing_of_denoising() -> None:
    code = (
        "import sys, audio_pool.engines._generation\n"
        "print([name for name in sys.modules if name.endswith('_diffusion') or name in ('torch', 'diffusers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[]", done.stderr


CLOSE = """
import weakref, torch
from audio_pool.engines._torch import TorchSettings
from audio_pool.worker.heap import keep_freed_memory
from tests.engines.test_generation import Babbler

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

keep_freed_memory()
engine = Babbler(TorchSettings(device="cpu"))
engine.more = torch.nn.ModuleList(torch.nn.Linear(512, 512) for _ in range(100))
engine.more.around = [engine]
after = torch.ones(300_000)  # what lies behind keeps the heap from shrinking at its end
parts = [weakref.ref(part) for part in engine.more]
before = resident()
engine.close()
print(before - resident(), sum(part() is not None for part in parts), engine.info.name)
engine.close()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_closed_it_gives_its_memory_back_while_it_is_referenced() -> None:
    """In a process of its own, set up as a worker is; 100 MB of weights in pieces of one."""
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", CLOSE], cwd=root, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    given_back, alive, name = ran.stdout.split()
    assert int(given_back) > 70 and (alive, name) == ("0", "babbler")


def test_closed_it_says_so() -> None:
    engine = Babbler(TorchSettings(device="cpu"))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="babbler was closed"):
        engine.generate([Item(prompt="rain", seed=1, duration_s=0.5)])
    assert not hasattr(Babbler(TorchSettings(device="cpu")), "_nothing_of_the_kind")
