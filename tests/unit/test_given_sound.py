"""What an engine's rate and channels lose of a given sound is put back where that is to stay."""

from __future__ import annotations

import numpy as np
import pytest

from audio_pool.audio import filter
from audio_pool.types import Edit
from audio_pool.worker.given_sound import Lost, lost_of

RATE, LOW = 44_100, 16_000
MASK = Edit(mask_start_s=0.6, mask_end_s=0.9)
EXTENDED = Edit(extend_s=0.5)
FADE_S, EDGE_S = 0.03, 0.002


def given(channels: int = 2, seconds: float = 1.5) -> np.ndarray:
    return (0.1 * np.random.default_rng(1).standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def made_of(sound: np.ndarray, edit: Edit | None) -> np.ndarray:
    """What an engine of 16 kHz mono makes: the sound as it hears it, with silence in place of what is new."""
    heard = filter.resample(sound, RATE, LOW).mean(0, keepdims=True)
    if edit is None:
        return heard
    if edit.extend_s is not None:
        return np.pad(heard, ((0, 0), (0, round(edit.extend_s * LOW))))
    heard[:, round(0.6 * LOW) : round(0.9 * LOW)] = 0
    return heard


def lost(sound: np.ndarray, edit: Edit | None) -> Lost:
    found = lost_of(sound, RATE, engine=(LOW, 1), rate=RATE, edit=edit)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        (MASK, [(0.0, 0.6 - FADE_S - EDGE_S), (0.9 + FADE_S + EDGE_S, 1.5)]),
        (EXTENDED, [(0.0, 1.5 - FADE_S - EDGE_S)]),
        (None, [(0.0, 1.5)]),
    ],
)
def test_what_stays_is_the_given_sound_and_what_is_new_is_the_engines(
    edit: Edit | None, kept: list[tuple[float, float]]
) -> None:
    sound = given()
    made = made_of(sound, edit)
    whole = lost(sound, edit).restored(made)
    assert whole.dtype == np.float32 and whole.shape == (2, round(made.shape[1] / LOW * RATE))
    for start, end in kept:
        place = slice(round(start * RATE), round(end * RATE))
        # near a place where something new begins the resampler rings
        np.testing.assert_allclose(whole[:, place], sound[:, place], atol=2e-3 if edit else 1e-6)
    if edit is not None:
        new = slice(round(0.65 * RATE), round(0.85 * RATE)) if edit is MASK else slice(round(1.55 * RATE), None)
        assert np.abs(whole[:, new]).max() < 2e-3


def test_pieces_in_a_row_are_the_whole() -> None:
    sound = given()
    made, found = made_of(sound, EXTENDED), lost(given(), EXTENDED)
    pieces = [made[:, at : at + 7001] for at in range(0, made.shape[1], 7001)]
    row = np.concatenate(list(found.restored_pieces(pieces)), axis=1)
    np.testing.assert_allclose(row, found.restored(made), atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "engine", "rate"), [(1, (44_100, 2), 44_100), (2, (48_000, 2), 44_100), (2, (16_000, 2), 16_000)]
)
def test_nothing_is_lost_to_an_engine_that_hears_it_all(channels: int, engine: tuple[int, int], rate: int) -> None:
    assert lost_of(given(channels, 0.2), RATE, engine=engine, rate=rate, edit=MASK) is None


def test_more_channels_than_a_result_has_are_heard_as_one() -> None:
    found = lost_of(given(6, 0.2), RATE, engine=(LOW, 1), rate=RATE, edit=EXTENDED)
    assert found is not None and len(found.audio) == 1
