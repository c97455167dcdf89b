"""The test engine: exact sounds by the words of the prompt."""

from __future__ import annotations

import numpy as np
import pytest

from audio_pool.engines import engine_info, load_engine
from audio_pool.engines.base import Item
from audio_pool.errors import Cancelled


def _item(prompt: str, seed: int = 0, duration_s: float = 1.0, rate: int | None = None) -> Item:
    return Item(prompt=prompt, seed=seed, duration_s=duration_s, sample_rate=rate)


def test_tone_silence_and_noise() -> None:
    tone, silence, noise = load_engine("mock").generate(
        [_item("a tone", seed=220), _item("silence please"), _item("white noise")]
    )
    spectrum = np.abs(np.fft.rfft(tone[0]))
    assert np.argmax(spectrum) == 440  # one second: bins are Hz; 220 + seed
    assert np.abs(tone).max() == pytest.approx(0.5, abs=1e-3)
    assert not silence.any()
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert {sound.dtype for sound in (tone, silence, noise)} == {np.dtype(np.float32)}


def test_same_seed_same_sound_whatever_the_batch() -> None:
    engine = load_engine("mock")
    alone = engine.generate([_item("noise", seed=5)])[0]
    batch = engine.generate([_item("noise", seed=4), _item("noise", seed=5)])
    np.testing.assert_array_equal(alone, batch[1])
    assert not np.array_equal(batch[0], batch[1])


def test_exact_length_at_any_rate() -> None:
    for rate in (8000, 22_050, 48_000):
        assert load_engine("mock").generate([_item("x", duration_s=0.7, rate=rate)])[0].shape == (2, round(0.7 * rate))


def test_it_is_not_gated_and_can_be_cancelled_between_items() -> None:
    assert not engine_info("mock").gated
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        load_engine("mock").generate([_item("tone"), _item("tone")], stop)
    assert seen == [(1, 2)]
