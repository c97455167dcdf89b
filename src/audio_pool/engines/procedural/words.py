"""Reading a prompt: which recipes it names, what its adjectives ask of each, what it rules out.

Owns: tokens, stems, negation, the words of adjectives and scenes, the choice of the nearest recipe.
Must not know: how anything sounds. Pure: no state, no clock, no chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

from audio_pool.engines.procedural.recipe import Character, Recipe

__all__ = ["ADJECTIVES", "SCENES", "Layer", "Nearest", "Reading", "key_stems", "nearest_by_words", "read", "stem"]

MOST_LAYERS = 8
FALLBACK = "drone"
# Words that mean the fallback when they stand alone, and say nothing beside a sound that is named.
_VAGUE = frozenset({"ambience", "ambient", "ambiance", "atmosphere", "soundscape"})

def _set(words: str) -> frozenset[str]:
    return frozenset(words.split(" "))


_TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[,.;:!?()/\n]")
_BREAKS = _set(
    ", . ; : ! ? ( ) / \n and with while then as over but plus followed whilst amid before after when"
)
_NEGATORS = _set("no not without minus except never neither nor non excluding lacking sans")
_LIST_NEGATORS = _set("without minus except excluding lacking sans neither")
_NEGATION_ENDS = _set(", . ; : ! ? but with while then plus just only although")
_FILLERS = _set("too very so a an any the much more really quite")
_STOPWORDS = _set(
    "a an the of in on at to from into onto by for is are was be being been it its this that these those some"
    " several few many more very too so quite sound sounds noise noises audio sfx effect effects loop loopable"
    " seamless recording of someone something somebody there up down out off around through nearby s t"
) | _BREAKS | _NEGATORS
_NUMBERS = {
    "one": 1, "single": 1, "once": 1, "two": 2, "double": 2, "twice": 2, "three": 3, "triple": 3, "thrice": 3,
    "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}

_UNITS = ("bpm", "hz", "hertz", "khz")

_MULTIPLIED = ("intensity", "speed", "pitch", "size", "gain")
# Each line: the words, and what they do to a Character: factors for _MULTIPLIED, values for the rest.
ADJECTIVES: tuple[tuple[str, dict[str, Any]], ...] = (
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

# Places and events that mean several sounds at once.
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


def stem(word: str) -> str:
    """The word without its commonest endings, one word for its synonyms; only compared with other stems."""
    bare = _bare(word)
    return _SAME_STEM.get(bare, bare)


def _bare(word: str) -> str:
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


# Words that mean the same wherever they stand.
_SAME = {
    "rain": "raindrop rainfall raindrops",
    "leaf": "leaves foliage",
    "metal": "tin steel iron aluminium aluminum brass copper sheet corrugated",
    "engine": "motor",
    "telephone": "phone",
    "children": "child kid",
    "footstep": "footfall",
    "wolf": "wolves",
}
_SAME_STEM = {_bare(word): _bare(meant) for meant, words in _SAME.items() for word in words.split()}


@lru_cache(maxsize=4096)
def key_stems(key: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in key.split())


def _adjective_table() -> dict[str, tuple[int, dict[str, Any]]]:
    return {
        stem(word): (number, change)
        for number, (words, change) in enumerate(ADJECTIVES)
        for word in words.split()
    }


_ADJECTIVE_OF = _adjective_table()
_SCENE_OF = {stem(word): recipes for word, recipes in SCENES.items()}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One recipe to paint, and how."""

    recipe: Recipe
    character: Character
    words: tuple[str, ...]
    """The prompt's words that named it."""
    adjectives: tuple[str, ...]
    by: str
    """"words", "scene", "meaning" or "nearest"."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the engine understood of a prompt."""

    layers: tuple[Layer, ...]
    unused: tuple[str, ...]
    """Content words that changed nothing."""
    warnings: tuple[str, ...]


Nearest = Callable[[str, Collection[str]], str | None]
"""(prompt, names ruled out) -> the name of the recipe nearest in meaning."""


@dataclass
class _Word:
    text: str
    stem: str
    clause: int
    negated: bool = False
    used: bool = False


@dataclass
class _Found:
    recipe: Recipe
    places: tuple[int, ...]
    by: str
    negated: bool
    adjectives: list[int]
    vague: bool = False


