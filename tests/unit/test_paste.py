"""A given sound and the part of it that was made anew: what stays, how loud the part is, how it is joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from audio_pool.audio import Audio
from audio_pool.audio.seam import seam_score
from audio_pool.engines import Item
from audio_pool.engines._paste import FADE_S, Stretch, fitted, pasted, stretch_of
from audio_pool.errors import InvalidRequest, NotSupported

RATE = 16_000
FADE = round(FADE_S * RATE)


def noise(seconds: float, seed: int, level: float = 0.1, channels: int = 2) -> Audio:
    return (level * np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def stretch(start_s: float, end_s: float, total_s: float, first_s: float = 0.0, last_s: float | None = None) -> Stretch:
    last_s = total_s if last_s is None else last_s
    start, end, total, first, last = (round(one * RATE) for one in (start_s, end_s, total_s, first_s, last_s))
    return Stretch(start=start, end=end, first=first, last=last, total=total)


def reconstructed(given: Audio, at: Stretch, gain: float, seed: int = 9) -> Audio:
    """What a model gives back: the sound around the part at another level and not quite the same, the part anew."""
    made = given.copy()
    made[:, at.start : at.end] = noise((at.end - at.start) / RATE, seed)
    made += noise(at.total / RATE, seed + 1, 0.02)
    return gain * made[:, at.first : at.last]


def rms_db(audio: Audio) -> float:
    return float(10 * np.log10(np.square(audio, dtype=np.float64).mean()))


@pytest.mark.parametrize(("start_s", "end_s"), [(1.0, 2.0), (0.0, 1.0), (2.0, 3.0), (0.01, 2.99)])
def test_all_but_the_part_and_its_crossfades_is_the_given_sound(start_s: float, end_s: float) -> None:
    given, at = noise(3.0, 1), stretch(start_s, end_s, 3.0)
    made = reconstructed(given, at, 1.0)
    found = pasted(made, given, at, RATE)
    left, right = max(0, at.start - FADE), min(at.total, at.end + FADE)
    np.testing.assert_array_equal(found[:, :left], given[:, :left])
    np.testing.assert_array_equal(found[:, right:], given[:, right:])
    assert np.abs(found[:, at.start : at.end] - given[:, at.start : at.end]).mean() > 0.05
    assert found.dtype == np.float32 and found.shape == given.shape and np.isfinite(found).all()


@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_the_part_is_as_loud_as_the_model_meant_it_and_joined_unheard(gain: float) -> None:
    """A model's autoencoder that is 10 dB quieter or louder makes no step; a cut without the level's match does."""
    given, at = noise(4.0, 1), stretch(1.5, 2.5, 4.0)
    made = reconstructed(given, at, gain)
    found = pasted(made, given, at, RATE)
    assert rms_db(found[:, at.start : at.end]) == pytest.approx(rms_db(given), abs=0.6)
    scores = [seam_score(found, RATE, FADE, place) for place in (at.start - FADE, at.end)]
    assert min(scores) >= 97.0
    if gain != 1.0:
        cut = given.copy()
        cut[:, at.start : at.end] = made[:, at.start : at.end]
        assert seam_score(cut, RATE, 0, at.start) < 70.0


def test_both_ends_keep_their_own_level() -> None:
    given, at = noise(4.0, 1), stretch(1.5, 2.5, 4.0)
    made = reconstructed(given, at, 1.0)
    made[:, : at.start] *= 2.0
    found = pasted(made, given, at, RATE)
    tenth = RATE // 10
    early, late = found[:, at.start : at.start + tenth], found[:, at.end - tenth : at.end]
    assert rms_db(late) - rms_db(early) == pytest.approx(6.0, abs=1.5)


def test_crossfades_keep_the_power_of_like_and_of_unlike_sounds() -> None:
    at = stretch(1.0, 2.0, 3.0)
    given = noise(3.0, 1)
    for other in (given, noise(3.0, 2)):
        found = pasted(other, given, at, RATE)
        for first in (at.start - FADE, at.end):
            assert rms_db(found[:, first : first + FADE]) == pytest.approx(rms_db(given), abs=0.8)
    tone = (0.2 * np.sin(2 * np.pi * 500 * np.arange(3 * RATE) / RATE)).astype(np.float32)[None]
    np.testing.assert_allclose(pasted(tone, tone, at, RATE), tone, atol=2e-3)


def test_a_sound_is_continued_from_the_piece_that_was_shown() -> None:
    source = noise(10.0, 1)
    at = stretch(10.0, 12.0, 12.0, first_s=8.0)
    given = fitted(source, 2, at.total)
    made = reconstructed(fitted(noise(0.0, 1), 2, at.total) + given, at, 0.5)
    found = pasted(made, given, at, RATE)
    np.testing.assert_array_equal(found[:, : at.start - FADE], source[:, : at.start - FADE])
    assert rms_db(found[:, at.start :]) == pytest.approx(rms_db(source), abs=0.6)
    assert seam_score(found, RATE, FADE, at.start - FADE) >= 97.0


def test_silence_beside_the_part_tells_nothing_of_levels() -> None:
    given, at = np.zeros((1, 3 * RATE), np.float32), stretch(1.0, 2.0, 3.0)
    made = np.zeros_like(given)
    made[:, at.start : at.end] = noise(1.0, 1, channels=1)
    found = pasted(made, given, at, RATE)
    np.testing.assert_array_equal(found, made)


def test_a_given_sound_is_cut_filled_up_and_spread() -> None:
    sound = noise(1.0, 1)
    np.testing.assert_array_equal(fitted(sound, 2, 100), sound[:, :100])
    longer = fitted(sound, 2, RATE + 10)
    assert not longer[:, RATE:].any() and longer.shape == (2, RATE + 10)
    np.testing.assert_allclose(fitted(sound, 1, RATE)[0], sound.mean(axis=0), atol=1e-7)
    np.testing.assert_array_equal(fitted(sound[:1], 2, RATE), np.repeat(sound[:1], 2, 0))


def of(window_s: float, longest_s: float, seconds: float, **more: Any) -> tuple[float, ...] | None:
    total = seconds + (more.get("extend_s") or 0.0)
    given = np.zeros((1, round(seconds * RATE)), np.float32)
    item = Item(prompt="x", seed=1, duration_s=total, init_audio=given, **more)
    found = stretch_of(item, "tone", RATE, window_s, longest_s)
    return None if found is None else tuple(
        round(one / RATE, 3) for one in (found.start, found.end, found.first, found.last, found.total)
    )  # fmt: skip


def test_what_a_model_is_shown_of_a_sound() -> None:
    assert of(30.0, 30.0, 5.0) is None
    assert of(30.0, 30.0, 5.0, mask=(1.0, 2.0)) == (1.0, 2.0, 0.0, 5.0, 5.0)
    assert of(30.0, 30.0, 60.0, mask=(50.0, 52.0)) == (50.0, 52.0, 30.0, 60.0, 60.0)
    assert of(30.0, 30.0, 100.0, mask=(50.0, 52.0)) == (50.0, 52.0, 36.0, 66.0, 100.0)
    assert of(30.0, 30.0, 60.0, extend_s=10.0) == (60.0, 70.0, 40.0, 70.0, 70.0)
    assert of(30.0, 30.0, 60.0, extend_s=25.0) == (60.0, 85.0, 55.0, 85.0, 85.0)
    assert of(30.0, 600.0, 60.0, extend_s=100.0) == (60.0, 160.0, 55.0, 160.0, 160.0)
    with pytest.raises(NotSupported, match=r"tone makes at most 25 s anew beside a given sound; 26 s were asked for"):
        of(30.0, 30.0, 60.0, extend_s=26.0)
    with pytest.raises(InvalidRequest, match=r"mask: given 4 to 6 s, allowed are .* inside the sound, which has 5 s"):
        of(30.0, 30.0, 5.0, mask=(4.0, 6.0))
