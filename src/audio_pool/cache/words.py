"""The words of prompts: base forms, spelling, synonyms, and what part a word can play.

Owns: the reading of ``words.txt`` and ``synonyms.txt``, ``look`` (one word) and the table of phrases.
Must not know: how prompts are taken apart (text.py), the store, the index, engines.

Inflection is folded by rule with the word list as arbiter ("taping" is a form of "tape", "tapping" of
"tap"). A stemmer like Snowball was rejected: it makes one of "engine" and "engineer", "universe" and
"university", and its keys cannot be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Literal

__all__ = ["Look", "Phrases", "is_known", "look", "phrases"]

Form = Literal["", "s", "ing", "ed", "ly"]

_SHORTEST_MISSPELT = 5
_VOWELS = frozenset("aeiouy")
_NOT_ADVERBS = """
family fly supply reply apply hardly barely nearly early only daily weekly belly jelly bully rally holly jolly
hilly silly ugly friendly lonely lovely likely lively elderly assembly butterfly dragonfly lately shortly
monopoly italy july curly bubbly wobbly woolly fully directly
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What one word is. ``base`` is the head of its synonym set, without inflection."""

    base: str
    form: Form
    """The ending that was folded: a plural or a verb's -s, -ing, -ed, or an adverb's -ly."""
    noun: bool
    verb: bool
    quality: bool
    plural: bool
    """Certainly plural: an irregular one, or the plural of a word that is only a noun."""
    known: bool
    """In the word list, as it stands or by its base form."""


@dataclass(frozen=True, slots=True)
class _Lexicon:
    nouns: frozenset[str]
    verbs: frozenset[str]
    qualities: frozenset[str]
    known: frozenset[str]
    twins: frozenset[str]
    irregular: dict[str, str]
    heads: dict[str, str]
    """One-word synonyms: member -> head."""
    sets: tuple[tuple[str, ...], ...]


def _lines(name: str) -> list[str]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]


@cache
def _lexicon() -> _Lexicon:
    sections: dict[str, set[str]] = {}
    irregular: dict[str, str] = {}
    section = ""
    for line in _lines("words.txt"):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "irregular":
            base, _, forms = line.partition(":")
            irregular.update(dict.fromkeys(forms.split(), base.strip()))
        else:
            sections.setdefault(section, set()).update(line.split())
    sets = tuple(tuple(item.strip() for item in line.split(",")) for line in _lines("synonyms.txt"))
    heads = {item: names[0] for names in sets for item in names[1:] if _single(item) and _single(names[0])}
    listed = set().union(*sections.values(), irregular.values())
    listed.update(item for names in sets for item in names if _single(item))
    return _Lexicon(
        nouns=frozenset(sections["noun"]),
        verbs=frozenset(sections["verb"]),
        qualities=frozenset(sections["quality"]),
        known=frozenset(listed),
        twins=frozenset(sections["twin"]),
        irregular=irregular,
        heads=heads,
        sets=sets,
    )


def _single(item: str) -> bool:
    return " " not in item and "-" not in item


def is_known(word: str) -> bool:
    """Whether a lower-case word, in any inflection, is one of the word list's."""
    return look(word).known and word not in _corrected()


@cache
def _corrected() -> dict[str, str]:
    """Every misspelling (two neighbouring letters exchanged) of one base form -> that form."""
    words = _lexicon()
    found: dict[str, str] = {}
    for word in sorted(words.known):
        if len(word) < _SHORTEST_MISSPELT or word in words.twins:
            continue
        for i in range(len(word) - 1):
            if word[i] != word[i + 1]:
                slip = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
                # claimed twice: nobody knows which was meant
                found[slip] = "" if slip in found else word
    return {slip: word for slip, word in found.items() if word and slip not in words.known}


@lru_cache(maxsize=65_536)
def look(word: str) -> Look:
    """What a lower-case word is; numbers and unknown words are looked at by rule alone."""
    words = _lexicon()
    base, form = _base(word, words)
    if base not in words.known and len(word) >= _SHORTEST_MISSPELT and word not in words.twins:
        mended = _mended(word, words)
        if mended is not None:
            word = mended
            base, form = _base(word, words)
    known = base in words.known
    noun, verb, quality = base in words.nouns, base in words.verbs, base in words.qualities
    irregular_plural = word in words.irregular and noun and not verb and form == "s"
    plural = form == "s" and noun and not verb
    return Look(
        base=words.heads.get(base, base),
        form=form,
        noun=noun,
        verb=verb,
        quality=quality and not verb,
        plural=plural or irregular_plural,
        known=known,
    )


