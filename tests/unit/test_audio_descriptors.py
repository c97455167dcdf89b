"""Descriptors: the same sound is at no distance, whatever its level; other sounds are apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.support.audio_signals import MATERIAL, RATE, chord, decaying, gusts, pink, steps, tone, white

from audio_pool.audio.descriptors import descriptors, distance
from audio_pool.audio.filter import resample

FRAMES = 4 * RATE


def apart(a, b, rate_a=RATE, rate_b=RATE):
    return distance(descriptors(a, rate_a), descriptors(b, rate_b))


def test_is_float32_of_one_size():
    for audio in (white(FRAMES), white(100), white(1), np.zeros((1, 50), np.float32)):
        found = descriptors(audio, RATE)
        assert found.shape == (70,)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", MATERIAL)
def test_level_rate_and_number_of_channels_hardly_matter(name):
    audio = MATERIAL[name](FRAMES, 1)
    assert apart(audio, 0.1 * audio) < 0.01
    assert apart(audio, audio[:1]) < 1.5
    band_limited = resample(resample(audio, RATE, 34_000), 34_000, RATE)
    # the skirts of a tone's line depend on the resolution, so tones move a little more than noises
    most = 3.5 if name in ("tone", "chord", "drone") else 1.0
    assert apart(band_limited, resample(band_limited, RATE, 48_000), RATE, 48_000) < most


def test_distance_is_a_distance():
    a, b, c = (descriptors(sound, RATE) for sound in (white(FRAMES), steps(FRAMES), chord(FRAMES)))
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a) > 0
    assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_seeds_of_one_kind_are_nearer_than_other_kinds():
    kinds = [
        [white(FRAMES, seed=seed) for seed in range(2)],
        [pink(FRAMES, seed=seed) for seed in range(2)],
        [gusts(FRAMES, seed=seed) for seed in range(2)],
        [steps(FRAMES, seed=seed) for seed in range(2)],
        [tone(FRAMES, 440.0), tone(FRAMES, 445.0)],
    ]
    within = [apart(*kind) for kind in kinds]
    between = [apart(a[0], b[0]) for a, b in itertools.combinations(kinds, 2)]
    assert max(within) < 2
    assert min(between) > 3


def test_hears_pitch_brightness_rhythm_and_course():
    assert apart(tone(FRAMES, 220), tone(FRAMES, 880)) > 5
    assert apart(white(FRAMES), pink(FRAMES)) > 3
    assert apart(steps(FRAMES, 0.25), steps(FRAMES, 1.0)) > 2
    early, late = decaying(FRAMES), np.roll(decaying(FRAMES), FRAMES // 2, axis=1)
    assert apart(early, late) > 5
