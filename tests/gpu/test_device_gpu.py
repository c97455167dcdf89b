"""The card itself: what the driver counts, two engines on one card, a lost context, a second card."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.support import built

from audio_pool.engines import Item, _torch
from audio_pool.errors import OutOfMemory

ROOT = Path(__file__).parents[2]
LOSE_IT = """
import torch
from tests.support import built
from audio_pool.engines import Item
from audio_pool.errors import DeviceLost

engine = built.engine("audioldm", "cuda:0")
item = Item(prompt="rain", seed=1, duration_s=0.3, steps=2)
engine.generate([item])
predict = engine._predict

def faulty(rows, *more):
    rows[torch.tensor([10**6], device="cuda:0")]  # out of bounds: an assertion inside the kernel
    return predict(rows, *more)

for work in (faulty, predict):  # and for good
    engine._predict = work
    try:
        engine.generate([item])
    except DeviceLost as exc:
        print("lost:", exc)
"""
SECOND_CARD = """
import torch
from tests.support import built
from audio_pool.engines import Item, _torch

assert _torch.dtype_of("auto", torch.device("cuda:1"))
engine = built.engine("audioldm", "cuda:1")
seen = []
engine.generate([Item(prompt="rain", seed=1, duration_s=0.3, steps=8)], lambda *at: seen.append(at))
assert len(seen) == 8
print("first card:", torch._C._cuda_hasPrimaryContext(0))
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout, done.stderr[-3000:]  # a process that lost its device may end badly
    return done.stdout


def test_the_driver_counts_what_torch_takes() -> None:
    pytest.importorskip("pynvml")
    device = torch.device("cuda:0")
    before = _torch.device_memory(device)
    assert before is not None
    assert before.source == ("amdgpu" if torch.version.hip else "NVML")
    block = torch.empty(2**28, dtype=torch.uint8, device=device)
    after = _torch.device_memory(device)
    assert after is not None
    assert before.free_bytes - after.free_bytes >= block.numel() // 2
    assert after.total_bytes == before.total_bytes


def test_each_of_two_engines_on_a_card_has_its_own_cap() -> None:
    item = Item(prompt="rain", seed=1, duration_s=0.3, steps=2)
    wide = built.engine("audioldm", "cuda:0", max_memory="6GB")
    narrow = built.engine("stable_audio", "cuda:0", max_memory="2GB")  # loaded last
    predict = wide._predict

    def with_four_gigabytes(*given: torch.Tensor) -> torch.Tensor:
        block = torch.empty(4 * 2**30, dtype=torch.uint8, device="cuda:0")
        made = predict(*given)
        del block
        return made

    wide._predict = with_four_gigabytes
    wide.generate([item])
    narrow._predict = lambda *given: torch.empty(4 * 2**30, dtype=torch.uint8, device="cuda:0")
    with pytest.raises(OutOfMemory, match="max_memory = '2GB'"):
        narrow.generate([item])
    wide.generate([item])


def test_a_lost_context_is_told_as_such() -> None:
    lines = run(LOSE_IT).splitlines()
    assert len(lines) == 2 and all("audioldm: cuda:0 is lost to this process" in each for each in lines)


def test_an_engine_on_the_second_card_leaves_the_first_alone() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    assert run(SECOND_CARD).strip() == "first card: False"
