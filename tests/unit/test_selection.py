"""Which variant is offered, and which goes when there are too many."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from audio_pool.cache.entry import Row
from audio_pool.cache.selection import Variant, draw, of_nearest_length, of_nearest_prompts, surplus


def row(entry_id: int, duration_s: float = 2.0) -> Row:
    return Row(entry_id, "rain", "procedural", duration_s, 44_100, None, None, 0.0, f"audio/{entry_id}.flac", 0)


def drawn(rows: list[Row], scores: dict[int, float], temperature: float, seed: int | None = None) -> int:
    return draw(rows, scores, temperature, seed, random.Random(1)).id


# -- the draw --------------------------------------------------------------------------------------


def test_only_the_nearest_lengths_are_drawn_from() -> None:
    rows = [row(1, 1.9), row(2, 2.1), row(3, 2.3), row(4, 2.1004)]
    assert [one.id for one in of_nearest_length(rows, 2.0)] == [1, 2, 4]
    assert [one.id for one in of_nearest_length(rows, 2.2)] == [2, 3, 4]


def test_the_nearest_prompts_count_once_and_a_blur_adds_those_that_may_be_as_near() -> None:
    prompts = ("rain", "wind", "rain", "hail", "wind")
    rows = [row(number)._replace(prompt=prompt) for number, prompt in enumerate(prompts)]
    cosines = {0: 0.80, 1: 0.95, 2: 0.90, 3: 0.899, 4: 0.5}
    assert [one.id for one in of_nearest_prompts(rows, cosines, 2)] == [1, 2, 0, 4]
    assert [one.id for one in of_nearest_prompts(rows, cosines, 2, 0.005)] == [1, 2, 3, 0, 4]
    assert [one.id for one in of_nearest_prompts(rows, cosines, 9, 0.005)] == [1, 2, 3, 0, 4]
    assert of_nearest_prompts([], {}, 2, 0.005) == []


def test_temperature_0_takes_the_best_and_among_equals_the_oldest() -> None:
    rows = [row(3), row(1), row(2)]
    assert drawn(rows, {1: 0.2, 2: 0.9, 3: 0.9}, 0.0) == 2
    assert drawn([row(5)], {}, 0.0) == 5


@pytest.mark.parametrize("seed", [None, "varied"])
def test_shares_follow_the_softmax_of_the_scores(seed: str | None) -> None:
    rows, scores, rng = [row(1), row(2), row(3)], {1: 0.1, 2: 0.2, 3: 0.4}, random.Random(5)
    seeds = [number if seed else None for number in range(4000)]
    counts = Counter(draw(rows, scores, 0.2, one, rng).id for one in seeds)
    weights = np.exp(np.array([0.1, 0.2, 0.4]) / 0.2)
    for entry_id, share in zip((1, 2, 3), weights / weights.sum(), strict=True):
        assert counts[entry_id] / 4000 == pytest.approx(share, abs=0.03)


def test_a_seed_keeps_its_choice_while_that_entry_is_there() -> None:
    rows = [row(number) for number in range(1, 9)]
    scores = {one.id: 0.5 for one in rows}
    for seed in range(40):
        chosen = drawn(rows, scores, 0.5, seed)
        for gone in rows:
            if gone.id != chosen:
                left = [one for one in rows if one is not gone]
                assert drawn(left, scores, 0.5, seed) == chosen
    assert len({drawn(rows, scores, 0.5, seed) for seed in range(40)}) > 4


def test_a_high_temperature_lets_the_worse_win_and_a_low_one_hardly_ever() -> None:
    rows, scores = [row(1), row(2)], {1: 0.0, 2: 1.0}
    assert Counter(drawn(rows, scores, 0.05, seed) for seed in range(500))[1] == 0
    assert Counter(drawn(rows, scores, 10.0, seed) for seed in range(500))[1] > 180


# -- the cap ---------------------------------------------------------------------------------------


def variant(entry_id: int | None, score: float, created_at: float = 0.0, *vector: float) -> Variant:
    return Variant(entry_id, score, created_at, np.array(vector, np.float32) if vector else None)


def test_nothing_goes_while_there_is_room() -> None:
    assert surplus([variant(1, 0.1), variant(None, 0.2)], 2, "quality") == set()


def test_the_worst_go_and_among_equals_the_oldest() -> None:
    variants = [variant(1, 0.5, 3.0), variant(2, 0.1, 1.0), variant(3, 0.5, 2.0), variant(None, 0.9, 4.0)]
    assert surplus(variants, 3, "quality") == {2}
    assert surplus(variants, 2, "quality") == {2, 3}
    assert surplus([variant(1, 0.5), variant(None, 0.4)], 1, "quality") == {None}


def test_diversity_takes_the_worse_of_the_two_most_alike() -> None:
    variants = [variant(1, 0.1, 0.0, 0, 0), variant(2, 0.9, 0.0, 5, 0), variant(None, 0.8, 0.0, 5.1, 0)]
    assert surplus(variants, 2, "diversity") == {None}
    assert surplus(variants, 2, "quality") == {1}
    assert surplus([*variants, variant(4, 0.95, 0.0, 0.05, 0)], 2, "diversity") == {1, None}


@pytest.mark.parametrize("vector", [(), (1.0,)], ids=["missing", "of another length"])
def test_diversity_without_comparable_vectors_is_quality(vector: tuple[float, ...]) -> None:
    variants = [variant(1, 0.1, 0.0, 0, 0), variant(2, 0.9, 0.0, 5, 0), variant(None, 0.8, 0.0, *vector)]
    assert surplus(variants, 2, "diversity") == {1}
