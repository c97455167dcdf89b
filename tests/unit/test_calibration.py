"""An encoder's thresholds are the least cosines that keep the wished error, on pairs whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from tests.support.cache_sounds import recipe, sound
from tests.support.png_pixels import png_pixels

from audio_pool.audio.line_chart import Line, write_chart
from audio_pool.cache.calibration import LEAST_PAIRS, measure
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import InvalidRequest, StorageError
from audio_pool.types import Query

SAME = np.linspace(0.80, 0.99, 100)
DIFFERENT = np.linspace(0.50, 0.89, 100)
NOTHING = np.zeros(0)


def measured(error: float, *, agrees: float = 1.0, unrelated: np.ndarray = NOTHING, known: float | None = None):
    """Where every guard agrees on this share of the different pairs, those with the greatest cosines first."""
    passing = [number >= len(DIFFERENT) * (1 - agrees) for number in range(len(DIFFERENT))]
    return measure(
        "some", SAME, DIFFERENT, same_agrees=[True] * 100, different_agrees=passing, unrelated=unrelated, error=error,
        known=known,
    )


@pytest.mark.parametrize("error", [0.01, 0.05, 0.2])
def test_no_more_than_the_wished_share_is_accepted_and_a_lower_cosine_would_accept_more(error: float) -> None:
    found = measured(error)
    assert found.accepted_different <= error
    assert np.mean(found.at_070 - 0.01 <= DIFFERENT) > error
    assert found.at_070 == found.plain, "where the guards say nothing, the cosine is all there is"
    assert found.accepted_same == pytest.approx(np.mean(found.at_070 <= SAME))
    assert found.error_at_most > found.accepted_different


def test_guards_let_the_cosine_be_lower_but_not_under_what_any_two_prompts_reach() -> None:
    guarded = measured(0.05, agrees=0.10)
    assert guarded.accepted_different <= 0.05 and guarded.at_070 == guarded.plain
    unguarded = measured(0.05, agrees=0.0, unrelated=np.linspace(0.0, 0.6, 1000))
    assert unguarded.at_070 == pytest.approx(0.57, abs=0.005) and unguarded.accepted_different == 0.0
    assert unguarded.plain == pytest.approx(0.87, abs=0.01)


def test_few_errors_in_few_pairs_promise_little() -> None:
    # the rule of three: no error in N says under 3 / N
    assert measured(0.01, agrees=0.0).error_at_most == pytest.approx(0.03, abs=0.001)


def test_pairs_too_few_for_the_error_do_not_lower_what_is_known() -> None:
    few = measured(0.01, agrees=0.0, known=0.9)
    assert (few.held, few.at_070, few.accepted_same) == (True, 0.9, pytest.approx(np.mean(SAME >= 0.9)))
    enough = measured(0.05, agrees=0.0, known=0.9)
    assert (enough.held, enough.at_070 < 0.9) == (False, True)
    assert measured(0.01, known=0.5).at_070 == measured(0.01).at_070 > 0.5, "it is raised all the same"


def test_the_curve_falls_and_ends_at_one() -> None:
    curve = measured(0.05).curve
    for name in ("same", "different", "different_by_cosine", "unrelated"):
        shares = [point[name] for point in curve]
        assert shares == sorted(shares, reverse=True)
    assert curve[0].cosine <= 0.5 and curve[-1].cosine == 1.0


@pytest.mark.parametrize("sizes", [(LEAST_PAIRS, LEAST_PAIRS - 1), (0, 100)])
def test_too_few_pairs_are_refused(sizes: tuple[int, int]) -> None:
    same, different = (np.full(size, 0.9) for size in sizes)
    with pytest.raises(InvalidRequest, match="needed are 10 of each"):
        measure(
            "some", same, different, same_agrees=[True] * sizes[0], different_agrees=[True] * sizes[1],
            unrelated=NOTHING, error=0.01,
        )  # fmt: skip


def test_a_measurement_takes_the_place_of_what_is_known_and_makes_an_unknown_encoder_trusted(tmp_path: Path) -> None:
    one, two = SoundCache(tmp_path / "cache"), SoundCache(tmp_path / "cache")
    x = np.eye(4, dtype=np.float32)[0]
    near = np.array([0.93, np.sqrt(1 - 0.93**2), 0, 0], np.float32)
    one.put(sound(one.incoming, "rain on a tin roof"), {"minilm": x, "own@1": x})

    def verdict(space: str) -> str:
        return two.judged(recipe("a tin roof in the rain"), Query(), {space: near})[1][0].reason

    assert "all words agree" in verdict("minilm") and "has no calibration" in verdict("own@1")
    for space, least in (("minilm", 0.95), ("own@1", 0.9)):
        one.store.calibrations.keep(structs.replace(measured(0.05), space=space, at_070=least))
    assert "cosine is below 0.95" in verdict("minilm") and "all words agree" in verdict("own@1")
    assert two.find_near(recipe("a tin roof in the rain"), Query(), {"own@1": near}).hit is not None
    assert [found.space for found in two.store.calibrations.all()] == ["minilm", "own@1"]
    assert one.store.calibrations.forget("own@1") and not one.store.calibrations.forget("own@1")
    assert "has no calibration" in verdict("own@1")
    one.close()
    two.close()


def test_a_chart_shows_its_lines_in_their_own_colours(tmp_path: Path) -> None:
    x = [0.5, 1.0]
    lines = [Line("falls", x, [1.0, 0.0]), Line("stays", x, [0.25, 0.25])]
    write_chart(tmp_path / "x.png", lines, title="t" * 500, axis="cosine", mark=0.75, mark_name="here")
    pixels = png_pixels((tmp_path / "x.png").read_bytes())
    assert pixels.shape == (520, 900)
    falls, stays = (np.argwhere(pixels == colour) for colour in (4, 5))
    assert falls[:, 0].max() - falls[:, 0].min() > 300
    inside = stays[stays[:, 1] > 400]
    assert set(inside[:, 0]) <= {368, 369, 370, 371}, "a quarter of the way up"
    with pytest.raises(StorageError):
        write_chart(tmp_path / "no" / "x.png", lines, title="", axis="", mark=0.75, mark_name="")
