"""A worker keeps the vectors of the texts asked for last, and encodes in one call what is new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from audio_pool.errors import EngineError
from audio_pool.worker.kept_texts import KeptTexts


class Counting:
    """An encoder that tells what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(list(texts))
        if "bad" in texts:
            raise EngineError("a bad text")
        return np.array([[len(text), 1.0] for text in texts], np.float32).reshape(len(texts), 2)


def test_new_texts_are_encoded_in_one_call_and_kept_ones_not_again() -> None:
    encode = Counting()
    kept = KeptTexts(encode)
    first = kept.embed(["rain", "a dog", "rain"])
    np.testing.assert_array_equal(first, [[4, 1], [5, 1], [4, 1]])
    np.testing.assert_array_equal(kept.embed(["wind!!", "a dog"]), [[6, 1], [5, 1]])
    assert encode.calls == [["rain", "a dog"], ["wind!!"]]
    assert kept.embed([]).shape == (0, 2)


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    encode = Counting()
    kept = KeptTexts(encode, most=2)
    for text in ("a", "b", "a", "c"):  # "a" was asked for again: "b" goes
        kept.embed([text])
    kept.embed(["a"])
    kept.embed(["b"])
    assert encode.calls == [["a"], ["b"], ["c"], ["b"]]
    assert len(kept.embed(["x", "y", "z"])) == 3, "more than are kept are answered all the same"


def test_a_failure_is_not_kept_and_a_caller_cannot_change_what_is() -> None:
    encode = Counting()
    kept = KeptTexts(encode)
    for _ in range(2):
        with pytest.raises(EngineError):
            kept.embed(["bad", "good"])
    kept.embed(["good"])[0] = 7.0
    np.testing.assert_array_equal(kept.embed(["good"]), [[4, 1]])
    assert encode.calls == [["bad", "good"], ["bad", "good"], ["good"]]
