"""Which words of a prompt name which recipe: keys and stand-ins, whose verb is whose, what a compound is about.

Owns: Match, ``matches``, ``verbs_attached``, ``deduplicated``.
Must not know: adjectives, the nearest recipe, how anything sounds. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from audio_pool.engines.procedural.adjectives import SCENES
from audio_pool.engines.procedural.recipe import Recipe
from audio_pool.engines.procedural.stand_ins import STAND_INS
from audio_pool.engines.procedural.tokens import AGENTS, STOPWORDS, UNTOLD, Word, key_stems, stem
from audio_pool.prompts.lexicon import NUMBERS, word_info

__all__ = ["FALLBACK", "Match", "MatchedBy", "deduplicated", "matches", "verbs_attached"]

FALLBACK = "drone"
_VAGUE = frozenset({"ambience", "ambient", "ambiance", "atmosphere", "soundscape"})
"""Words that name the fallback when they stand alone, and nothing beside a sound that is named."""
_STAND_INS = {
    name: tuple(text.strip() for text in texts.split(",") if text.strip()) for name, texts in STAND_INS.items()
}
_SCENE_OF = {stem(word): recipes for word, recipes in SCENES.items()}
_EVENTS = frozenset({"storm", "stormy", "thunderstorm", "night"})
"""Scenes that happen, wherever the word stands; "kitchen" in "kitchen sink" is none, nor "battle" in "battle drums"."""
_VOICINGS = frozenset(
    {"beep", "blip", "bleep", "tone", "chime", "ping", "ding", "buzz", "hum", "boom", "roar", "growl", "howl",
     "chirp", "melody", "lullaby", "tune", "crackle", "hiss", "hoot"}
)  # fmt: skip
"""What something sounds like: right after a thing that is named they are its voice, and no second sound."""
_PARTS = frozenset({"bell", "horn", "door", "alarm", "whistle", "siren", "brake"})
"""Parts that sound for themselves: a tram bell is a bell, and no tram."""
_MOVES = frozenset({"pass", "fly", "move", "land", "idle"})
"""What a thing may do and sound no different for it, whether it has a recipe or not."""
_GENERAL = frozenset({"machine", "machinery", "engine", "gun", "motor"})
"""What is nothing in particular: a word before it that nothing names makes another thing of it (a slot machine)."""

MatchedBy = Literal["words", "scene", "meaning", "nearest"]
"""words: by a key of the recipe; scene: by a place; meaning: by an encoder; nearest: by related words or spelling."""


@dataclass
class Match:
    """A recipe that words of the prompt name."""

    recipe: Recipe
    places: tuple[int, ...]
    by: MatchedBy
    negated: bool
    adjectives: list[int]
    vague: bool = False
    instead: str = ""
    """The thing of the prompt that has no recipe, where this one only stands in for it."""


def matches(words: list[Word], recipes: Mapping[str, Recipe], adjectives: Collection[str]) -> list[Match]:
    """Match every recipe named, longest key first, no word used twice; in the order of the prompt.

    Args:
        adjectives: stems of words that say how a thing is, and make no other thing of it.
    """
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word.stem, []).append(place)
    found: list[Match] = []
    for spot, recipe, instead in _candidates(words, places, recipes):
        if any(words[place].used for place in spot):
            continue
        if len(spot) > 1:
            spot = _widened(words, spot, recipe)
        vague = all(words[place].text in _VAGUE for place in spot)
        thing = " ".join(words[place].text for place in spot) if instead else ""
        found.append(Match(recipe, spot, "nearest" if instead else "words", words[spot[0]].negated, [], vague, thing))
        for place in spot:
            words[place].used = True
    found = _compounds(words, found, adjectives)
    for place, word in enumerate(words):
        if not word.used and word.stem in _SCENE_OF and not _modifies(words, place):
            scene = [recipes[name] for name in _SCENE_OF[word.stem] if name in recipes]
            found += [Match(recipe, (place,), "scene", word.negated, []) for recipe in scene]
            word.used = bool(scene)
    return sorted(found, key=lambda match: min(match.places))


def _candidates(
    words: list[Word], places: Mapping[str, list[int]], recipes: Mapping[str, Recipe]
) -> list[tuple[tuple[int, ...], Recipe, bool]]:
    """Find where each key and each stand-in stands: (places, recipe, whether it stands in), the longest first."""
    found: list[tuple[tuple[int, ...], Recipe, bool]] = []
    for recipe in recipes.values():
        for keys, instead in ((recipe.keys, False), (_STAND_INS.get(recipe.name, ()), True)):
            for key in keys:
                stems = key_stems(key)
                if stems[0] in places and all(part in places for part in stems):
                    spots = _spans(words, [places[part] for part in stems])
                    found += [(spot, recipe, instead) for spot in spots if _as_many(words, key, spot)]
    found.sort(key=lambda c: (-len(c[0]), max(c[0]) - min(c[0]), c[0]))
    return found


def _widened(words: list[Word], spot: tuple[int, ...], recipe: Recipe) -> tuple[int, ...]:
    """Return the places with those near them that belong to another key of the recipe: leaves, jungle and rain."""
    meant = {words[place].stem for place in spot}
    for place in range(max(0, min(spot) - 4), min(len(words), max(spot) + 5)):
        word = words[place]
        if word.used or place in spot or (word.clause, word.negated) != (words[spot[0]].clause, words[spot[0]].negated):
            continue
        keys = (set(key_stems(key)) for key in recipe.keys if " " in key)
        if any(word.stem in key and key <= meant | {word.stem} for key in keys):
            spot = tuple(sorted((*spot, place)))
    return spot


def _compounds(words: list[Word], found: list[Match], adjectives: Collection[str]) -> list[Match]:
    """Let each noun before a noun say what kind of thing the second is, where both or only the second are named."""
    at = {place: match for match in found for place in match.places}
    dropped: list[Match] = []
    for match in found:
        place = match.places[0]
        if not place or words[place - 1].clause != words[place].clause:
            continue
        before, owner = words[place - 1], at.get(place - 1)
        if owner is None:
            if len(match.places) == 1 and words[place].stem in _GENERAL and _is_thing(before, adjectives):
                before.used = True
                match.places, match.by = (place - 1, place), "nearest"
                match.instead = f"{before.text} {words[place].text}"
        elif owner is not match and not before.acting and not before.plural:
            without = _of_two(words, owner, match)
            dropped += [without] if without else []
    return [match for match in found if not any(match is other for other in dropped)]


def _of_two(words: list[Word], owner: Match, match: Match) -> Match | None:
    """Return the one of two matches side by side, a thing and what follows it, that is no second sound."""
    place = match.places[0]
    word, single = words[place], len(match.places) == 1
    voice = owner.recipe is match.recipe or word.stem in _VOICINGS or word.stem in ("engine", "motor")
    if single and voice:
        owner.places = tuple(sorted((*owner.places, place)))
        return match
    if single and word.stem in _PARTS:
        for told in owner.places:  # a tram's bell is made as any bell is
            words[told].used = False
        return owner
    if owner.instead and not match.instead and not word.acting and match.recipe.name not in owner.recipe.covers:
        match.places = tuple(sorted((*owner.places, *match.places)))  # a goblin's footsteps are footsteps
        match.by, match.instead = "nearest", owner.instead
        return owner
    return None


def _is_thing(word: Word, adjectives: Collection[str]) -> bool:
    info = word_info(word.text)
    return not (
        word.used or word.acting or word.negated or info.quality or (info.known and not info.noun)
        or len(word.text) == 1 or not word.text.isalpha()
        or word.stem in adjectives or word.stem in UNTOLD or word.text in UNTOLD
        or word.text in NUMBERS
    )


def _modifies(words: list[Word], place: int) -> bool:
    """Return True for "city" in "rain on city pavement": a place that says where a named thing is, and no scene."""
    following = words[place + 1] if place + 1 < len(words) else None
    return bool(
        following and words[place].text not in _EVENTS and following.used and not following.acting
        and following.clause == words[place].clause and following.text not in _VAGUE
    )


def _as_many(words: list[Word], key: str, spot: tuple[int, ...]) -> bool:
    """Return False where one person would stand for a key of several: "a person snores" is no crowd of people."""
    several = len(spot) == 1 and words[spot[0]].stem in AGENTS and word_info(key).plural
    return not several or words[spot[0]].plural


def verbs_attached(words: list[Word], found: list[Match]) -> list[Match]:
    """Give each verb to its subject: "crickets chirping" are no birds, "an audience applauding" is no murmur.

    Whoever acts (people, an audience) is left out for what they do; what sounds keeps its verb.
    """
    dropped: set[int] = set()
    for number, match in enumerate(found):
        if match.by == "scene" or not _is_verb(words, match):
            continue
        subject = _subject(words, found, number)
        if subject is None and any(words[place].stem in _MOVES for place in match.places):
            subject = _named_before(words, found, number)  # "as it passes by"
        if subject is None or subject in dropped or found[subject].recipe is match.recipe:
            match.instead = "" if subject is not None else match.instead  # "footsteps crunch" are footsteps
            continue
        whose = found[subject]
        moves = any(words[place].stem in _MOVES for place in match.places)
        if whose.instead and not match.instead and not moves:  # the thing has no recipe, but what it does has
            dropped.add(subject)
            match.places = tuple(sorted((*match.places, *whose.places)))
            match.by, match.instead = "nearest", whose.instead
        elif all(words[place].stem in AGENTS for place in whose.places):
            dropped.add(subject)
            match.places = tuple(sorted((*match.places, *whose.places)))
        else:
            dropped.add(number)
            whose.places = tuple(sorted((*match.places, *whose.places)))
    return [match for number, match in enumerate(found) if number not in dropped]


def _is_verb(words: list[Word], match: Match) -> bool:
    """Return True for "dripping" and "passing by"."""
    named = [words[place] for place in match.places if words[place].stem not in STOPWORDS]
    return bool(named) and all(word.acting for word in named)


def _subject(words: list[Word], found: list[Match], verb: int) -> int | None:
    """Return the number of the match that a verb's match belongs to: the last before it, or the one right after."""
    place = found[verb].places[0]
    clause = words[place].clause
    before: tuple[int, int] | None = None
    for number, match in enumerate(found):
        if number == verb or match.by == "scene" or words[match.places[0]].clause != clause:
            continue
        if match.negated != found[verb].negated or _is_verb(words, match):
            continue
        if min(match.places) == place + 1:
            return number
        last = max((spot for spot in match.places if spot < place), default=-1)
        if last >= 0 and (before is None or last > before[0]):
            before = (last, number)
    return before[1] if before is not None else None


def _named_before(words: list[Word], found: list[Match], verb: int) -> int | None:
    """Return the number of the last match before a verb's that is no verb itself, in any clause."""
    place = found[verb].places[0]
    named = [
        (max(match.places), number)
        for number, match in enumerate(found)
        if number != verb and match.by != "scene" and max(match.places) < place and not _is_verb(words, match)
        and match.negated == found[verb].negated
    ]
    return max(named)[1] if named else None


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


def deduplicated(found: Iterable[Match]) -> list[Match]:
    """Keep each recipe once (named words before scenes), and none that another one contains."""
    kept: dict[str, Match] = {}
    for match in found:
        known = kept.get(match.recipe.name)
        if known is None or (known.by == "scene" and match.by == "words"):
            kept[match.recipe.name] = match
        else:
            known.places += match.places
            known.instead = known.instead or match.instead
            known.vague = known.vague and match.vague
    covered = {name for match in kept.values() for name in match.recipe.covers}
    if FALLBACK in kept and len(kept) > 1 and kept[FALLBACK].vague:
        covered.add(FALLBACK)
    return [match for name, match in kept.items() if name not in covered]


