"""Lexicon of prompts: base forms, synonyms, and the parts of speech a word can have.

Owns: the reading of ``words.txt``, ``synonyms.txt`` and ``compounds.txt``, ``word_info`` (one word) and the table of
phrases.
Must not know: how prompts are parsed (normalize.py, grammar.py), the store, the index, engines.

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

__all__ = [
    "ARTICLES", "NUMBERS", "Phrase", "Token", "WordInfo", "in_chorus", "is_listed", "knows", "list_lines",
    "listed_words", "phrases", "word_info", "written_in_two",
]  # fmt: skip

Form = Literal["", "s", "ing", "ed", "ly"]

ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {
    name: str(value)
    for value, name in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
        sixteen seventeen eighteen nineteen twenty""".split()  # noqa: SIM905
    )
} | {f"{name}ty": f"{value}0" for value, name in enumerate(("thir", "for", "fif", "six", "seven", "eigh", "nine"), 3)}
NUMBERS |= {"hundred": "100", "thousand": "1000"}

_VOWELS = frozenset("aeiouy")
_NOT_ADVERBS = """
family fly supply reply apply hardly barely nearly early only daily weekly belly jelly bully rally holly jolly
hilly silly ugly friendly lonely lovely likely lively elderly assembly butterfly dragonfly lately shortly
monopoly italy july curly bubbly wobbly woolly fully directly
"""


@dataclass(frozen=True, slots=True)
class WordInfo:
    """One word's entry: base form, inflection and possible parts of speech."""

    base: str
    """Without inflection; the first name of its synonym set."""
    form: Form
    """The ending that was removed: a plural's or a verb's -s, -ing, -ed, or an adverb's -ly."""
    noun: bool
    verb: bool
    quality: bool
    """An adjective."""
    plural: bool
    """Certainly plural: an irregular one, or the plural of a word that is only a noun."""
    known: bool
    """In the word list, as it stands or by its base form."""


Token = tuple[str, WordInfo]
"""A word as written, and its entry in the lexicon."""


@dataclass(frozen=True, slots=True)
class _Lexicon:
    nouns: frozenset[str]
    verbs: frozenset[str]
    qualities: frozenset[str]
    known: frozenset[str]
    listed: dict[str, frozenset[str]]
    """The lists of words.txt that say something special, by their name."""
    irregular: dict[str, str]
    heads: dict[str, str]
    """One-word synonyms: member -> head."""
    sets: tuple[tuple[str, ...], ...]
    in_two: frozenset[tuple[str, ...]]
    """Names of one word that are also written in two: ("camp", "fire")."""


