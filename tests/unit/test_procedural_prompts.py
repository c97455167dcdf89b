"""Free prompts and captions, and pairs of different things, as makers of games and annotators write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audio_pool.engines.base import Item
from audio_pool.engines.procedural.engine import ProceduralEngine
from audio_pool.engines.procedural.recipe import RECIPES
from audio_pool.engines.procedural.stand_ins import STAND_INS
from audio_pool.engines.procedural.tokens import key_stems
from audio_pool.engines.procedural.words import Reading, read

HERE = Path(__file__).parent


def _lines(name: str, between: str) -> list[tuple[str, str]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    parts = (line.split(between) for line in lines if line and not line.startswith("#"))
    return [(one.strip(), other.strip()) for one, other in parts]


def _read(prompt: str) -> Reading:
    return read(prompt, RECIPES)


def _told(reading: Reading) -> bool:
    return any(warning.startswith("nearest_recipe: ") for warning in reading.warnings)


def misreadings(prompt: str, expected: str) -> list[str]:
    """What differs from the expectation, whose form prompts_asked.txt tells at its top."""
    reading = _read(prompt)
    left = [layer.recipe.name for layer in reading.layers]
    wrong = []
    for part in filter(None, (text.strip() for text in expected.removesuffix("~").split("+"))):
        fit = next((name for name in left if part == "*" or name in part.rstrip("?").split("/")), None)
        if fit is not None:
            left.remove(fit)
        elif not part.endswith("?"):
            wrong.append(f"no {part}")
    if expected.removesuffix("~").strip() not in ("", "*"):
        wrong += [f"{name} besides" for name in left]
    if expected.endswith("~") != _told(reading) and expected != "*":
        wrong.append("not told" if expected.endswith("~") else "told")
    return wrong


@pytest.mark.parametrize("name", ["prompts_asked.txt", "prompts_held_out.txt"])
def test_prompts_are_read_as_they_are_meant(name: str) -> None:
    found = {prompt: misreadings(prompt, expected) for prompt, expected in _lines(name, "=>")}
    assert {prompt: wrong for prompt, wrong in found.items() if wrong} == {}


def test_different_things_differ_or_are_told() -> None:
    for one, other in _lines("pairs_asked.txt", "|"):
        first, second = _read(one), _read(other)
        sounds = [[(layer.recipe.name, layer.character) for layer in reading.layers] for reading in (first, second)]
        assert sounds[0] != sounds[1] or first.warnings or second.warnings, (one, other)


def test_what_only_stands_in_is_told_beside_the_recipes_own_words() -> None:
    reading = _read("a goat bleating beside a sheep in the rain")
    assert reading.warnings == ("nearest_recipe: no recipe for 'goat'; used 'sheep'",)
    assert [(layer.recipe.name, layer.by) for layer in _read("a goat").layers] == [("sheep", "nearest")]
    assert [layer.recipe.name for layer in _read("a sheep, no goats").layers] == ["sheep"]


def test_no_word_is_both_a_recipes_own_and_a_stand_in() -> None:
    own = {frozenset(key_stems(key)) for recipe in RECIPES.values() for key in recipe.keys}
    owners: dict[frozenset[str], str] = {}
    for name, texts in STAND_INS.items():
        assert name in RECIPES
        for text in texts.split(","):
            stems = frozenset(key_stems(text.strip()))
            assert stems not in own, text
            assert owners.setdefault(stems, text) == text


def test_what_it_is_asked_for_by_it_makes() -> None:
    files = {recipe.paint.__module__.rpartition(".")[2] for recipe in RECIPES.values()}
    makes = {"effects": "household", "ambience": "weather", "music": "music"}
    assert {kind for kind, file in makes.items() if file in files} == set(ProceduralEngine().info.kinds)
    assert [layer.recipe.name for layer in _read("a beat and a sad chord progression").layers] == ["drums", "chords"]


def test_a_number_of_bits_counts_nothing() -> None:
    assert _read("coin pickup 8-bit").layers[0].character.count is None
    assert _read("8 coins").layers[0].character.count == 8


def test_every_kind_of_a_thing_is_painted() -> None:
    keys = {(recipe.name, key) for recipe in RECIPES.values() for key in recipe.keys}
    seen: set[tuple[str, str]] = set()
    engine = ProceduralEngine()
    for name, key in sorted(keys):
        layers = _read(key).layers
        kind = layers[0].character.kind
        if not kind or (name, kind) in seen:
            continue
        seen.add((name, kind))
        (sound,) = engine.generate([Item(prompt=key, seed=5, duration_s=1.2, sample_rate=16_000)])
        assert np.isfinite(sound).all(), key
        assert 0.01 < np.abs(sound).max() <= 1, key
    assert {("sword", "draw"), ("cymbal", "hi hat"), ("paper", "tear"), ("robot", "servo")} <= seen
