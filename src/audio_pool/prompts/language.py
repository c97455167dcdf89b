"""Detect prompts that are not in English.

Owns: ``is_english``, ``foreign_language`` and the reading of ``languages.txt``.
Must not know: how prompts are compared (normalize.py), engines, what follows from the answer.

A prompt is English unless something in it speaks against that: letters of another script, or more words of
one other language than English ones. Words that no list has ("xyzzy", a brand) count for nothing. A trained
classifier was rejected: on the few words of a prompt it guesses, and its guesses cannot be explained.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import cache, lru_cache

from audio_pool.prompts.function_words import FUNCTION_WORDS
from audio_pool.prompts.lexicon import list_lines, word_info

__all__ = ["foreign_language", "is_english"]

_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
_SHORTEST_TELLING = 4
"""Letters from which an unknown word counts as one that English might be expected to have."""
_NAME_PARTICLES = frozenset("da de del den des di do dos du el la las le les los san são van von".split())  # noqa: SIM905
"""Also in English inside the names of people and places: "Rio de la Plata birds"."""
_ENGLISH_TOO = frozenset(
    """
    adam ale api auto autos aux banker blitz brulee cafe cam casa cliche con coup creme crepe debut deja
    divorcee dolce doppelganger era ev facade fiance fiancee forte fuoco gallo glad grace grad hay ingenue
    jalapeno jam ko las late latte latter legno lent lento manana mare matinee melee mia naive naivete nina nino
    om orang par pes pies pinata pirouette pod pokemon protege puree range regen resume ringer rio risque sans
    saute seance senor senora senorita sin smorgasbord soiree souffle stem strand sub tag touche vent vis voce
    voila vu zinc
    """.split()  # noqa: SIM905
)
"""English words, accents dropped, that words.txt lacks and that other languages share or that have accents."""

_SCRIPTS = {
    "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "CJK": "Chinese",
    "CYRILLIC": "text in Cyrillic",
    "GREEK": "Greek", "ARABIC": "text in Arabic script", "HEBREW": "Hebrew", "DEVANAGARI": "text in Devanagari",
    "THAI": "Thai", "ARMENIAN": "Armenian", "GEORGIAN": "Georgian",
}  # fmt: skip
"""First word of a letter's Unicode name -> what a text of such letters is called."""


@dataclass(frozen=True, slots=True)
class _Language:
    name: str
    letters: frozenset[str]
    """Beyond a to z."""
    small: frozenset[str]
    """Articles, prepositions, conjunctions: evidence beside other words only."""
    elided: frozenset[str]
    """The same before an apostrophe."""
    words: frozenset[str]
    """Common words of prompts, with and without their accents: evidence even alone."""

    def is_small(self, word: str) -> bool:
        """Return whether a word is an article or the like, or begins with an elided one: "l'orage"."""
        first, apostrophe, _ = word.partition("'")
        return word in self.small or (bool(apostrophe) and first in self.elided)

    def evidence(self, written: dict[str, str], english: Set[str]) -> tuple[int, int]:
        """Count the words that speak for this language rather than English; (0, 0) where they do not suffice.

        Args:
            written: case-folded words -> as they stand.
            english: those of them that are English.

        Returns:
            all that speak for it, and those of them that stand in ``words``.
        """
        small = {word for word in written if self.is_small(word)}
        own = {word for word in written if word in self.words}
        # a word of both languages speaks for neither ("wind", "in"), except where its accents tell ("für")
        listed = {word for word in small | own if word not in english or not _plain(word)}
        spelt = {word for word in written if not self.letters.isdisjoint(word)} - english
        count = len(listed | spelt) - max(0, len(listed & _NAME_PARTICLES) - 1)
        if count <= len(english - small - own):
            return 0, 0
        # names have articles and accents, too: "Dvořák", "Rio de Janeiro"
        strong = (listed & own) | {word for word in spelt if written[word][0].islower()}
        weak = (listed | spelt) - strong
        unknown = {word for word in written.keys() - english - weak if written[word].islower()}
        telling = [word for word in unknown if len(word) >= _SHORTEST_TELLING]
        if strong or len(telling) > 1 or (len(weak) > 1 and weak - _NAME_PARTICLES):
            return count, len(listed & own)
        return 0, 0


def is_english(text: str) -> bool:
    """Return False where a text is evidently in another language; unknown words are no evidence."""
    return not foreign_language(text)


@lru_cache(maxsize=8_192)
def foreign_language(text: str) -> str:
    """Name the likely language, or the script, of a text that is not English; "" for English.

    Returns:
        a name that fits "looks like ...": "German", "text in Cyrillic", "another language" where several fit.
    """
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    return _foreign_script(text) or _foreign_words(text)


def _foreign_script(text: str) -> str:
    """Name the script that most letters are of, "" for Latin."""
    scripts = Counter(unicodedata.name(letter, "?").split(" ")[0] for letter in text if letter.isalpha())
    foreign = Counter({script: count for script, count in scripts.items() if script != "LATIN"})
    if foreign.total() <= scripts.total() / 2:
        return ""
    if foreign["HIRAGANA"] or foreign["KATAKANA"]:
        return "Japanese"  # most of its letters may be Chinese ones
    script = foreign.most_common(1)[0][0]
    return _SCRIPTS.get(script, f"text in {script.capitalize()} script")


def _foreign_words(text: str) -> str:
    """Name the language that has more of the words than English has, "" where none has."""
    found = (word for word in _WORD.findall(text) if len(word) > 1 or not word.isascii())
    written = {word.casefold(): word for word in found}  # each once: "la la la" is no French
    english = frozenset(word for word in written if _in_english(word))
    scores = {language.name: language.evidence(written, english) for language in _languages()}
    most = max(scores.values())
    if most == (0, 0):
        return ""
    names = [name for name, score in scores.items() if score == most]
    return names[0] if len(names) == 1 else "another language"


def _in_english(word: str) -> bool:
    """Return whether the package's lists know a word, or all parts of a compound, whatever its accents."""
    parts = [part for part in re.split("[-']", _bare(word)) if part not in ("s", "t", "d", "m")]
    return bool(parts) and all(
        part in FUNCTION_WORDS or part in _ENGLISH_TOO or word_info(part).known for part in parts
    )


def _plain(word: str) -> bool:
    """Return whether a word's accents tell nothing: it has none, or English writes it with them."""
    return word.isascii() or _bare(word) in _ENGLISH_TOO


def _bare(word: str) -> str:
    """Return a word without its accents."""
    if word.isascii():
        return word
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


@cache
def _languages() -> tuple[_Language, ...]:
    found: dict[str, dict[str, list[str]]] = {}
    language: dict[str, list[str]] = {}
    field: list[str] = []
    for line in list_lines("languages.txt"):
        if line.startswith("["):
            language = found.setdefault(line.strip("[]"), {})
            continue
        label, colon, rest = line.partition(":")
        if colon:
            field = language.setdefault(label, [])
        field += (rest if colon else line).split()
    return tuple(
        _Language(
            name=name,
            letters=frozenset("".join(fields["letters"])),
            small=frozenset(fields["small"]),
            elided=frozenset(fields.get("elided", ())),
            words=frozenset(fields["words"]) | frozenset(_bare(word) for word in fields["words"] if len(word) > 3),
        )
        for name, fields in found.items()
    )
