"""Parse a prompt into layers: the recipes it names, the adjectives of each, and what it excludes.

Owns: whose adjective a word is, what is ruled out, what is told of a prompt, the nearest recipe.
Must not know: which words name what (matches.py), how anything sounds, what adjectives mean. Pure: no state, no clock,
no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from audio_pool.engines.procedural.adjectives import ADJECTIVES, KINDS, CharacterChange, changed
from audio_pool.engines.procedural.info import MOST_LAYERS
from audio_pool.engines.procedural.matches import (
    FALLBACK,
    Match,
    MatchedBy,
    deduplicated,
    matches,
    verbs_attached,
)
from audio_pool.engines.procedural.recipe import Character, Recipe
from audio_pool.engines.procedural.tokens import STOPWORDS, TOKEN, UNTOLD, Word, key_stems, stem, tokenised
from audio_pool.prompts.language import foreign_language
from audio_pool.prompts.lexicon import NUMBERS

__all__ = ["Layer", "MatchedBy", "Nearest", "Reading", "nearest_by_words", "read"]

_MOST_COMPARED = 24
"""Words of a prompt that are compared with the recipes' by their spelling: a long one would take seconds."""
_COUNTS = {name: int(digits) for name, digits in NUMBERS.items() if 1 <= int(digits) <= 12}
_COUNTS |= {"single": 1, "once": 1, "double": 2, "twice": 2, "triple": 3, "thrice": 3}
_UNITS = ("bpm", "hz", "hertz", "khz")


def _adjective_table() -> dict[str, tuple[int, CharacterChange]]:
    return {
        stem(word): (number, change)
        for number, (words, change) in enumerate(ADJECTIVES)
        for word in words.split()
    }