def _mended(word: str, words: _Lexicon) -> str | None:
    """The word list's word, in the same inflection, of which ``word`` is a slip of two letters."""
    slips = _corrected()
    if word in slips:
        return slips[word]
    for i in range(len(word) - 1):
        if word[i] == word[i + 1]:
            continue
        turned = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if turned in words.irregular:
            return turned
        base, form = _base(turned, words)
        if form and base in words.known and base not in words.twins and turned not in words.twins:
            return turned
    return None


def _base(word: str, words: _Lexicon) -> tuple[str, Form]:
    """Base form and the ending folded."""
    if word in words.known:
        return word, ""
    if word in words.irregular:
        base = words.irregular[word]
        if word.endswith("ing"):
            return base, "ing"
        if (base in words.nouns and base not in words.verbs) or word.endswith("s"):
            return base, "s"
        return base, "ed"
    if len(word) < 4 or not word.isascii():
        return word, ""
    if word.endswith("s"):
        return _without_s(word, words)
    if word.endswith("ing") and not _VOWELS.isdisjoint(word[:-3]):
        return _verb_base(word[:-3], words), "ing"
    if word.endswith("ied"):
        return word[:-3] + "y", "ed"
    if word.endswith("ed") and not word.endswith("eed") and not _VOWELS.isdisjoint(word[:-2]):
        return _verb_base(word[:-2], words), "ed"
    if word.endswith("ly") and word not in _NOT_ADVERBS.split():
        return _adverb_base(word, words), "ly"
    return word, ""


def _without_s(word: str, words: _Lexicon) -> tuple[str, Form]:
    if word.endswith(("ss", "us", "is")):
        return word, ""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y", "s"
    if word.endswith("es"):
        for base in (word[:-1], word[:-2]):
            if base in words.known:
                return base, "s"
        if word.endswith(("sses", "zzes", "ches", "shes", "xes", "oes")):
            return word[:-2], "s"
    return word[:-1], "s"


def _verb_base(stem: str, words: _Lexicon) -> str:
    """The verb of which ``stem`` is left when -ing or -ed is taken off."""
    doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS
    if doubled:
        as_it_is = stem in words.known or (stem[-1] in "lszf" and stem[:-1] not in words.known)
        return stem if as_it_is else stem[:-1]
    silent_e = _wants_e(stem)
    for base in (stem + "e", stem) if silent_e else (stem, stem + "e"):
        if base in words.known:
            return base
    return stem + "e" if silent_e else stem


def _wants_e(stem: str) -> bool:
    """English spelling: rid-ing, rustl-ing, danc-ing and snooz-ing lost an e; bark-ing did not."""
    if len(stem) < 2 or stem[-1] in "aeiouywxh":
        return stem[-1:] in "u"
    if stem[-1] in "vcz":
        return True
    if stem[-1] == "l" and stem[-2] not in "aeiouylrw":
        return True
    if stem[-1] == "s" and stem[-2] in _VOWELS:
        return True
    groups = re.findall(r"[aeiouy]+", stem)
    return len(groups) == 1 and len(groups[0]) == 1 and stem[-2] in _VOWELS


def _adverb_base(word: str, words: _Lexicon) -> str:
    stem = word[:-2]
    candidates = [stem]
    if stem.endswith("i"):
        candidates.insert(0, stem[:-1] + "y")
    if stem.endswith("al"):
        candidates.append(stem[:-2])
    candidates += [stem + "le" if stem.endswith(("b", "p", "t", "d")) else stem + "l", word[:-1] + "e"]
    for base in candidates:
        if base in words.known:
            return base
        verb = _base(base, words)[0] if base.endswith(("ing", "ed")) else ""
        if verb in words.known:
            return verb
    return candidates[0]


Phrases = dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
"""First base form -> (whole phrase, what stands for it), longest first."""


@cache
def phrases() -> Phrases:
    """Synonym phrases of several words, in base forms as ``look`` gives them."""
    table: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
    for names in _lexicon().sets:
        head = _bases(names[0])
        for item in names:
            parts = _bases(item)
            if (len(parts) > 1 or len(head) > 1) and parts != head:
                table.setdefault(parts[0], {})[parts] = head
    return {
        first: tuple(sorted(found.items(), key=lambda pair: (-len(pair[0]), pair[0])))
        for first, found in table.items()
    }


def _bases(item: str) -> tuple[str, ...]:
    return tuple(look(word).base for word in re.findall(r"[\w']+", item))
