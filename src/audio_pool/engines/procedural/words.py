"""Parse a prompt into layers: the recipes it names, the adjectives of each, and what it excludes.

Owns: tokens, stems, negation, the words of adjectives and scenes, the choice of the nearest recipe.
Must not know: how anything sounds. Pure: no state, no clock, no randomness.

Stems are not the base forms of ``prompts/lexicon.py``: those are made so that different words stay apart, stems
so that related words meet. Base forms in their place give one caption in ten another recipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal, TypedDict

from audio_pool.engines.procedural.recipe import Character, Recipe
from audio_pool.prompts.language import foreign_language
from audio_pool.prompts.lexicon import NUMBERS

__all__ = ["ADJECTIVES", "SCENES", "Layer", "Nearest", "Reading", "key_stems", "nearest_by_words", "read", "stem"]

MOST_LAYERS = 8
FALLBACK = "drone"
_VAGUE = frozenset({"ambience", "ambient", "ambiance", "atmosphere", "soundscape"})
"""Words that name the fallback when they stand alone, and nothing beside a sound that is named."""


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split(" "))


_TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[,.;:!?()/\n]")
_CLAUSE_BREAKS = _words(
    ", . ; : ! ? ( ) / \n and with while then as over but plus followed whilst amid before after when"
)
_NEGATORS = _words("no not without minus except never neither nor non excluding lacking sans")
_LIST_NEGATORS = _words("without minus except excluding lacking sans neither")
_NEGATION_ENDS = _words(", . ; : ! ? but with while then plus just only although")
_FILLERS = _words("too very so a an any the much more really quite")
_STOPWORDS = _words(
    "a an the of in on at to from into onto by for is are was be being been it its this that these those some"
    " several few many more very too so quite sound sounds noise noises audio sfx effect effects loop loopable"
    " seamless recording of someone something somebody there up down out off around through nearby s t"
) | _CLAUSE_BREAKS | _NEGATORS
_COUNTS = {name: int(digits) for name, digits in NUMBERS.items() if 1 <= int(digits) <= 12}
_COUNTS |= {"single": 1, "once": 1, "double": 2, "twice": 2, "triple": 3, "thrice": 3}
_UNITS = ("bpm", "hz", "hertz", "khz")


class CharacterChange(TypedDict, total=False):
    """What an adjective does to a Character: factors of the first five, values of the rest."""

    intensity: float
    speed: float
    pitch: float
    size: float
    gain: float
    distance: float
    cutoff_hz: float
    room: str
    material: str
    ground: str
    mood: str


_MULTIPLIED: tuple[Literal["intensity", "speed", "pitch", "size", "gain"], ...] = (
    "intensity", "speed", "pitch", "size", "gain",
)  # fmt: skip
ADJECTIVES: tuple[tuple[str, CharacterChange], ...] = (
    ("heavy heavily hard strong strongly intense pouring torrential violent fierce mighty powerful raging"
     " roaring thick dense busy vigorous vigorously howling", {"intensity": 2.0}),
    ("light lightly gentle gently slight mild delicate sparse weak", {"intensity": 0.5}),
    ("soft softly faint faintly", {"intensity": 0.7, "gain": 0.6}),
    ("slow slowly lazy leisurely sluggish", {"speed": 0.6}),
    ("fast quick quickly rapid rapidly hurried frantic brisk swift speeding racing", {"speed": 1.6}),
    ("loud loudly noisy deafening blaring", {"gain": 1.5}),
    ("quiet quietly subtle silent", {"gain": 0.35}),
    ("deep deeply low lower bass", {"pitch": 0.6}),
    ("high shrill pitched treble squeaky higher", {"pitch": 1.6}),
    ("large big huge giant enormous massive great", {"size": 1.7}),
    ("small tiny little mini miniature", {"size": 0.6}),
    ("distant distantly distance far faraway afar away remote", {"distance": 0.8}),
    ("indoors indoor inside room house apartment office", {"room": "room"}),
    ("hall church cathedral cave tunnel echo echoing echoey reverberant cavernous dungeon", {"room": "hall"}),
    ("underwater submerged", {"cutoff_hz": 420.0}),
    ("muffled dull dampened muted wall", {"cutoff_hz": 800.0}),
    ("metallic metal", {"material": "metal"}),
    ("wooden wood", {"material": "wood"}),
    ("gravel crunchy pebble snow sand dirt snowy sandy", {"ground": "loose"}),
    ("happy cheerful joyful upbeat bright uplifting playful", {"mood": "happy"}),
    ("sad melancholy melancholic sorrowful gloomy minor mournful", {"mood": "sad"}),
    ("calm peaceful relaxing relaxed soothing serene tranquil", {"mood": "calm"}),
    ("tense ominous dark scary eerie creepy suspenseful menacing", {"mood": "tense"}),
)

SCENES = {
    "storm": ("rain", "wind", "thunder"),
    "stormy": ("rain", "wind", "thunder"),
    "thunderstorm": ("thunder", "rain"),
    "forest": ("birds", "wind"),
    "woodland": ("birds", "wind"),
    "jungle": ("birds", "crickets", "stream"),
    "meadow": ("birds", "wind"),
    "swamp": ("frogs", "crickets"),
    "marsh": ("frogs", "crickets"),
    "night": ("crickets",),
    "city": ("engine", "crowd"),
    "street": ("engine", "crowd"),
    "factory": ("hum", "engine"),
    "office": ("typing", "hum"),
    "tavern": ("crowd", "fire"),
    "inn": ("crowd", "fire"),
    "harbor": ("ocean_waves", "birds"),
    "harbour": ("ocean_waves", "birds"),
    "battle": ("explosion",),
}
"""Places and events that stand for several sounds at once."""


def stem(word: str) -> str:
    """Strip a word's commonest endings and fold synonyms. Only to be compared with other stems."""
    bare = _without_ending(word)
    return _SYNONYM_STEMS.get(bare, bare)


