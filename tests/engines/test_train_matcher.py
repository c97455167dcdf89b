"""The script that trains a matcher: the same pairs make the same weights, and thresholds keep their bounds."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from scripts import train_matcher
from scripts.caption_pairs import EDITS, Pair, generate


def tokens_of(text: str) -> train_matcher.Vectors:
    """Return a vector of its own for each word, with its number, as an encoder would for tokens."""
    numbers = [zlib.crc32(word.encode()) % 30_000 for word in text.lower().split()]
    rows = [[*np.random.default_rng(one).normal(size=train_matcher.DIMENSIONS), one] for one in numbers]
    return np.array(rows, np.float32)


def pairs_of(family: str, count: int, *, same: bool = False) -> list[Pair]:
    return [Pair("one", "other", same, family)] * count


def test_a_threshold_lets_pass_one_in_a_hundred_and_one_in_twenty_of_a_family() -> None:
    pairs = pairs_of("many", 960) + pairs_of("few", 40) + pairs_of("same", 100, same=True)
    scores = np.concatenate([np.linspace(0.0, 1.0, 960), np.linspace(0.5, 2.0, 40), np.full(100, 1.5)])
    least = train_matcher.threshold(scores, pairs)
    found = train_matcher.outcome(scores > least, pairs)
    assert (found.worst_family, found.worst) == ("few", 0.05)
    assert found.other <= 0.01
    assert train_matcher.outcome(scores >= least, pairs).worst > 0.05  # the lowest that does
    assert found.same == 0.0


@pytest.mark.parametrize("name", train_matcher.HEADS)
def test_the_same_pairs_make_the_same_weights_which_a_file_keeps(name: str, tmp_path) -> None:
    pairs = list(generate(64, seed=1, half=0, families=frozenset(EDITS) - train_matcher.HELD_OUT))
    texts = [(pair.one, pair.other) for pair in pairs]
    first, second = (train_matcher.trained(name, tokens_of, pairs, epochs=1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    path = train_matcher.file_of(name, tmp_path)
    train_matcher.Matcher(first, 1.0, -1.0).save(path)
    assert path.stat().st_size < 400_000
    kept = train_matcher.Matcher.load(name, path)
    assert (kept.accepts_over, kept.vetoes_under) == (1.0, -1.0)
    scores = [train_matcher.scores(head, tokens_of, texts) for head in (first, kept.head)]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)
