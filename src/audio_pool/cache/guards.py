"""The guards of tolerant matching: what speaks against taking one prompt for the other. Pure.

Owns: ``first_objection``, ``unsaid_between`` and what they let go: a few prepositions, the number of what sounds in a
chorus, possessives.
Must not know: scores, modes, entries (policy.py); the store, the index, engines.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from audio_pool.cache.roles import same_roles
from audio_pool.cache.unsaid import without_unsaid
from audio_pool.prompts.function_words import NEGATIONS, PREPOSITIONS, QUANTITIES
from audio_pool.prompts.grammar import Chunk
from audio_pool.prompts.lexicon import in_chorus, is_listed
from audio_pool.prompts.parses import Events, events_of
from audio_pool.prompts.spelling import is_misspelling_of

__all__ = ["first_objection", "unsaid_between"]

_PARTICLES = frozenset(["on", "off", "up", "down", "out", "away", "back"])
"""Prepositions that change what is done: "switched on", "switched off"."""
_LEADS = PREPOSITIONS - _PARTICLES | {"on"}
_IDLE = frozenset(["around", "about", "along"])
_POSSESSIVES = frozenset(["its", "their", "his", "her"])
"""Let go where only one prompt has one: "clears her throat", "clears the throat"."""
_HERS = frozenset(["her", "she", "hers", "herself"])
_HIS = frozenset(["his", "he", "him", "himself"])
_THEIRS = frozenset(["their", "they", "them", "theirs", "themselves"])
_LIGHT = frozenset(["sound", "noise", "occur", "audible", "present", "very", "quite", "rather", "really"])
"""Words ignored in the comparison: adding or dropping them does not change the sound."""
_WEATHER = frozenset(["rain", "wind", "snow", "hail", "sleet", "storm", "drizzle", "breeze"])
_IN_OR_ON = frozenset(["in", "on", "at"])
_FALLING = frozenset(["fall", "drop", "drip", "pour", "splash", "plunge", "plop", "plunk", "land", "trickle", "flow"])
_WHERE_IT_FALLS = {"into": "in", "onto": "on"}

_Moment = list[Chunk]


@lru_cache(maxsize=4096)
def first_objection(query: str, prompt: str, parse: bytes = b"") -> str | None:
    """Name the first guard that objects to taking one prompt for the other; None where none does.

    Args:
        parse: of ``prompt``, as it was kept (prompts/parses.py); b"": none.
    """
    ours, mine = _asked(query)
    theirs, other = _kept(prompt, parse)
    lacking, extra = mine - other, other - mine
    renamed = _misspellings(lacking, extra)
    if lacking and not extra:
        ours = _without_unsaid(lacking, ours, theirs)
    elif extra and not lacking:
        theirs = _without_unsaid(extra, theirs, ours)
    if (lacking and extra) or not (ours and theirs):
        return _difference(lacking, extra)
    if renamed:
        theirs = [[_renamed(chunk, renamed) for chunk in chunks] for chunks in theirs]
    if len(ours) != len(theirs) or [_bag([m]) for m in ours] != [_bag([m]) for m in theirs]:
        return "guard order: the events do not come in the same order"
    whose, of_whom_else = _whose(ours), _whose(theirs)
    if whose and of_whom_else and whose.isdisjoint(of_whom_else):
        return f"guard role: the same words, but of {min(whose)!r} and of {min(of_whom_else)!r}"
    for a, b in zip(ours, theirs, strict=True):
        ordered = Counter(map(_form, a)) == Counter(map(_form, b)) or _sequence(a) == _sequence(b)
        if not ordered and not same_roles(a, b, _POSSESSIVES):
            return "guard role: the same words, but who does what differs"
    return None


def unsaid_between(query: str, prompt: str, parse: bytes = b"") -> list[str]:
    """Return the words that one of two prompts without objection has more, since they go without saying."""
    mine, other = _asked(query)[1], _kept(prompt, parse)[1]
    lacking, extra = mine - other, other - mine
    _misspellings(lacking, extra)
    return sorted({word.rstrip("*~") for word in (lacking | extra) if word not in PREPOSITIONS})


@lru_cache(maxsize=256)
def _asked(query: str) -> tuple[list[_Moment], Counter[str]]:
    """Return a query's moments and words: it is compared with several prompts, and neither is changed."""
    return _kept(query, b"")


@lru_cache(maxsize=1024)
def _kept(prompt: str, parse: bytes) -> tuple[list[_Moment], Counter[str]]:
    """Return a kept prompt's moments and words, which are not changed either: one may be compared with many queries."""
    moments = _moments(events_of(prompt, parse))
    return moments, _bag(moments)


def _moments(events: Events) -> list[_Moment]:
    return [[_plain(chunk) for chunk in chunks] for chunks in events]


def _renamed(chunk: Chunk, renamed: dict[str, str]) -> Chunk:
    return replace(chunk, words=tuple(renamed.get(word, word) for word in chunk.words))


def _plain(chunk: Chunk) -> Chunk:
    """Return a chunk without what this comparison lets go."""
    words = tuple(word[:-1] if word.endswith("*") and in_chorus(word[:-1]) else word for word in chunk.words)
    words = tuple(word for word in words if word.rstrip("*") not in _LIGHT) or words
    if not _FALLING.isdisjoint(words):
        words = tuple(_WHERE_IT_FALLS.get(word, word) for word in words)
    words = _places_entered(_none_idle(_anothers(words)))
    return Chunk(_weather_first(words) if chunk.kind == "noun" else words, chunk.kind)