def read(
    prompt: str, recipes: Mapping[str, Recipe], *, negative_prompt: str = "", nearest: Nearest | None = None
) -> Reading:
    """The layers that a prompt asks for, at least one, in the order in which it names them.

    Args:
        negative_prompt: recipes named here are left out.
        nearest: how to choose by meaning where no word fits; without it words and spelling decide.
    """
    words = _words(prompt)
    found = _find(words, recipes)
    ruled_out = {match.recipe.name for match in found if match.negated}
    kept = [match for match in found if not match.negated]
    unwanted = {match.recipe.name for match in _find(_words(negative_prompt), recipes)}
    ruled_out = (ruled_out - {match.recipe.name for match in kept if match.by == "words"}) | unwanted
    kept = _once([match for match in kept if match.recipe.name not in ruled_out])
    warnings: list[str] = []
    if not kept:
        by, name = _choose(prompt, words, recipes, ruled_out, nearest)
        kept = [_Found(recipes[name], (), by, False, [])]
        warnings.append(f"nearest_recipe: nothing fits {_short(prompt)!r}; used {name!r}")
    if len(kept) > MOST_LAYERS:
        left = ", ".join(match.recipe.name for match in kept[MOST_LAYERS:])
        warnings.append(f"layers_left_out: at most {MOST_LAYERS} sounds at once; left out {left}")
        kept = kept[:MOST_LAYERS]
    _give_adjectives(words, kept)
    if not any(warning.startswith("nearest_recipe") for warning in warnings):
        warnings += _not_heard(words, kept, recipes)
    return Reading(
        layers=tuple(_layer(match, words) for match in kept),
        unused=tuple(w.text for w in words if not (w.used or {w.text, w.stem} & _STOPWORDS)),
        warnings=tuple(warnings),
    )


def _not_heard(words: list[_Word], kept: list[_Found], recipes: Mapping[str, Recipe]) -> list[str]:
    """A warning of the words that mean a sound, but none that is painted: "dog" in "a dog in the rain"."""
    left = {word.stem: word.text for word in words if not (word.used or word.negated)}
    for recipe in (match.recipe for match in kept):
        for known in (*recipe.near, *(part for key in recipe.keys for part in key.split())):
            left.pop(stem(known), None)
    meant = {stem(near) for recipe in recipes.values() for near in recipe.near}
    texts = [repr(text) for part, text in left.items() if part in meant]
    return [f"not_heard: no recipe for {', '.join(texts)}"] if texts else []


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    clause = 0
    for token in _TOKEN.findall(text.lower().replace("n't", " not").replace("’", "'")):
        if token in _BREAKS:
            clause += 1
        words.append(_Word(token, token if token in _BREAKS else stem(token), clause))
    for start, word in enumerate(words):
        if word.text in _NEGATORS:
            _negate(words, start)
    return words


def _negate(words: list[_Word], start: int) -> None:
    """Marks what the negator at ``start`` rules out: one adjective ("not too heavy"), or things."""
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


def _find(words: list[_Word], recipes: Mapping[str, Recipe]) -> list[_Found]:
    """Every recipe named, longest key first, no word counted twice; in the order of the prompt."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word.stem, []).append(place)
    candidates: list[tuple[int, tuple[int, ...], Recipe]] = []
    for recipe in recipes.values():
        for key in recipe.keys:
            stems = key_stems(key)
            if all(part in places for part in stems):
                spots = _spots(words, [places[part] for part in stems])
                candidates += [(len(stems), spot, recipe) for spot in spots]
    found: list[_Found] = []
    candidates.sort(key=lambda c: (-c[0], max(c[1]) - min(c[1]), c[1]))
    for _, spot, recipe in candidates:
        if not any(words[place].used for place in spot):
            vague = all(words[place].text in _VAGUE for place in spot)
            found.append(_Found(recipe, spot, "words", words[spot[0]].negated, [], vague))
            for place in spot:
                words[place].used = True
    for place, word in enumerate(words):
        if not word.used and word.stem in _SCENE_OF:
            scene = [recipes[name] for name in _SCENE_OF[word.stem] if name in recipes]
            found += [_Found(recipe, (place,), "scene", word.negated, []) for recipe in scene]
            word.used = bool(scene)
    return sorted(found, key=lambda match: min(match.places))


def _spots(words: list[_Word], places: Sequence[list[int]]) -> list[tuple[int, ...]]:
    """Where all words of a key stand close together, in one clause."""
    if len(places) == 1:
        return [(place,) for place in places[0]]
    spots = []
    for spot in product(*(options[:8] for options in places)):
        near = max(spot) - min(spot) <= len(places) + 3 and len(set(spot)) == len(spot)
        if near and len({(words[place].clause, words[place].negated) for place in spot}) == 1:
            spots.append(tuple(sorted(spot)))
    return spots


def _once(found: Iterable[_Found]) -> list[_Found]:
    """Each recipe once (named words before scenes), and none that another one contains."""
    kept: dict[str, _Found] = {}
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


def _give_adjectives(words: list[_Word], found: list[_Found]) -> None:
    for place, word in enumerate(words):
        number = _is_number(words, place)
        if word.used or word.negated or not (number or word.stem in _ADJECTIVE_OF):
            continue
        word.used = True
        if number == "unit":
            words[place + 1].used = True
        for match in _owners(words, place, found):
            match.adjectives.append(place)


def _owners(words: list[_Word], place: int, found: list[_Found]) -> list[_Found]:
    """Whose adjective it is: the next recipe named in its clause, else the last one there.

    In a clause without a recipe: the next one named after it, else all of them; but nobody's where the
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
    if any(word.clause == clause and _is_about_something(word) for word in words):
        return []
    later = [spot for spot, _ in spots if spot > place]
    if later:
        return [match for spot, match in spots if spot == min(later)]
    return found


