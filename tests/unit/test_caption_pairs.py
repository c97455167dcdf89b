"""The generated pairs that what learns is trained and judged on."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections import Counter
from pathlib import Path

from audio_pool.prompts.normalize import canonical_key

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "caption_pairs.py"
_spec = importlib.util.spec_from_file_location("caption_pairs", SCRIPT)
assert _spec is not None and _spec.loader is not None
caption_pairs = sys.modules["caption_pairs"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(caption_pairs)
EVERY = frozenset(caption_pairs.EDITS)


def pairs(count: int = 400, *, seed: int = 1, half: int = 0, families: frozenset[str] = EVERY) -> list:
    return list(caption_pairs.generate(count, seed=seed, half=half, families=families))


def test_half_of_the_pairs_are_of_one_scene_and_every_family_has_its_share() -> None:
    made = pairs()
    counts = Counter(pair.family for pair in made)
    assert sum(pair.same for pair in made) == counts.pop("same") == 200
    assert counts.keys() == EVERY
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(pair.one != pair.other for pair in made if pair.same)


def test_a_seed_makes_the_same_pairs_and_a_family_left_out_is_left_out() -> None:
    assert pairs(50) == pairs(50) != pairs(50, seed=2)
    assert {pair.family for pair in pairs(100, families=frozenset(["order", "place"]))} == {"same", "order", "place"}


def test_the_halves_share_no_word_of_a_list() -> None:
    first, second = (caption_pairs.Maker(random.Random(1), half=half) for half in (0, 1))
    for words in (caption_pairs.PEOPLE, caption_pairs.VEHICLES, [name for name, _ in caption_pairs.ANIMALS]):
        assert set(first.mine(words)).isdisjoint(second.mine(words))
        assert {*first.mine(words), *second.mine(words)} == set(words)


def test_one_scene_in_two_wordings_mostly_has_one_key_and_a_changed_one_never_its_words() -> None:
    made = pairs()
    same = [canonical_key(pair.one) == canonical_key(pair.other) for pair in made if pair.same]
    assert sum(same) > len(same) / 2
    changed = [pair for pair in made if pair.family in ("animal", "person", "count", "absence", "dropped")]
    assert all(canonical_key(pair.one) != canonical_key(pair.other) for pair in changed)
