"""Parse a prompt into layers: the recipes it names, the adjectives of each, and what it excludes.

Owns: which words name a recipe, whose verb and whose adjective a word is, what is ruled out, the nearest recipe.
Must not know: how anything sounds, what adjectives mean. Pure: no state, no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal

from audio_pool.engines.procedural.adjectives import ADJECTIVES, SCENES, CharacterChange, changed
from audio_pool.engines.procedural.recipe import Character, Recipe
from audio_pool.engines.procedural.tokens import AGENTS, STOPWORDS, TOKEN, UNTOLD, Word, key_stems, stem, tokenised
from audio_pool.prompts.language import foreign_language
from audio_pool.prompts.lexicon import NUMBERS, word_info

__all__ = ["MOST_LAYERS", "Layer", "MatchedBy", "Nearest", "Reading", "nearest_by_words", "read"]

MOST_LAYERS = 8
FALLBACK = "drone"
_MOST_COMPARED = 24
"""Words of a prompt that are compared with the recipes' by their spelling: a long one would take seconds."""
_VAGUE = frozenset({"ambience", "ambient", "ambiance", "atmosphere", "soundscape"})
"""Words that name the fallback when they stand alone, and nothing beside a sound that is named."""


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
_SCENE_OF = {stem(word): recipes for word, recipes in SCENES.items()}


MatchedBy = Literal["words", "scene", "meaning", "nearest"]
"""words: by a key of the recipe; scene: by a place; meaning: by an encoder; nearest: by related words or spelling."""


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


@dataclass
class _Match:
    recipe: Recipe
    places: tuple[int, ...]
    by: MatchedBy
    negated: bool
    adjectives: list[int]
    vague: bool = False


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
    found = _verbs_attached(words, _matches(words, recipes))
    kept = [match for match in found if not match.negated]
    named = {match.recipe.name for match in kept if match.by == "words"}
    negated = [match for match in found if match.negated and match.recipe.name not in named]
    refused = _matches(unwanted, recipes)
    excluded = {match.recipe.name for match in (*negated, *refused)}
    kin = excluded | _kin(words, negated, recipes) | _kin(unwanted, refused, recipes)
    kept = _deduplicated(
        [match for match in kept if match.recipe.name not in (excluded if match.by == "words" else kin)]
    )
    warnings = _not_english(prompt)
    if not kept:
        by, name = _nearest_recipe(prompt, words, recipes, kin, nearest)
        kept = [_Match(recipes[name], (), by, False, [])]
        warnings.append(f"nearest_recipe: nothing fits {_shortened(prompt)!r}; used {name!r}")
    if len(kept) > MOST_LAYERS:
        left = ", ".join(match.recipe.name for match in kept[MOST_LAYERS:])
        warnings.append(f"layers_left_out: at most {MOST_LAYERS} sounds at once; left out {left}")
        kept = kept[:MOST_LAYERS]
    _assign_adjectives(words, kept)
    if not any(warning.startswith("nearest_recipe") for warning in warnings):
        warnings += _not_heard(words, kept)
    return Reading(
        layers=tuple(_layer(match, words) for match in kept),
        unused=tuple(w.text for w in words if not (w.used or {w.text, w.stem} & STOPWORDS)),
        warnings=tuple(warnings),
    )


def _not_english(prompt: str) -> list[str]:
    language = foreign_language(prompt)
    return [f"not_english: the built-in engine knows English; this prompt looks like {language}"] if language else []


def _not_heard(words: list[Word], kept: list[_Match]) -> list[str]:
    """Warn of words that no layer renders: "boss" in "a boss in the rain"."""
    left = {word.stem: word.text for word in words if _is_content_word(word) and not word.negated}
    for recipe in (match.recipe for match in kept):
        texts = " ".join((*recipe.near, recipe.summary, *recipe.keys))
        for known in TOKEN.findall(texts):
            left.pop(stem(known), None)
    unheard = [repr(text) for text in left.values()]
    return [f"not_heard: no recipe for {', '.join(unheard)}"] if unheard else []


def _kin(words: list[Word], ruled_out: Iterable[_Match], recipes: Mapping[str, Recipe]) -> set[str]:
    """Return the recipes that are a kind of what was ruled out: rain on leaves, where there is to be no rain."""
    out: set[str] = set()
    for match in ruled_out:
        meant = {words[place].stem for place in match.places}
        for recipe in recipes.values():
            if match.recipe.name in recipe.covers or any(meant <= set(key_stems(key)) for key in recipe.keys):
                out.add(recipe.name)
    return out


