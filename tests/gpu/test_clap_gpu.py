"""CLAP on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import built

TEXTS = ["rain on a tin roof", "a dog", "the low wind on the sea"]


def sounds() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.normal(0, 0.1, (1, length)).astype(np.float32) for length in (48_000, 480_000, 600_000)]


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-4), ("float16", 1e-2), ("bfloat16", 5e-2)])
def test_vectors_are_the_cpus_alone_and_among_others(dtype: str, close: float) -> None:
    wanted, scorer = built.clap(), built.clap("cuda:0", getattr(torch, dtype))
    np.testing.assert_allclose(scorer.embed_text(TEXTS), wanted.embed_text(TEXTS), atol=close)
    together = scorer.embed_audio(sounds(), 48_000)
    np.testing.assert_allclose(together, wanted.embed_audio(sounds(), 48_000), atol=close)
    for one, found in zip(sounds(), together, strict=True):
        np.testing.assert_allclose(scorer.embed_audio([one], 48_000)[0], found, atol=close)


def test_a_closed_scorer_gives_its_memory_back() -> None:
    built.clap("cuda:0").embed_text(TEXTS)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    scorer = built.clap("cuda:0")
    scorer.embed_text(TEXTS)
    assert torch.cuda.memory_allocated() > before
    scorer.close()
    assert torch.cuda.memory_allocated() <= before