def _anothers(words: tuple[str, ...]) -> tuple[str, ...]:
    """Keep "her" where a man is spoken of: it is somebody else's, and no possessive that goes without saying."""
    foreign = {whose for whose, name in (("her", "his"), ("his", "hers")) if any(is_listed(w, name) for w in words)}
    return tuple(f"of {word}" if word in foreign else word for word in words)


def _none_idle(words: tuple[str, ...]) -> tuple[str, ...]:
    """Drop "around" and the like where they lead nothing: "insects buzz around"."""
    return tuple(
        word
        for i, word in enumerate(words)
        if word not in _IDLE or (i + 1 < len(words) and words[i + 1] not in PREPOSITIONS and words[i + 1] != "+")
    )


def _places_entered(words: tuple[str, ...]) -> tuple[str, ...]:
    """Rewrite "at a station" as "in a station", "on a street" as "in a street"."""
    out = list(words)
    for i, word in enumerate(words[:-1]):
        if word in ("at", "on"):
            end = next((j for j in range(i + 1, len(words)) if words[j] in PREPOSITIONS), len(words))
            if is_listed(words[end - 1].rstrip("*"), "place" if word == "at" else "way"):
                out[i] = "in"
    return tuple(out)


def _weather_first(words: tuple[str, ...]) -> tuple[str, ...]:
    """Rewrite "a tin roof in the rain" and "rain on a tin roof" as "rain, tin roof": no other way to hear them.

    "rain in a car" stays what it is: only what lies in the open is "in" it.
    """
    at = next((i for i, word in enumerate(words) if word in _IN_OR_ON), 0)
    if not at or any(word in PREPOSITIONS for word in words[at + 1 :]):
        return words
    thing, where = words[:at], words[at + 1 :]
    if where and where[-1] in _WEATHER and thing[-1] not in _WEATHER and words[at] == "in":
        return (*where, "on", *thing)
    in_the_open = words[at] == "on" or (where and is_listed(where[-1].rstrip("*"), "open"))
    return (*thing, "on", *where) if thing[-1] in _WEATHER and in_the_open else words


def _without_unsaid(words: Counter[str], having: list[_Moment], other: list[_Moment]) -> list[_Moment]:
    """Return the moments of a prompt without what goes without saying; none where it says something.

    A preposition goes with the thing that it leads: "waves crash against a shore".
    """
    telling = Counter({word: count for word, count in words.items() if word not in PREPOSITIONS})
    left = without_unsaid(telling, having, other) if telling else None
    moments = [[replace(one, words=_none_dangling(one.words)) for one in chunks] for chunks in left or []]
    return moments if _bag(moments) == _bag(other) else []


def _none_dangling(words: tuple[str, ...]) -> tuple[str, ...]:
    ends = (*words[1:], "in")
    return tuple(word for word, after in zip(words, ends, strict=True) if not (word in _LEADS and after in _LEADS))


def _bag(moments: list[_Moment]) -> Counter[str]:
    return Counter(
        word
        for chunks in moments
        for chunk in chunks
        for word in chunk.words
        if word not in _POSSESSIVES and word != "+"
    )


def _whose(moments: list[_Moment]) -> frozenset[str]:
    """Return which of him, of her and of them is spoken of."""
    words = {word for chunks in moments for chunk in chunks for word in chunk.words}
    kinds = (("him", _HIS), ("her", _HERS), ("them", _THEIRS))
    return frozenset(name for name, some in kinds if not words.isdisjoint(some))


def _misspellings(lacking: Counter[str], extra: Counter[str]) -> dict[str, str]:
    """Take pairs of which one is a misspelling of the other out of both; return their word -> ours."""
    renamed: dict[str, str] = {}
    for word in sorted(extra):
        fellow = next((own for own in sorted(lacking) if lacking[own] and _misspelt(own, word)), None)
        if fellow is not None and lacking[fellow] == extra[word]:
            renamed[word] = fellow
            del lacking[fellow], extra[word]
    return renamed


def _misspelt(a: str, b: str) -> bool:
    if a.endswith("*") != b.endswith("*"):
        return False
    a, b = a.rstrip("*~"), b.rstrip("*~")
    return is_misspelling_of(a, b) or is_misspelling_of(b, a)


def _difference(lacking: Counter[str], extra: Counter[str]) -> str:
    ours, theirs = sorted(lacking), sorted(extra)
    words = {word.rstrip("*~") for word in (*ours, *theirs)}
    same_but_number = [w.rstrip("*") for w in ours] == [w.rstrip("*") for w in theirs]
    guard = "words"
    if words & NEGATIONS:
        guard = "negation"
    elif words & QUANTITIES or same_but_number or any(word[:1].isdigit() for word in words):
        guard = "number"
    elif words <= PREPOSITIONS and len(words & _PARTICLES) < 2:
        guard = "role"
    sides = (("the query", ours), ("the entry", theirs))
    shown = [f"only {who} has {', '.join(map(repr, found))}" for who, found in sides if found]
    return f"guard {guard}: {'; '.join(shown)}"


def _form(chunk: Chunk) -> tuple[tuple[str, ...], ...]:
    """Return a chunk's parts, a prepositional phrase each, those after the first sorted."""
    segments: list[list[str]] = [[]]
    for word in chunk.words:
        if word in _POSSESSIVES:
            continue
        if word in PREPOSITIONS:
            segments.append([])
        segments[-1].append(word)
    parts = [tuple(segment) for segment in segments if segment]
    return (*parts[:1], *sorted(parts[1:]))


def _sequence(moment: _Moment) -> list[str]:
    """Return a moment's words in order."""
    return [word for chunk in moment for word in chunk.words if word != "+" and word not in _POSSESSIVES]