def _matches(words: list[Word], recipes: Mapping[str, Recipe]) -> list[_Match]:
    """Match every recipe named, longest key first, no word used twice; in the order of the prompt."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word.stem, []).append(place)
    candidates: list[tuple[int, tuple[int, ...], Recipe]] = []
    for recipe in recipes.values():
        for key in recipe.keys:
            stems = key_stems(key)
            if all(part in places for part in stems):
                spots = [spot for spot in _spans(words, [places[part] for part in stems]) if _as_many(words, key, spot)]
                candidates += [(len(stems), spot, recipe) for spot in spots]
    found: list[_Match] = []
    candidates.sort(key=lambda c: (-c[0], max(c[1]) - min(c[1]), c[1]))
    for _, spot, recipe in candidates:
        if not any(words[place].used for place in spot):
            vague = all(words[place].text in _VAGUE for place in spot)
            found.append(_Match(recipe, spot, "words", words[spot[0]].negated, [], vague))
            for place in spot:
                words[place].used = True
    for place, word in enumerate(words):
        if not word.used and word.stem in _SCENE_OF:
            scene = [recipes[name] for name in _SCENE_OF[word.stem] if name in recipes]
            found += [_Match(recipe, (place,), "scene", word.negated, []) for recipe in scene]
            word.used = bool(scene)
    return sorted(found, key=lambda match: min(match.places))


def _as_many(words: list[Word], key: str, spot: tuple[int, ...]) -> bool:
    """Return False where one person would stand for a key of several: "a person snores" is no crowd of people."""
    several = len(spot) == 1 and words[spot[0]].stem in AGENTS and word_info(key).plural
    return not several or words[spot[0]].plural


def _verbs_attached(words: list[Word], found: list[_Match]) -> list[_Match]:
    """Give each verb to its subject: "crickets chirping" are no birds, "an audience applauding" is no murmur.

    Whoever acts (people, an audience) is left out for what they do; what sounds keeps its verb.
    """
    dropped: set[int] = set()
    for number, match in enumerate(found):
        if match.by != "words" or not _is_verb(words, match):
            continue
        subject = _subject(words, found, number)
        if subject is None or subject in dropped or found[subject].recipe is match.recipe:
            continue
        whose = found[subject]
        if all(words[place].stem in AGENTS for place in whose.places):
            dropped.add(subject)
            match.places = tuple(sorted((*match.places, *whose.places)))
        else:
            dropped.add(number)
            whose.places = tuple(sorted((*match.places, *whose.places)))
    return [match for number, match in enumerate(found) if number not in dropped]


def _is_verb(words: list[Word], match: _Match) -> bool:
    """Return True for "dripping" and "passing by"."""
    named = [words[place] for place in match.places if words[place].stem not in STOPWORDS]
    return bool(named) and all(word.acting for word in named)


def _subject(words: list[Word], found: list[_Match], verb: int) -> int | None:
    """Return the number of the match that a verb's match belongs to: the last before it, or the one right after."""
    place = found[verb].places[0]
    clause = words[place].clause
    before: tuple[int, int] | None = None
    for number, match in enumerate(found):
        if number == verb or match.by != "words" or words[match.places[0]].clause != clause:
            continue
        if match.negated != found[verb].negated or _is_verb(words, match):
            continue
        if min(match.places) == place + 1:
            return number
        last = max((spot for spot in match.places if spot < place), default=-1)
        if last >= 0 and (before is None or last > before[0]):
            before = (last, number)
    return before[1] if before is not None else None


def _spans(words: list[Word], places: Sequence[list[int]]) -> list[tuple[int, ...]]:
    """Find where all words of a key stand close together in one clause."""
    if len(places) == 1:
        return [(place,) for place in places[0]]
    spots = []
    for spot in product(*(options[:8] for options in places)):
        near = max(spot) - min(spot) <= len(places) + 3 and len(set(spot)) == len(spot)
        if near and len({(words[place].clause, words[place].negated) for place in spot}) == 1:
            spots.append(tuple(sorted(spot)))
    return spots


def _deduplicated(found: Iterable[_Match]) -> list[_Match]:
    """Keep each recipe once (named words before scenes), and none that another one contains."""
    kept: dict[str, _Match] = {}
    for match in found:
        known = kept.get(match.recipe.name)
        if known is None or (known.by == "scene" and match.by == "words"):
            kept[match.recipe.name] = match
        else:
            known.places += match.places
            known.vague = known.vague and match.vague
    covered = {name for match in kept.values() for name in match.recipe.covers}
    if FALLBACK in kept and len(kept) > 1 and kept[FALLBACK].vague:
        covered.add(FALLBACK)
    return [match for name, match in kept.items() if name not in covered]


def _assign_adjectives(words: list[Word], found: list[_Match]) -> None:
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


def _modified(words: list[Word], place: int, found: list[_Match]) -> list[_Match]:
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
        return "count" if text.isdigit() and 1 <= int(text) <= 60 else ""
    return "count" if text in _COUNTS else ""


def _layer(match: _Match, words: list[Word]) -> Layer:
    character = Character(several=any(words[place].plural for place in match.places))
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
