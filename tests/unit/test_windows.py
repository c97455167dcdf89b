"""Where windows of long sounds and loops lie, and how the one is held to the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from audio_pool.engines._windows import MOST_STRETCH, Layout, held_frames, line, ring, window_seed

FIXED = Layout(samples=2048, whole=646, window=645, overlap=161, fixed=True)
FREE = Layout(samples=640, whole=750, window=256, overlap=64, multiple=8)


@pytest.mark.parametrize("layout", [FIXED, FREE])
@pytest.mark.parametrize("frames", [257, 646, 647, 1000, 1129, 1130, 12_920])
def test_windows_follow_each_other_by_the_overlap_and_cover_the_sound(layout: Layout, frames: int) -> None:
    windows = line(frames, layout)
    assert [window.number for window in windows] == list(range(len(windows)))
    assert sum(window.done for window in windows) == frames
    for one, other in itertools.pairwise(windows):
        assert one.width == layout.window
        assert other.start == one.start + one.done
        assert one.start + one.width - other.start == layout.overlap
    assert windows[-1].done <= windows[-1].width <= layout.window
    assert all(window.width % layout.multiple == 0 for window in windows)
    if layout.fixed:
        assert all(window.width == layout.window for window in windows)
    else:
        assert windows[-1].width < windows[-1].done + layout.multiple


def test_the_first_piece_of_a_little_more_than_one_window_is_as_long_as_any_other() -> None:
    first, last = line(FIXED.window + 1, FIXED)
    assert (first.done, last.start, last.done) == (484, 484, 162)


def test_an_overlap_is_let_go_evenly_its_first_frame_never() -> None:
    held = [held_frames(64, step, 50) for step in range(51)]
    assert (held[0], held[-1]) == (64, 1)
    assert held == sorted(held, reverse=True)
    assert max(one - other for one, other in itertools.pairwise(held)) <= 2
    assert [held_frames(5, step, 1) for step in (0, 1)] == [5, 1]
    assert [held_frames(3, step, 100) for step in (0, 33, 34, 99, 100)] == [3, 3, 2, 1, 1]


@pytest.mark.parametrize("layout", [FIXED, FREE])
@pytest.mark.parametrize("frames", [3, 22, 250, 256, 645, 646, 1290, 3000])
def test_every_frame_of_a_loop_is_seen_with_weights_that_sum_to_one(layout: Layout, frames: int) -> None:
    turn = ring(frames, layout)
    places, weights = turn.places(), turn.weights()
    assert places.shape == weights.shape
    total = np.zeros(frames)
    np.add.at(total, places, weights)
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    assert (weights > 0).all()
    assert turn.width % layout.multiple == 0
    assert turn.width <= layout.window
    if frames > layout.window:
        # evenly around, the joint between the last and the first like all others
        apart = np.diff([*turn.starts, frames])
        assert apart.max() - apart.min() <= 1
        assert layout.window - apart.max() >= layout.overlap - 1


def test_a_loops_frames_come_within_a_hundredth_of_its_length_or_it_is_none() -> None:
    for samples in range(2048, 60_000, 37):
        found = FIXED.turn(samples)
        nearest = abs(max(1, round(samples / 2048)) * 2048 / samples - 1)
        assert (found is not None) == (nearest <= MOST_STRETCH)
    assert FIXED.turn(30 * 44_100) == 645  # 645.99: one window in place of two
    assert FREE.turn(160_000) == 248  # 250: what eight divides, and needs no window beyond its ends
    assert FREE.turn(32_000) == 50  # two seconds: 48 or 56 would be four per cent away


def test_windows_of_one_sound_and_of_neighbouring_seeds_have_noise_of_their_own() -> None:
    seeds = [window_seed(seed, number) for seed in (0, 1, 2, 2**63 - 1) for number in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert window_seed(7, 0) == 7