def _without_ending(word: str) -> str:
    if len(word) <= 3:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("shes", "ches", "sses", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word[: -len(ending)]
        if word.endswith(ending) and len(rest) >= 3 and re.search("[aeiouy]", rest):
            word = rest
            if word[-1] == word[-2] and word[-1] not in "lszaeiou":
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


_SYNONYMS = {
    "rain": "raindrop rainfall raindrops",
    "leaf": "leaves foliage",
    "metal": "tin steel iron aluminium aluminum brass copper sheet corrugated",
    "engine": "motor",
    "telephone": "phone",
    "children": "child kid",
    "footstep": "footfall",
    "wolf": "wolves",
}
"""Words that mean the same wherever they stand."""
_SYNONYM_STEMS = {
    _without_ending(word): _without_ending(meant) for meant, words in _SYNONYMS.items() for word in words.split()
}


@lru_cache(maxsize=4096)
def key_stems(key: str) -> tuple[str, ...]:
    """Return the stems of a recipe's key, in order."""
    return tuple(stem(word) for word in key.split())


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
class _Word:
    text: str
    stem: str
    clause: int
    negated: bool = False
    used: bool = False


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
    words = _tokenised(prompt)
    found = _matches(words, recipes)
    excluded = {match.recipe.name for match in found if match.negated}
    kept = [match for match in found if not match.negated]
    unwanted = {match.recipe.name for match in _matches(_tokenised(negative_prompt), recipes)}
    excluded = (excluded - {match.recipe.name for match in kept if match.by == "words"}) | unwanted
    kept = _deduplicated([match for match in kept if match.recipe.name not in excluded])
    warnings = _not_english(prompt)
    if not kept:
        by, name = _nearest_recipe(prompt, words, recipes, excluded, nearest)
        kept = [_Match(recipes[name], (), by, False, [])]
        warnings.append(f"nearest_recipe: nothing fits {_shortened(prompt)!r}; used {name!r}")
    if len(kept) > MOST_LAYERS:
        left = ", ".join(match.recipe.name for match in kept[MOST_LAYERS:])
        warnings.append(f"layers_left_out: at most {MOST_LAYERS} sounds at once; left out {left}")
        kept = kept[:MOST_LAYERS]
    _assign_adjectives(words, kept)
    if not any(warning.startswith("nearest_recipe") for warning in warnings):
        warnings += _not_heard(words, kept, recipes)
    return Reading(
        layers=tuple(_layer(match, words) for match in kept),
        unused=tuple(w.text for w in words if not (w.used or {w.text, w.stem} & _STOPWORDS)),
        warnings=tuple(warnings),
    )


def _not_english(prompt: str) -> list[str]:
    language = foreign_language(prompt)
    return [f"not_english: the built-in engine knows English; this prompt looks like {language}"] if language else []


def _not_heard(words: list[_Word], kept: list[_Match], recipes: Mapping[str, Recipe]) -> list[str]:
    """Warn of words that mean a sound which no layer renders: "dog" in "a dog in the rain"."""
    left = {word.stem: word.text for word in words if not (word.used or word.negated)}
    for recipe in (match.recipe for match in kept):
        for known in (*recipe.near, *(part for key in recipe.keys for part in key.split())):
            left.pop(stem(known), None)
    meant = {stem(near) for recipe in recipes.values() for near in recipe.near}
    texts = [repr(text) for part, text in left.items() if part in meant]
    return [f"not_heard: no recipe for {', '.join(texts)}"] if texts else []


def _tokenised(text: str) -> list[_Word]:
    words: list[_Word] = []
    clause = 0
    for token in _TOKEN.findall(text.lower().replace("n't", " not").replace("’", "'")):
        if token in _CLAUSE_BREAKS:
            clause += 1
        words.append(_Word(token, token if token in _CLAUSE_BREAKS else stem(token), clause))
    for start, word in enumerate(words):
        if word.text in _NEGATORS:
            _negate(words, start)
    return words


def _negate(words: list[_Word], start: int) -> None:
    """Mark the words that the negator at ``start`` excludes: one adjective ("not too heavy"), or things."""
    place = start + 1
    while place < len(words) and words[place].text in _FILLERS:
        place += 1
    if words[start].text == "not" and place < len(words) and words[place].stem in _ADJECTIVE_OF:
        words[place].negated = True
        return
    ends = _NEGATION_ENDS if words[start].text in _LIST_NEGATORS else _NEGATION_ENDS | {"and"}
    while place < len(words) and words[place].text not in ends:
        words[place].negated = True
        place += 1


def _matches(words: list[_Word], recipes: Mapping[str, Recipe]) -> list[_Match]:
    """Match every recipe named, longest key first, no word used twice; in the order of the prompt."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word.stem, []).append(place)
    candidates: list[tuple[int, tuple[int, ...], Recipe]] = []
    for recipe in recipes.values():
        for key in recipe.keys:
            stems = key_stems(key)
            if all(part in places for part in stems):
                spots = _spans(words, [places[part] for part in stems])
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


def _spans(words: list[_Word], places: Sequence[list[int]]) -> list[tuple[int, ...]]:
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


def _assign_adjectives(words: list[_Word], found: list[_Match]) -> None:
    for place, word in enumerate(words):
        number = _number_kind(words, place)
        if word.used or word.negated or not (number or word.stem in _ADJECTIVE_OF):
            continue
        word.used = True
        if number == "unit":
            words[place + 1].used = True
        for match in _modified(words, place, found):
            match.adjectives.append(place)


def _modified(words: list[_Word], place: int, found: list[_Match]) -> list[_Match]:
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


def _is_content_word(word: _Word) -> bool:
    return not (
        word.used or word.text in _STOPWORDS or word.stem in _STOPWORDS or word.stem in _ADJECTIVE_OF
        or word.text in _COUNTS or word.text in _UNITS or word.text[0].isdigit()
    )


def _number_kind(words: list[_Word], place: int) -> Literal["unit", "count", ""]:
    """Return "unit" for a number before BPM or Hz, "count" for a small whole number, else ""."""
    text = words[place].text
    if text[0].isdigit():
        following = words[place + 1].text if place + 1 < len(words) else ""
        if following in _UNITS:
            return "unit"
        return "count" if text.isdigit() and 1 <= int(text) <= 60 else ""
    return "count" if text in _COUNTS else ""


def _layer(match: _Match, words: list[_Word]) -> Layer:
    character = Character()
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
            character = _changed(character, change)
    return Layer(
        recipe=match.recipe,
        character=character,
        words=tuple(words[place].text for place in sorted(match.places)),
        adjectives=tuple(texts),
        by=match.by,
    )


def _changed(character: Character, change: CharacterChange) -> Character:
    values = change.copy()
    for name in _MULTIPLIED:
        if name in values:
            values[name] *= getattr(character, name)
    if character.cutoff_hz is not None and "cutoff_hz" in values:
        values["cutoff_hz"] = min(character.cutoff_hz, values["cutoff_hz"])
    return replace(character, **values)


def _nearest_recipe(
    prompt: str, words: list[_Word], recipes: Mapping[str, Recipe], excluded: Collection[str],
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
    texts = [w.text for w in words if not w.negated and w.text not in _STOPWORDS and w.stem not in _ADJECTIVE_OF]
    return "nearest", nearest_by_words(texts, recipes, excluded)


def nearest_by_words(texts: Sequence[str], recipes: Mapping[str, Recipe], excluded: Collection[str]) -> str:
    """Name the recipe whose related words the texts share most; then by spelling; then the drone."""
    best, best_score = "", 0.59
    stems = {stem(text) for text in texts}
    for recipe in recipes.values():
        if recipe.name in excluded:
            continue
        parts = {part for key in recipe.keys for part in key_stems(key)}
        shared = sum(1.0 for word in recipe.near if stem(word) in stems) + sum(0.62 for part in parts & stems)
        spelled = max((_spelling_similarity(text, part) for text in stems for part in parts), default=0.0)
        score = max(shared, 0.95 * spelled)
        if score > best_score:
            best, best_score = recipe.name, score
    if best:
        return best
    return FALLBACK if FALLBACK not in excluded else next(name for name in recipes if name not in excluded)


def _spelling_similarity(one: str, two: str) -> float:
    """Compute Dice's coefficient of two words' letter pairs, ends included: 0..1."""
    pairs = [{f" {word} "[k : k + 2] for k in range(len(word) + 1)} for word in (one, two)]
    return 2 * len(pairs[0] & pairs[1]) / (len(pairs[0]) + len(pairs[1]))


def _shortened(prompt: str) -> str:
    flat = " ".join(prompt.split())
    return flat if len(flat) <= 60 else flat[:57] + "..."
