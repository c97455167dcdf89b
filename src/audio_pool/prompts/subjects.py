"""What a prompt is about: the things that sound in it, apart from how and where.

Owns: ``same_subject``: whether one sound could pass for the other where time is short.
Must not know: encoders, what is kept; the guards of hits, which are far stricter (cache/guards.py).

A looser match may differ in how a thing sounds and in where; it may not be another thing. "Heavy rain on a tin roof" is
like "light rain on a window" and not like "a dog barking on a tin roof", which has more words in common with it.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from audio_pool.prompts.function_words import AUXILIARIES, DROPPED, FUNCTION_WORDS, NEGATIONS, PREPOSITIONS, QUANTITIES
from audio_pool.prompts.lexicon import word_info

__all__ = ["likeness", "same_subject", "subject_words"]

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_PART = re.compile(r"[,;:.()]|\b(?:and|then|while|with|as|followed by|plus)\b")
_SAYS_NOTHING = frozenset(["sound", "noise", "audio", "recording", "effect", "sfx", "foley", "ambience", "ambient"])


class _Subject(NamedTuple):
    things: frozenset[str]
    """Words before the first preposition of a part, but for how."""
    head: str
    """The last of them: what sounds, or what it does."""


def same_subject(asked: str, kept: str) -> bool:
    """Return True where one of the prompts' things is the other's: half of those asked for at least."""
    if (_negations(asked)) != _negations(kept):
        return False
    ours, theirs = _subjects(asked), _subjects(kept)
    if not ours or not theirs:
        return False
    met = sum(any(one.head in other.things or other.head in one.things for other in theirs) for one in ours)
    return 2 * met >= len(ours)


def likeness(asked: str, kept: str) -> float:
    """Return the share of both prompts' telling words that they have in common, 0..1."""
    ours, theirs = _words(asked), _words(kept)
    either = ours | theirs
    return len(ours & theirs) / len(either) if either else 0.0


def subject_words(prompt: str) -> list[str]:
    """Return the word of each part that says what sounds, as it is written."""
    heads = {one.head for one in _subjects(prompt)}
    return [word for word in _WORD.findall(prompt.casefold()) if word_info(word).base in heads]


@functools.lru_cache(1024)
def _subjects(prompt: str) -> tuple[_Subject, ...]:
    found = []
    for part in _PART.split(prompt.casefold()):
        things: list[str] = []
        for word in _WORD.findall(part):
            if word in PREPOSITIONS and things:
                break
            told = word_info(word)
            how = told.quality and not (told.noun or told.verb)
            if not how and not _is_idle(word, told.base):
                things.append(told.base)
        if things:
            found.append(_Subject(frozenset(things), things[-1]))
    return tuple(found)


@functools.lru_cache(1024)
def _words(prompt: str) -> frozenset[str]:
    infos = {word: word_info(word).base for word in _WORD.findall(prompt.casefold())}
    return frozenset(base for word, base in infos.items() if not _is_idle(word, base))


def _negations(prompt: str) -> frozenset[str]:
    return frozenset(_WORD.findall(prompt.casefold())) & NEGATIONS


def _is_idle(word: str, base: str) -> bool:
    if word in FUNCTION_WORDS or word in DROPPED or word in AUXILIARIES or word in QUANTITIES:
        return True
    return base in _SAYS_NOTHING or word in PREPOSITIONS or word in NEGATIONS
