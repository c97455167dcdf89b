"""What a sound is known by: edits keep it, other sounds do not have it, and what has nothing to say says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_pool.audio import Audio, codec, filter
from audio_pool.audio.chromaprint import bit_error_rate, chromaprint, is_installed
from audio_pool.audio.fingerprint import _BOUNDS, fingerprint, probe
from audio_pool.audio.fingerprint_index import FingerprintIndex
from audio_pool.audio.kernels import add_band_powers
from audio_pool.audio.marks import Fingerprint, Probe
from audio_pool.audio.overlay import FEWEST_MARKS, Likeness, every_offset, likeness
from audio_pool.errors import InvalidAudio

RATE = 44_100


def bursts(seed: int, seconds: float = 2.0, rate: int = RATE, channels: int = 1) -> Audio:
    """Noise of changing colour: what rain, fire and footsteps have in common."""
    dice = np.random.default_rng(seed)
    length = round(seconds * rate)
    sound = np.zeros((channels, length))
    for _ in range(max(4, round(12 * seconds))):
        start, size = int(dice.integers(0, length)), int(dice.integers(rate // 50, rate // 4))
        tone = np.sin(2 * np.pi * float(np.exp(dice.uniform(5, 8.3))) * np.arange(size) / rate)
        part = (tone + dice.normal(0, 0.4, (channels, size))) * np.exp(-np.arange(size) / (size / 4))
        sound[:, start : start + size] += part[:, : length - start]
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def best(kept: Fingerprint, audio: Audio, rate: int = RATE) -> Likeness:
    asked = probe(audio, rate)
    return likeness(kept, asked, every_offset(kept, asked))


SOUND = bursts(1)
KEPT = fingerprint(SOUND, RATE)


@pytest.mark.parametrize(
    ("audio", "rate"),
    [
        (SOUND * np.float32(0.01), RATE),
        (np.clip(SOUND * 3, -1, 1), RATE),
        (SOUND[:, 12_345:], RATE),
        (SOUND[:, 30_000:60_000], RATE),
        (np.pad(SOUND, ((0, 0), (70_001, 5_000))), RATE),
        (filter.resample(SOUND, RATE, 16_000), 16_000),
        (filter.resample(SOUND, RATE, 48_000), 48_000),
        (SOUND + np.random.default_rng(8).normal(0, 0.005, SOUND.shape).astype(np.float32), RATE),
        (np.repeat(SOUND, 2, axis=0), RATE),
    ],
    ids=["level", "clipped", "cut", "middle", "later", "16k", "48k", "hiss", "stereo"],
)
def test_an_edited_sound_is_the_same_and_another_is_not(audio: Audio, rate: int) -> None:
    assert best(KEPT, audio, rate).sure
    assert not any(best(fingerprint(bursts(seed), RATE), audio, rate).likely for seed in range(2, 8))


def test_the_offset_says_where_the_sound_lies() -> None:
    assert best(KEPT, SOUND[:, 22_050:]).offset_s == pytest.approx(-0.5, abs=0.008)
    assert best(KEPT, np.pad(SOUND, ((0, 0), (RATE, 0)))).offset_s == pytest.approx(1.0, abs=0.008)


def test_a_fold_to_mono_keeps_the_marks_and_opposite_channels_do_not_cancel_them() -> None:
    stereo = bursts(3, channels=2)
    assert best(fingerprint(stereo, RATE), stereo.mean(axis=0, keepdims=True)).bit_error_rate == 0
    opposite = np.concatenate([SOUND, -SOUND])
    assert best(KEPT, opposite).sure


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.37])
def test_a_loop_is_found_from_any_place_and_over_several_turns(seconds: float) -> None:
    turn = bursts(4, seconds)
    kept = fingerprint(turn, RATE, loop=True)
    assert kept.turn_s == pytest.approx(seconds)
    assert best(kept, np.roll(turn, turn.shape[1] // 3, axis=1)).sure
    several = best(kept, np.roll(np.tile(turn, 3), 5_000, axis=1))
    assert several.sure and several.marks > 2 * kept.count


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros((1, RATE), np.float32),
        np.zeros((2, 1), np.float32),
        np.full((1, 2_205), 0.5, np.float32),
        np.sin(2 * np.pi * 440 * np.arange(RATE, dtype=np.float64) / RATE).astype(np.float32)[None],
        np.eye(1, 2_205, 500, dtype=np.float32),
    ],
    ids=["silence", "a sample", "constant", "tone", "click"],
)
def test_what_has_nothing_to_tell_it_by_is_never_taken_for_anything(audio: Audio) -> None:
    kept = fingerprint(audio, RATE, loop=audio.shape[1] == RATE)
    if kept.count >= FEWEST_MARKS:  # the ends of a tone, or a click, make marks in every band
        assert not any(best(kept, bursts(seed, 1.0)).likely for seed in range(4))
        return
    assert not best(kept, audio).likely


def test_short_sounds_are_known_where_they_have_enough_to_tell() -> None:
    short = bursts(5, 0.3)
    assert best(fingerprint(short, RATE), short * np.float32(0.2)).sure
    assert not any(best(fingerprint(bursts(seed, 0.3), RATE), short).likely for seed in range(6, 16))


def test_a_fingerprint_is_kept_as_bytes_and_damage_is_no_fingerprint() -> None:
    turn = fingerprint(bursts(6, 0.5), RATE, loop=True)
    back = Fingerprint.from_bytes(turn.to_bytes())
    assert back is not None and back.turn_s == turn.turn_s
    assert np.array_equal(back.rises, turn.rises) and np.array_equal(back.falls, turn.falls)
    data = turn.to_bytes()
    for damaged in (b"", data[:9], data[:-3], b"\x07" + data[1:], data[:1] + b"\xff" * 8 + data[9:]):
        assert Fingerprint.from_bytes(damaged) is None


def test_among_many_the_index_names_the_one() -> None:
    kept = [fingerprint(bursts(seed, 1.0), RATE) for seed in range(40)]
    index = FingerprintIndex()
    for first in range(0, 40, 7):
        index.add(range(first, min(first + 7, 40)), kept[first : first + 7])
    asked = probe(bursts(23, 1.0)[:, 9_000:] * np.float32(0.3), RATE)
    first = index.candidates(asked)[0]
    assert first.number == 23
    assert likeness(kept[23], asked, first.offsets).sure
    assert index.candidates(probe(np.zeros((1, RATE), np.float32), RATE)) == []
    assert FingerprintIndex().candidates(asked) == []


def test_an_index_is_the_same_however_it_was_filled() -> None:
    kept = [fingerprint(bursts(seed, 0.5), RATE) for seed in range(20)]
    at_once, one_by_one = FingerprintIndex(), FingerprintIndex()
    at_once.add(range(20), kept)
    for number, one in enumerate(kept):
        one_by_one.add([number], [one])
    assert len(at_once) == len(one_by_one)
    asked = probe(bursts(11, 0.5), RATE)
    assert at_once.candidates(asked)[0].number == one_by_one.candidates(asked)[0].number == 11


def test_a_probe_has_four_frames_a_hop() -> None:
    assert isinstance(probe(SOUND, RATE), Probe)
    assert len(probe(SOUND, RATE).rises) == pytest.approx(4 * len(KEPT.rises), abs=4)


@pytest.mark.skipif(not is_installed(), reason="libchromaprint is not installed")
def test_chromaprint_tells_long_sounds_apart_and_has_nothing_for_short_ones() -> None:
    long = bursts(7, 6.0)
    kept = chromaprint(long, RATE)
    assert bit_error_rate(kept, chromaprint(long[:, RATE:] * np.float32(0.3), RATE)) < 0.2
    assert bit_error_rate(kept, chromaprint(bursts(8, 6.0), RATE)) > 0.25
    assert len(chromaprint(bursts(9, 1.0), RATE)) == 0
    assert bit_error_rate(kept, chromaprint(bursts(9, 1.0), RATE)) == 0.5


@pytest.mark.parametrize("rate", [16_000, 14_000, 11_025, 8_000, 1_000, 9, 1])
def test_bands_that_a_low_rate_does_not_have_make_no_marks(rate: int) -> None:
    """Nothing beyond the spectrum is read: whatever lies in memory there would be taken for sound."""
    hiss = np.random.default_rng(5).normal(0, 0.1, (1, 4 * max(rate, 50))).astype(np.float32)
    marks = fingerprint(hiss, rate)
    bins = round(0.06 * rate) // 2 + 1
    beyond = [bit for bit, last in enumerate(_BOUNDS[2:]) if last > bins]
    mask = np.uint32(sum(1 << bit for bit in beyond))
    assert not ((marks.rises | marks.falls) & mask).any()
    for _ in range(3):
        again = fingerprint(hiss, rate)
        assert np.array_equal(marks.rises, again.rises) and np.array_equal(marks.falls, again.falls)


def test_a_sound_that_was_brought_to_a_telephone_s_rate_is_known() -> None:
    assert best(KEPT, filter.resample(SOUND, RATE, 8_000), 8_000).likely
    assert best(KEPT, filter.resample(SOUND, RATE, 11_025), 11_025).sure


def test_bounds_beyond_a_spectrum_are_refused_and_rates_that_no_sound_has(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"allowed is 0\.\.4"):
        add_band_powers(np.zeros((1, 4), np.complex64), np.array([0, 5]), np.zeros((1, 1)))
    for rate in (999, 400_000):
        soundfile.write(tmp_path / "odd.wav", np.zeros(5_000), rate)
        with pytest.raises(InvalidAudio, match="allowed is 1,000 to 384,000 Hz"):
            codec.read(tmp_path / "odd.wav")
