"""Several sounds made one: where each lies, what comes round, how neighbours are joined."""

from __future__ import annotations

import numpy as np
from tests.support.audio_signals import RATE, pink, tone

from audio_pool.audio.arranging import Part, in_sequence, mixed
from audio_pool.audio.seam import seam_score


def test_each_sound_has_its_level_and_its_time() -> None:
    a, b = pink(1_000), tone(400, channels=1)
    out = mixed([Part(audio=a), Part(audio=b, gain_db=-6.0, start=900)], 1_300, RATE, loop=False)
    expected = np.zeros((2, 1_300), np.float32)
    expected[:, :1_000] = a
    expected[:, 900:] += b * np.float32(10 ** (-6 / 20))  # one channel is in both
    assert np.array_equal(out, expected)
    # what is behind the end is left out
    assert np.array_equal(mixed([Part(audio=a), Part(audio=a, start=5_000)], 500, RATE, loop=False), a[:, :500])


def test_in_a_loop_what_hangs_over_the_end_comes_round() -> None:
    a = pink(1_000)
    out = mixed([Part(audio=a, start=700)], 800, RATE, loop=True)
    expected = np.zeros((2, 800), np.float32)
    for frame in range(1_000):
        expected[:, (700 + frame) % 800] += a[:, frame]
    assert np.allclose(out, expected, atol=1e-6)


def test_a_loop_in_a_loop_turns_a_whole_number_of_times() -> None:
    turn = tone(RATE // 2)  # 220 periods
    twice = mixed([Part(audio=turn, loop=True), Part(audio=pink(RATE))], RATE, RATE, loop=True) - pink(RATE)
    assert np.allclose(twice, np.tile(turn, 2), atol=1e-6)
    nearly = mixed([Part(audio=turn, loop=True)], RATE + 20, RATE, loop=True)  # 0.45 per mille longer
    assert nearly.shape == (2, RATE + 20)
    assert seam_score(nearly, RATE, 0) > 97
    unlike = mixed([Part(audio=pink(RATE), loop=True)], RATE * 7 // 4, RATE, loop=True, tail_frames=RATE // 4)
    assert unlike.shape == (2, RATE * 7 // 4)
    assert seam_score(unlike, RATE, 0) > 90
    # in a one-shot it goes on to the end
    shot = mixed([Part(audio=turn, loop=True, start=100)], RATE, RATE, loop=False)
    assert np.array_equal(shot[:, 100 : 100 + RATE // 2], turn)
    assert np.array_equal(shot[:, 100 + RATE // 2 :], turn[:, : RATE // 2 - 100])


def test_neighbours_share_their_crossfade_and_no_more_than_half_of_themselves() -> None:
    a, b, c = pink(4_000), pink(3_000, seed=1), pink(200, seed=2)
    out = in_sequence([a, b, c], 1_000, 0, loop=False)
    assert out.shape[1] == 4_000 + 3_000 + 200 - 1_000 - 100
    assert np.array_equal(out[:, :3_000], a[:, :3_000])
    assert np.array_equal(out[:, 4_000:5_900], b[:, 1_000:2_900])
    assert np.array_equal(out[:, -100:], c[:, -100:])
    # constant power: no hole and no bump where two noises meet
    middle = float(np.square(out[:, 3_000:4_000]).mean())
    assert 0.5 < middle / float(np.square(a).mean()) < 2.0


def test_a_sequence_that_loops_leads_from_its_last_into_its_first() -> None:
    sounds = [pink(RATE, seed=seed) for seed in range(3)]
    turn = in_sequence(sounds, RATE // 4, 0, loop=True)
    assert turn.shape[1] == 3 * RATE - 3 * (RATE // 4)
    assert seam_score(turn, RATE, 0) > 95
    alone = in_sequence(sounds[:1], RATE // 4, 0, loop=True)
    assert alone.shape[1] == RATE - RATE // 4
    assert seam_score(alone, RATE, 0) > 95


def test_a_gap_is_silence_between_neighbours_and_in_a_loop_after_the_last() -> None:
    a, b = tone(500, channels=1), pink(600)
    out = in_sequence([a, b], 100, 50, loop=False)
    assert out.shape == (2, 1_150)
    assert not out[:, 500:550].any()
    assert np.array_equal(out[:, 550:], b)
    assert in_sequence([a, b], 100, 50, loop=True).shape == (2, 1_200)
