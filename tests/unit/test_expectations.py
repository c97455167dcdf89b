"""The words that mastering looks for: they name low sounds and noises, and only where they are wanted."""

from __future__ import annotations

import pytest

from audio_pool.prompts.expectations import names_low_sound, names_noise


@pytest.mark.parametrize("prompt", ["a kick", "War DRUMS", "distant thunder", "heartbeats", "booming cannons"])
def test_low_sounds(prompt):
    assert names_low_sound(prompt)


@pytest.mark.parametrize("prompt", ["a flute", "no drums", "a voice without thunder", "subtle chimes", ""])
def test_other_sounds(prompt):
    assert not names_low_sound(prompt)


@pytest.mark.parametrize("prompt", ["heavy rain", "windy hill", "TV static", "ocean waves", "bacon sizzling"])
def test_noises(prompt):
    assert names_noise(prompt)


@pytest.mark.parametrize("prompt", ["a bell", "no wind", "a train", "a window opens"])
def test_no_noises(prompt):
    assert not names_noise(prompt)
