"""Whoever needs an encoder that is still being loaded waits for it; whoever does not, does not."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from audio_pool.engine_info import EngineInfo
from audio_pool.engines import Embedder
from audio_pool.errors import EngineUnavailable
from audio_pool.worker.coming_encoder import ComingEncoder


class Reader:
    info = EngineInfo(name="reader", role="embedder", model="m", licence="MIT", commercial_use=True)
    device = "cuda:1"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 2), np.float32)

    def close(self) -> None: ...


def test_it_is_an_embedder_that_answers_once_the_real_one_is_there() -> None:
    coming = ComingEncoder()
    assert isinstance(coming, Embedder)
    answers: list[np.ndarray] = []
    asking = threading.Thread(target=lambda: answers.append(coming.embed(["rain"])))
    asking.start()
    assert not answers
    coming.arrive(Reader())
    asking.join(60.0)
    np.testing.assert_array_equal(answers[0], [[1, 1]])
    assert (coming.info.name, coming.device) == ("reader", "cuda:1")


def test_one_that_does_not_come_is_said() -> None:
    failed = ComingEncoder()
    failed.fail(EngineUnavailable("no weights"))
    with pytest.raises(EngineUnavailable, match="could not be loaded: no weights"):
        failed.embed(["rain"])
    with pytest.raises(EngineUnavailable, match="is not there after 0 s"):
        ComingEncoder(patience_s=0.0).embed(["rain"])