def list_lines(name: str) -> list[str]:
    """Read the lines of one of the package's word lists, comments and blank ones left out."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]


@cache
def _lexicon() -> _Lexicon:
    sections: dict[str, set[str]] = {}
    irregular: dict[str, str] = {}
    section = ""
    for line in list_lines("words.txt"):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "irregular":
            base, _, forms = line.partition(":")
            irregular.update(dict.fromkeys(forms.split(), base.strip()))
        else:
            sections.setdefault(section, set()).update(line.split())
    sets = tuple(tuple(item.strip() for item in line.split(",")) for line in list_lines("synonyms.txt"))
    heads = {item: names[0] for names in sets for item in names[1:] if _single(item) and _single(names[0])}
    compounds = {word.replace("-", ""): word for line in list_lines("compounds.txt") for word in line.split()}
    sections["noun"].update(compounds, *(sections[name] for name in ("his", "hers", "place", "way", "unheard")))
    listed = set().union(*sections.values(), irregular.values(), NUMBERS)
    listed.update(item for names in sets for item in names if _single(item))
    return _Lexicon(
        nouns=frozenset(sections["noun"]),
        verbs=frozenset(sections["verb"]),
        qualities=frozenset(sections["quality"]),
        known=frozenset(listed),
        listed={name: frozenset(found) | {heads.get(w, w) for w in found} for name, found in sections.items()},
        irregular=irregular,
        heads=heads,
        sets=sets,
        in_two=frozenset(tuple(word.split("-")) for word in compounds.values()),
    )


def _single(item: str) -> bool:
    return " " not in item and "-" not in item


def in_chorus(base: str) -> bool:
    """Return whether one of these and several sound much the same (birds, leaves).

    Args:
        base: a base form.
    """
    return is_listed(base, "chorus")


def is_listed(base: str, name: str) -> bool:
    """Return whether a base form stands in this list of words.txt (``place``, ``unheard``, ...)."""
    return base in _lexicon().listed[name]


def listed_words() -> frozenset[str]:
    """Return the words that prompts for sounds are made of, in their base forms."""
    return _lexicon().known


def knows(word: str) -> bool:
    """Return whether a word, inflected or not, is one of the words that prompts for sounds are made of."""
    words = _lexicon()
    base, form = _base(word, words)
    if base not in words.known:
        return False
    verb, noun = base in words.verbs, base in words.nouns
    return {"ing": verb, "ed": verb or base in words.qualities, "s": verb or noun, "ly": True, "": True}[form]


@lru_cache(maxsize=65_536)
def word_info(word: str) -> WordInfo:
    """Look a lower-case word up; unknown words are classified by rule alone."""
    words = _lexicon()
    base, form = _base(word, words)
    head = words.heads.get(base, base)
    # a word that is listed as a synonym alone ("rumour") has the parts of speech of its set's first name
    kin = base if base in words.nouns or base in words.verbs or base in words.qualities else head
    noun, verb = kin in words.nouns, kin in words.verbs
    return WordInfo(
        base=head,
        form=form,
        noun=noun,
        verb=verb,
        quality=kin in words.qualities and not verb,
        plural=form == "s" and noun and not verb,
        known=base in words.known,
    )


def _base(word: str, words: _Lexicon) -> tuple[str, Form]:
    """Return the base form and the ending removed."""
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
    if word.endswith("men") and word[:-2] + "an" in words.known:
        return word[:-2] + "an", "s"
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
        if word[:-1] in words.known:
            return word[:-1], "s"
        if word[:-2] in words.known:
            return word[:-2], "s"
        if word.endswith(("sses", "zzes", "ches", "shes", "xes", "oes")):
            return word[:-2], "s"
    return word[:-1], "s"


def _verb_base(stem: str, words: _Lexicon) -> str:
    """Restore the verb of which ``stem`` remains once -ing or -ed is removed."""
    doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS
    if doubled:
        as_it_is = stem in words.known or (stem[-1] in "lszf" and stem[:-1] not in words.known)
        return stem if as_it_is else stem[:-1]
    if _short(stem):
        # "hop" would double its p: "hoping" is a form of "hope"
        return stem + "e"
    silent_e = _wants_e(stem)
    for base in (stem + "e", stem) if silent_e else (stem, stem + "e"):
        if base in words.known:
            return base
    return stem + "e" if silent_e else stem


def _short(stem: str) -> bool:
    """Return whether a stem has one syllable of one vowel and one consonant after it."""
    groups = re.findall(r"[aeiouy]+", stem)
    return len(groups) == 1 and len(groups[0]) == 1 and stem[-2:-1] in _VOWELS and stem[-1] not in "aeiouywxh"


def _wants_e(stem: str) -> bool:
    """Apply English spelling: rustl-ing, danc-ing and snooz-ing lost an e; bark-ing did not."""
    if len(stem) < 2:
        return False
    if stem[-1] in "vczu":
        return True
    if stem[-1] == "l" and stem[-2] not in "aeiouylrw":
        return True
    return stem[-1] == "s" and stem[-2] in _VOWELS


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


def written_in_two(first: str, second: str) -> bool:
    """Return whether two words are one name in two words, by the list (``compounds.txt``)."""
    return (first, second) in _lexicon().in_two


@dataclass(frozen=True, slots=True)
class Phrase:
    """Several words that stand for another word or words."""

    parts: tuple[str, ...]
    """Base forms, articles left out."""
    head: tuple[str, ...]
    inflects: bool
    """True where an ending of its last word matters ("mobile phones"), unlike in "crowd of people"."""


@cache
def phrases() -> dict[str, tuple[Phrase, ...]]:
    """Return the synonyms of several words by their first base form, longest first."""
    table: dict[str, list[Phrase]] = {}
    for names in _lexicon().sets:
        head = _bases(names[0])
        for item in names:
            parts = _bases(item)
            # the name itself too where it is longer: or "vacuum" alone is found in "vacuum cleaner"
            if len(parts) > 1 or len(head) > 1:
                inflects = not word_info(item.split()[-1]).form
                table.setdefault(parts[0], []).append(Phrase(parts, head, inflects))
    return {first: tuple(sorted(found, key=lambda p: (-len(p.parts), p.parts))) for first, found in table.items()}


def _bases(item: str) -> tuple[str, ...]:
    return tuple(word_info(NUMBERS.get(w, w)).base for w in re.findall(r"[\w']+", item) if w not in ARTICLES)