def _is_about_something(word: _Word) -> bool:
    return not (
        word.used or word.text in _STOPWORDS or word.stem in _STOPWORDS or word.stem in _ADJECTIVE_OF
        or word.text in _NUMBERS or word.text in _UNITS or word.text[0].isdigit()
    )


def _is_number(words: list[_Word], place: int) -> str:
    """"unit" before BPM or Hz, "count" for a small whole number, else ""."""
    text = words[place].text
    if text[0].isdigit():
        following = words[place + 1].text if place + 1 < len(words) else ""
        if following in _UNITS:
            return "unit"
        return "count" if text.isdigit() and 1 <= int(text) <= 60 else ""
    return "count" if text in _NUMBERS else ""


def _layer(match: _Found, words: list[_Word]) -> Layer:
    character = Character()
    applied: set[int] = set()
    texts: list[str] = []
    for place in match.adjectives:
        word = words[place]
        kind = _is_number(words, place)
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
            character = replace(character, count=_NUMBERS.get(word.text) or int(word.text))
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


def _changed(character: Character, change: dict[str, Any]) -> Character:
    values = {
        name: getattr(character, name) * value if name in _MULTIPLIED else value for name, value in change.items()
    }
    if character.cutoff_hz is not None and "cutoff_hz" in values:
        values["cutoff_hz"] = min(character.cutoff_hz, values["cutoff_hz"])
    return replace(character, **values)


def _choose(
    prompt: str, words: list[_Word], recipes: Mapping[str, Recipe], ruled_out: Collection[str],
    nearest: Nearest | None,
) -> tuple[str, str]:
    """("meaning" | "nearest", name) where no recipe is named."""
    if nearest is not None:
        name = nearest(prompt, ruled_out)
        if name is not None:
            return "meaning", name
    texts = [w.text for w in words if not w.negated and w.text not in _STOPWORDS and w.stem not in _ADJECTIVE_OF]
    return "nearest", nearest_by_words(texts, recipes, ruled_out)


def nearest_by_words(texts: Sequence[str], recipes: Mapping[str, Recipe], ruled_out: Collection[str]) -> str:
    """The recipe whose related words the texts share most; then by spelling; then the drone."""
    best, best_score = "", 0.59
    stems = {stem(text) for text in texts}
    for recipe in recipes.values():
        if recipe.name in ruled_out:
            continue
        parts = {part for key in recipe.keys for part in key_stems(key)}
        shared = sum(1.0 for word in recipe.near if stem(word) in stems) + sum(0.62 for part in parts & stems)
        spelled = max((_alike(text, part) for text in stems for part in parts), default=0.0)
        score = max(shared, 0.95 * spelled)
        if score > best_score:
            best, best_score = recipe.name, score
    if best:
        return best
    return FALLBACK if FALLBACK not in ruled_out else next(name for name in recipes if name not in ruled_out)


def _alike(one: str, two: str) -> float:
    """Dice's coefficient of two words' letter pairs, ends included, 0..1."""
    pairs = [{f" {word} "[k : k + 2] for k in range(len(word) + 1)} for word in (one, two)]
    return 2 * len(pairs[0] & pairs[1]) / (len(pairs[0]) + len(pairs[1]))


def _short(prompt: str) -> str:
    flat = " ".join(prompt.split())
    return flat if len(flat) <= 60 else flat[:57] + "..."
