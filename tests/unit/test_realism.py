"""The listening sheets: what they name exists, and what measures the sounds measures right."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import realism

from audio_pool.engines.procedural.recipe import RECIPES

RATE = realism.RATE


def _time(seconds: float = 8.0) -> np.ndarray:
    return np.arange(round(seconds * RATE)) / RATE


def _strokes(period_s: float, decay_s: float, hz: float = 800.0) -> np.ndarray:
    since = _time() % period_s
    return np.sin(2 * np.pi * hz * since) * np.exp(-since / decay_s)


def test_every_sheet_is_of_a_recipe_with_known_descriptors_and_a_source() -> None:
    sheets = realism.sheets()
    assert set(sheets) == set(RECIPES)
    for name, sheet in sheets.items():
        assert name in RECIPES, name
        assert sheet["source"], name
        assert set(sheet.get("looked_up", ())) <= set(sheet), name
        for descriptor, bounds in sheet.items():
            if descriptor not in ("source", "looked_up"):
                assert descriptor in realism.DESCRIPTORS, (name, descriptor)
                assert len(bounds) == 2
                assert bounds[0] < bounds[1]


@pytest.mark.parametrize(
    ("descriptor", "wave", "value"),
    [
        ("pitch_hz", np.sign(np.sin(2 * np.pi * 220 * _time())), 220),
        ("peak_hz", np.sin(2 * np.pi * 500 * _time()), 500),
        ("centroid_hz", np.sin(2 * np.pi * 500 * _time()) + np.sin(2 * np.pi * 1500 * _time()), 1000),
        ("events_per_s", _strokes(0.5, 0.02), 2),
        ("decay_s", _strokes(8.0, 0.3), 6.9 * 0.3),
        ("event_s", _strokes(1.0, 0.05), 2.3 * 0.05),
        ("rate_hz", np.sin(2 * np.pi * 300 * _time()) * (1 + np.sin(2 * np.pi * 7 * _time())), 7),
        ("slope_db", np.cumsum(np.random.default_rng(1).standard_normal(8 * RATE)), -6),
        ("crest_db", np.sin(2 * np.pi * 100 * _time()), 3.01),
        ("below_200", np.sin(2 * np.pi * 100 * _time()) + np.sin(2 * np.pi * 5000 * _time()), 0.5),
    ],
)
def test_a_descriptor_measures_what_it_says(descriptor: str, wave: np.ndarray, value: float) -> None:
    measure, _ = realism.DESCRIPTORS[descriptor]
    assert measure(np.asarray(wave, dtype=np.float64), 5.0, 12.0) == pytest.approx(value, rel=0.12)


def test_a_distance_grows_with_how_far_outside_and_is_none_inside() -> None:
    assert realism.distance("octaves", 300, 200, 400) == 0
    assert realism.distance("octaves", 800, 200, 400) == pytest.approx(3)
    assert realism.distance("db", -12, -6, 0) == pytest.approx(2)
    assert realism.distance("octaves", float("nan"), 1, 2) == 10


def test_most_of_what_is_asked_most_is_looked_up() -> None:
    sheets = realism.sheets()
    assert sum("looked_up" in sheet for sheet in sheets.values()) >= 40


def test_looked_up_and_judged_ranges_are_told_apart() -> None:
    sheet = {"pitch_hz": [1, 2], "event_s": [0.01, 10], "looked_up": ["pitch_hz"], "source": "none"}
    found = realism.row("dog", sheet)
    assert (found["looked up"], found["judged"], found["distance"]) == (10, 0, 5)
    assert realism.row("dog", {"event_s": [0.01, 10], "source": "none"})["looked up"] == ""


def test_a_rows_distance_is_of_the_sound_that_is_made() -> None:
    dog = realism.row("dog", realism.sheets()["dog"])
    as_a_bell = realism.row("dog", realism.sheets()["gong"])
    assert dog["distance"] < 1 < as_a_bell["distance"]
