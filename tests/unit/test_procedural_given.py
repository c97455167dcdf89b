"""The built-in engine in a given sound: a part of it painted anew, or what comes after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from audio_pool.audio.seam import seam_score
from audio_pool.engines import Audio, Item
from audio_pool.engines._paste import FADE_S
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.errors import InvalidRequest, NotSupported

RATE = 22_050
FADE = round(FADE_S * RATE)


@pytest.fixture(scope="module")
def engine() -> ProceduralEngine:
    return ProceduralEngine()


@pytest.fixture(scope="module")
def noise(engine: ProceduralEngine) -> Audio:
    (made,) = engine.generate([Item(prompt="pink noise", seed=1, duration_s=3.0, sample_rate=RATE)])
    return 0.3 * made[:, RATE // 2 : RATE // 2 + 2 * RATE]


def item(**more: Any) -> Item:
    return Item(**{"prompt": "heavy rain", "seed": 3, "duration_s": 2.0, "sample_rate": RATE, **more})


def rms_db(sound: Audio) -> float:
    return float(10 * np.log10(np.square(sound, dtype=np.float64).mean()))


@pytest.mark.parametrize("mask", [(0.5, 1.25), (0.0, 0.5), (1.5, 2.0), (1.0, 1.01)])
def test_a_part_is_painted_anew_as_loud_as_what_is_beside_it(engine: ProceduralEngine, noise: Audio, mask: Any) -> None:
    (found,) = engine.generate([item(init_audio=noise, mask=mask)])
    start, end = (round(at * RATE) for at in mask)
    assert found.shape == noise.shape and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, : max(0, start - FADE)], noise[:, : max(0, start - FADE)])
    np.testing.assert_array_equal(found[:, end + FADE :], noise[:, end + FADE :])
    assert not np.array_equal(found[:, start:end], noise[:, start:end])
    if end - start < RATE // 4:
        return
    assert rms_db(found[:, start:end]) == pytest.approx(rms_db(noise), abs=4.0)
    for place in [start - FADE] * (start > 0) + [end] * (end < noise.shape[1]):
        assert seam_score(found, RATE, FADE, place) > 60.0


def test_a_sound_goes_on_past_its_end(engine: ProceduralEngine, noise: Audio) -> None:
    mono = noise[:1]
    found = engine.generate([item(init_audio=mono, extend_s=1.5, duration_s=3.5, prompt="pink noise")])[0]
    kept = noise.shape[1] - FADE
    assert found.shape == (2, noise.shape[1] + round(1.5 * RATE))
    np.testing.assert_array_equal(found[:, :kept], np.repeat(mono[:, :kept], 2, 0))
    assert rms_db(found[:, noise.shape[1] : -RATE // 5]) == pytest.approx(rms_db(noise), abs=4.0)
    assert seam_score(found, RATE, FADE, kept) > 60.0


def test_the_same_seed_is_the_same_part_beside_others_too(engine: ProceduralEngine, noise: Audio) -> None:
    asked = item(init_audio=noise, mask=(0.5, 1.0))
    (alone,) = engine.generate([asked])
    np.testing.assert_array_equal(engine.generate([item(), asked])[1], alone)
    assert np.abs(engine.generate([item(init_audio=noise, mask=(0.5, 1.0), seed=4)])[0] - alone).max() > 1e-3


def test_what_it_cannot_make_of_a_sound_is_refused(engine: ProceduralEngine, noise: Audio) -> None:
    with pytest.raises(NotSupported, match="procedural makes no sound like another one"):
        engine.notes(item(init_audio=noise))
    with pytest.raises(InvalidRequest, match=r"procedural: mask: given 1 to 2\.5 s, allowed are .* which has 2 s"):
        engine.notes(item(init_audio=noise, mask=(1.0, 2.5)))
    with pytest.raises(InvalidRequest, match="procedural: mask, extend_s: given without init_audio"):
        engine.generate([item(mask=(1.0, 1.5))])
    assert engine.notes(item()).loops and not engine.notes(item(init_audio=noise, mask=(0.5, 1.0))).loops