_ADJECTIVE_OF = _adjective_table()
_KINDS = [(set(key_stems(name)), change) for names, change in KINDS for name in names.split(", ")]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One recipe to render, and its character."""

    recipe: Recipe
    character: Character
    words: tuple[str, ...]
    """The prompt's words that named it."""
    adjectives: tuple[str, ...]
    by: MatchedBy


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A parsed prompt."""

    layers: tuple[Layer, ...]
    unused: tuple[str, ...]
    """Content words that had no effect."""
    warnings: tuple[str, ...]


Nearest = Callable[[str, Collection[str]], str | None]
"""(prompt, excluded names) -> the name of the recipe nearest in meaning, or None."""


def read(
    prompt: str, recipes: Mapping[str, Recipe], *, negative_prompt: str = "", nearest: Nearest | None = None
) -> Reading:
    """Parse a prompt into layers, at least one, in the order of the text.

    Args:
        negative_prompt: recipes named here are excluded.
        nearest: chooses by meaning where no word fits; without it related words and spelling decide.
    """
    compounds = {key_stems(key)[0] for recipe in recipes.values() for key in recipe.keys if " " not in key}
    words, unwanted = (
        tokenised(text, compounds=compounds, adjectives=_ADJECTIVE_OF) for text in (prompt, negative_prompt)
    )
    found = verbs_attached(words, matches(words, recipes, _ADJECTIVE_OF))
    kept = [match for match in found if not match.negated]
    named = {match.recipe.name for match in kept if match.by == "words"}
    negated = [match for match in found if match.negated and match.recipe.name not in named]
    refused = matches(unwanted, recipes, _ADJECTIVE_OF)
    excluded = {match.recipe.name for match in (*negated, *refused)}
    kin = excluded | _kin(words, negated, recipes) | _kin(unwanted, refused, recipes)
    kept = deduplicated(
        [match for match in kept if match.recipe.name not in (excluded if match.by == "words" else kin)]
    )
    warnings = _not_english(prompt)
    if not kept:
        by, name = _nearest_recipe(prompt, words, recipes, kin, nearest)
        kept = [Match(recipes[name], (), by, False, [])]
        warnings.append(f"nearest_recipe: nothing fits {_shortened(prompt)!r}; used {name!r}")
    if len(kept) > MOST_LAYERS:
        left = ", ".join(match.recipe.name for match in kept[MOST_LAYERS:])
        warnings.append(f"layers_left_out: at most {MOST_LAYERS} sounds at once; left out {left}")
        kept = kept[:MOST_LAYERS]
    _assign_adjectives(words, kept)
    warnings += [
        f"nearest_recipe: no recipe for {match.instead!r}; used {match.recipe.name!r}"
        for match in kept
        if match.instead
    ]
    if kept[0].places:
        warnings += _not_heard(words, kept)
    return Reading(
        layers=tuple(_layer(match, words) for match in kept),
        unused=tuple(w.text for w in words if not (w.used or {w.text, w.stem} & STOPWORDS)),
        warnings=tuple(warnings),
    )


def _not_english(prompt: str) -> list[str]:
    language = foreign_language(prompt)
    return [f"not_english: the built-in engine knows English; this prompt looks like {language}"] if language else []


def _not_heard(words: list[Word], kept: list[Match]) -> list[str]:
    """Warn of words that no layer renders: "boss" in "a boss in the rain"."""
    left = {word.stem: word.text for word in words if _is_content_word(word) and not word.negated}
    for recipe in (match.recipe for match in kept):
        texts = " ".join((*recipe.near, recipe.summary, *recipe.keys))
        for known in TOKEN.findall(texts):
            left.pop(stem(known), None)
    unheard = [repr(text) for text in left.values()]
    return [f"not_heard: no recipe for {', '.join(unheard)}"] if unheard else []


def _kin(words: list[Word], ruled_out: Iterable[Match], recipes: Mapping[str, Recipe]) -> set[str]:
    """Return the recipes that are a kind of what was ruled out: rain on leaves, where there is to be no rain."""
    out: set[str] = set()
    for match in ruled_out:
        meant = {words[place].stem for place in match.places}
        for recipe in recipes.values():
            if match.recipe.name in recipe.covers or any(meant <= set(key_stems(key)) for key in recipe.keys):
                out.add(recipe.name)
    return out


def _assign_adjectives(words: list[Word], found: list[Match]) -> None:
    for place, word in enumerate(words):
        number = _number_kind(words, place)
        if word.used or word.negated or not (number or word.stem in _ADJECTIVE_OF):
            continue
        word.used = True
        if number == "unit":
            words[place + 1].used = True
        modified = _modified(words, place, found)
        if word.text == "one" and all(max(match.places, default=-1) < place for match in modified):
            continue  # "a long one" counts nothing
        for match in modified:
            match.adjectives.append(place)


def _modified(words: list[Word], place: int, found: list[Match]) -> list[Match]:
    """Find what an adjective modifies: the next recipe named in its clause, else the last one there.

    In a clause without a recipe: the next one named after it, else all of them; but none where the
    clause is about something else ("and two women speak").
    """
    clause = words[place].clause
    spots = [(spot, match) for match in found for spot in match.places]
    if not spots:
        return found
    here = [(spot, match) for spot, match in spots if words[spot].clause == clause]
    if here:
        after = [spot for spot, _ in here if spot > place]
        chosen = min(after) if after else max(spot for spot, _ in here)
        return [match for spot, match in here if spot == chosen]
    if any(word.clause == clause and _is_content_word(word) for word in words):
        return []
    later = [spot for spot, _ in spots if spot > place]
    if later:
        return [match for spot, match in spots if spot == min(later)]
    return found


def _is_content_word(word: Word) -> bool:
    return not (
        word.used or word.text in STOPWORDS or word.stem in UNTOLD or word.stem in _ADJECTIVE_OF
        or word.text in _COUNTS or word.text in _UNITS or word.text[0].isdigit() or len(word.text) == 1
    )


def _number_kind(words: list[Word], place: int) -> Literal["unit", "count", ""]:
    """Return "unit" for a number before BPM or Hz, "count" for a small whole number, else ""."""
    text = words[place].text
    if text[0].isdigit():
        following = words[place + 1].text if place + 1 < len(words) else ""
        if following in _UNITS:
            return "unit"
        if following in ("bit", "bits"):  # an 8-bit coin is one coin
            return ""
        return "count" if text.isdigit() and 1 <= int(text) <= 60 else ""
    return "count" if text in _COUNTS else ""


def _layer(match: Match, words: list[Word]) -> Layer:
    character = Character(several=any(words[place].plural for place in match.places))
    named = {words[place].stem for place in match.places}
    for stems, change in _KINDS:
        if stems <= named:
            character = changed(character, change)
    applied: set[int] = set()
    texts: list[str] = []
    for place in match.adjectives:
        word = words[place]
        kind = _number_kind(words, place)
        if kind == "unit":
            value, unit = float(word.text), words[place + 1].text
            texts.append(f"{word.text} {unit}")
            if unit == "bpm":
                character = replace(character, bpm=min(400.0, max(20.0, value)))
            else:
                character = replace(character, hz=min(16_000.0, max(20.0, value * (1000 if unit == "khz" else 1))))
            continue
        texts.append(word.text)
        if kind == "count":
            character = replace(character, count=_COUNTS.get(word.text) or int(word.text))
            continue
        number, change = _ADJECTIVE_OF[word.stem]
        if number not in applied:
            applied.add(number)
            character = changed(character, change)
    return Layer(
        recipe=match.recipe,
        character=character,
        words=tuple(words[place].text for place in sorted(match.places)),
        adjectives=tuple(texts),
        by=match.by,
    )


def _nearest_recipe(
    prompt: str, words: list[Word], recipes: Mapping[str, Recipe], excluded: Collection[str],
    nearest: Nearest | None,
) -> tuple[MatchedBy, str]:
    """Choose the recipe nearest to a prompt that names none.

    Returns:
        how it was chosen, and its name.
    """
    if nearest is not None:
        name = nearest(prompt, excluded)
        if name is not None:
            return "meaning", name
    texts = [w.text for w in words if not w.negated and w.text not in STOPWORDS and w.stem not in _ADJECTIVE_OF]
    return "nearest", nearest_by_words(texts, recipes, excluded)


def nearest_by_words(texts: Sequence[str], recipes: Mapping[str, Recipe], excluded: Collection[str]) -> str:
    """Name the recipe whose related words the texts share most; then by spelling; then the drone."""
    best, best_score = "", 0.59
    stems = list(dict.fromkeys(stem(text) for text in texts))[:_MOST_COMPARED]
    spelled: dict[str, float] = {}  # by part of a key: the same part stands in many
    for recipe in recipes.values():
        if recipe.name in excluded:
            continue
        parts = {part for key in recipe.keys for part in key_stems(key)}
        shared = sum(1.0 for word in recipe.near if stem(word) in stems) + sum(0.62 for part in parts if part in stems)
        for part in parts - spelled.keys():
            spelled[part] = max((_spelling_similarity(text, part) for text in stems), default=0.0)
        score = max(shared, 0.95 * max((spelled[part] for part in parts), default=0.0))
        if score > best_score:
            best, best_score = recipe.name, score
    if best:
        return best
    return FALLBACK if FALLBACK not in excluded else next(name for name in recipes if name not in excluded)


def _spelling_similarity(one: str, two: str) -> float:
    """Compute Dice's coefficient of two words' letter pairs, ends included: 0..1."""
    first, second = _letter_pairs(one), _letter_pairs(two)
    return 2 * len(first & second) / (len(first) + len(second))


@lru_cache(maxsize=4096)
def _letter_pairs(word: str) -> frozenset[str]:
    return frozenset(f" {word} "[k : k + 2] for k in range(len(word) + 1))


def _shortened(prompt: str) -> str:
    flat = " ".join(prompt.split())
    return flat if len(flat) <= 60 else flat[:57] + "..."
