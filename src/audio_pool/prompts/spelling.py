"""Spelling: which words are real, and which real word a misspelt one was meant to be.

Owns: which words are English (pyspellchecker's dictionary and ``english.txt``), ``correct_spelling``,
``is_misspelling_of``, ``is_misspelt``.
Must not know: how prompts are parsed (normalize.py, grammar.py), the store, the index, engines.

Only what is no English word and no name is ever corrected, and only by one slip (a letter more, less or other, or
two neighbours exchanged). How frequent words are decides only between words that are as near: alone it would turn
rare words into common ones.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Literal

import msgspec

from audio_pool.prompts.lexicon import knows, list_lines, listed_words, word_info

__all__ = ["correct_spelling", "is_misspelling_of", "is_misspelt", "is_real", "prepare", "separated"]

_Slip = Literal["exchanged", "doubled", "left out", "beside", "put in", "other"]
_SLIPS: tuple[_Slip, ...] = ("exchanged", "doubled", "left out", "beside", "put in", "other")
"""What a typing hand does, the likelier first: "barikng", "barkiing", "barkng", "batking", "barkning", "bapking"."""
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_CLEARLY = 10
"""Times that a word must be as frequent as the next one to be what was meant."""
_SHORTEST = 5
"""A shorter word is corrected only by exchanging two letters, or where one was left out: too many words are near it."""
_LONGEST = 24
_WORD = re.compile(r"[a-z]+")
_LEAST_OF_TWO = 7
"""Letters of two words that are taken apart."""
_BRITISH_ISE = re.compile(r"([iy])s(e|ed|es|er|ers|ing|ings|ation|ations)$")
_BRITISH_OUR = re.compile(r"our(s|ed|ing|less|ful|able|y)?$")


@cache
def _english() -> dict[str, int]:
    """Return all words, and how frequent each is.

    None where there is no dictionary, in a worker's own slim interpreter: nothing is corrected. The library's file is
    read without the library, which takes three times as long: every command would wait for it.
    """
    library = importlib.util.find_spec("spellchecker")
    if library is None or library.origin is None:
        return {}
    packed = Path(library.origin).with_name("resources") / "en.json.gz"
    words = msgspec.json.decode(gzip.decompress(packed.read_bytes()), type=dict[str, int])
    for line in list_lines("english.txt"):
        for word in line.split():
            words.setdefault(word, 1)  # into the large one: putting it into another takes as long as reading it
    return words


@cache
def _keys_beside() -> frozenset[tuple[str, str]]:
    """Return the pairs of letters that lie side by side or one below the other on a keyboard."""
    near = {(a, b) for row in _KEYBOARD for a, b in pairwise(row)}
    for upper, lower in pairwise(_KEYBOARD):
        near.update((upper[i + k], key) for i, key in enumerate(lower) for k in (0, 1) if i + k < len(upper))
    return frozenset(near | {(b, a) for a, b in near})


def prepare() -> None:
    """Read the dictionary now: it takes some 50 ms, which the first unknown word would wait for."""
    _english()


@lru_cache(maxsize=65_536)
def is_real(word: str) -> bool:
    """Return whether a word is English or a name; short words and words in other letters are taken for real."""
    if len(word) < 3 or not (word.isascii() and word.isalpha()) or knows(word):
        return True
    english = _english()
    return not english or word in english or _american(word) in english


def _american(word: str) -> str:
    """Return the American spelling of what ends as British words do: "organising", "colours"."""
    return _BRITISH_OUR.sub(r"or\1", _BRITISH_ISE.sub(r"\1z\2", word))


@lru_cache(maxsize=65_536)
def correct_spelling(word: str) -> str:
    """Return the known word that a misspelt one is one slip away from; other words unchanged.

    Where several are as near and as frequent, the word stays: a difference kept costs a generation at most.
    """
    if len(word) > _LONGEST or is_real(word):
        return word
    english, listed = _english(), listed_words()
    found: dict[_Slip, set[str]] = {}
    rare: set[str] = set()
    for slip, other in _near(word):
        if other in english or other in listed:
            if knows(other):
                found.setdefault(slip, set()).add(other)
            rare.add(other)
    if "beside" in found and "put in" in found:
        # as likely: "guitare" is a guitar
        found["beside"] = {_most_frequent(found["beside"] | found["put in"], english)} - {""} or found["beside"]
    for slip in _SLIPS:
        if slip in found:
            return _most_frequent(found[slip], english) or word
    return (_most_frequent(rare, english) if len(word) > _SHORTEST else "") or word


def _most_frequent(words: set[str], english: dict[str, int]) -> str:
    """Return the one of these that is clearly the most frequent; "" where none is."""
    first, *others = sorted(words, key=lambda word: (-english.get(word, 1), word)) or [""]
    return first if not others or english.get(first, 1) >= _CLEARLY * english.get(others[0], 1) else ""


@lru_cache(maxsize=65_536)
def separated(word: str) -> tuple[str, ...]:
    """Return the two known words that one without a space between them is made of; other words alone."""
    if not _LEAST_OF_TWO <= len(word) <= _LONGEST or is_real(word):
        return (word,)
    found = [(word[:i], word[i:]) for i in range(3, len(word) - 2) if knows(word[:i]) and knows(word[i:])]
    return found[0] if len(found) == 1 else (word,)


def _near(word: str) -> Iterator[tuple[_Slip, str]]:
    """Yield words that one slip makes this one of. The first letter is rarely wrong, and then exchanged."""
    for i in range(len(word) - 1):
        if word[i] != word[i + 1]:
            yield "exchanged", word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if len(word) == _SHORTEST - 1:
        yield from (("left out", word[:i] + letter + word[i:]) for i in range(1, 5) for letter in ascii_lowercase)
    if len(word) < _SHORTEST:
        return
    beside = _keys_beside()
    for i in range(1, len(word)):
        head, rest = word[:i], word[i + 1 :]
        yield "doubled" if word[i] == word[i - 1] else "put in", head + rest
        for letter in ascii_lowercase:
            yield "left out", head + letter + word[i:]
            if letter != word[i]:
                yield "beside" if (letter, word[i]) in beside else "other", head + letter + rest
    for letter in ascii_lowercase:
        yield "left out", word + letter


def is_misspelling_of(word: str, other: str) -> bool:
    """Return whether the first is no real word and one slip away from a form of the second: not "car" and "cat".

    Args:
        word: as written, or without its ending.
        other: a base form.
    """
    return other.isalpha() and other in _may_mean(word)


@lru_cache(maxsize=65_536)
def _may_mean(word: str) -> frozenset[str]:
    """Return the base forms of all real words that one slip makes a misspelt one of."""
    if len(word) > _LONGEST or is_real(word):
        return frozenset()
    english, listed = _english(), listed_words()
    near = {other for _, other in _near(word) if other in english or other in listed}
    return frozenset(near | {word_info(other).base for other in near})


@lru_cache(maxsize=8_192)
@lru_cache(maxsize=8_192)
def is_misspelt(prompt: str) -> bool:
    """Return whether a prompt has a word that is neither English nor a name."""
    return not all(map(is_real, _WORD.findall(prompt.casefold())))
