"""Words of a prompt: cut, corrected, in their base forms, with what is ruled out marked.

Owns: Word, ``tokenised``, ``stem``, the words that carry nothing.
Must not know: recipes, what a word means.

Base forms, spelling and parts of speech are those of ``prompts/lexicon.py``, which the cache reads prompts with.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from audio_pool.prompts.lexicon import word_info
from audio_pool.prompts.spelling import correct_spelling

__all__ = ["AGENTS", "STOPWORDS", "TOKEN", "UNTOLD", "Word", "key_stems", "stem", "tokenised"]

def _words(words: str) -> frozenset[str]:
    return frozenset(words.split(" "))


TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[,.;:!?()/\n]")
_CLAUSE_BREAKS = _words(
    ", . ; : ! ? ( ) / \n and with while then as over but plus followed whilst amid before after when"
)
_NEGATORS = _words("no not without minus except never neither nor non excluding lacking sans")
_LIST_NEGATORS = _words("without minus except excluding lacking sans neither")
_NEGATION_ENDS = _words(", . ; : ! ? but with while then plus just only although")
_FILLERS = _words("too very so a an any the much more really quite")
STOPWORDS = _words(
    "a an the of in on at to from into onto by for is are was be being been it its this that these those some"
    " several few many more very too so quite sound sounds noise noises audio sfx effect effects loop loopable"
    " seamless recording of someone something somebody there up down out off around through nearby s t"
    " or which who whose his her their my your our i you he she they we one another other each every"
    " please make me play give want need like can could would short long high quality realistic"
    " heard hear making made coming going being happening playing beside behind under above near between against"
    " along across within onto upon again also just only"
) | _CLAUSE_BREAKS | _NEGATORS
AGENTS = _words(
    "people person man woman boy girl child audience crowd kid adult someone guy lady player baby spectator"
)
"""Base forms of who does something: what they do is the sound, not they."""
_HAPPENS = _words("take get let set use move start stop end begin keep turn empty old new outside outdoors")
"""What says that, where or how long something sounds, not what."""
UNTOLD = STOPWORDS | AGENTS | _HAPPENS


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Return a word's base form, misspelling corrected and synonyms folded. Only to be compared with other stems."""
    return _uncorrected(correct_spelling(word))


def _uncorrected(word: str) -> str:
    base = word_info(word).base
    return _SYNONYM_STEMS.get(base, base)


_SYNONYMS = {
    "rain": "raindrop rainfall",
    "leaf": "foliage",
    "metal": "tin steel iron aluminium aluminum brass copper sheet corrugated",
    "engine": "motor",
    "telephone": "phone",
    "child": "kid",
    "footstep": "footfall",
}
"""Words that mean the same wherever they stand."""
_SYNONYM_STEMS = {
    word_info(word).base: word_info(meant).base for meant, words in _SYNONYMS.items() for word in words.split()
}


@lru_cache(maxsize=4096)
def key_stems(key: str) -> tuple[str, ...]:
    """Return the stems of a recipe's key, in order."""
    return tuple(stem(word) for word in key.split())


@dataclass
class Word:
    text: str
    stem: str
    clause: int
    acting: bool = False
    """A verb's -ing, -ed or -s form that can be no noun: "snoring", "snores", but not "murmurs". Without an ending:
    right after a noun ("birds sing")."""
    plural: bool = False
    negated: bool = False
    used: bool = False


def tokenised(text: str, *, compounds: Collection[str], adjectives: Collection[str]) -> list[Word]:
    """Return the words of a text, marks that part clauses among them.

    Args:
        compounds: stems of one-word names that may be written in two: "door bell".
        adjectives: stems of words that "not" rules out alone: "not too heavy rain".
    """
    words: list[Word] = []
    clause = 0
    for token in TOKEN.findall(text.lower().replace("n't", " not").replace("\u2019", "'")):
        word = _word(token, clause)
        joined = words[-1].text + token if words and words[-1].text.isalpha() and not word.acting else ""
        # "door bell"; "game over", though "over" parts clauses; "a hammer" is no misspelt "hammer"
        if joined and _uncorrected(joined) in compounds and correct_spelling(joined) == joined:
            words[-1] = _word(joined, clause)
        elif token in _CLAUSE_BREAKS:
            clause += 1
            words.append(Word(token, token, clause))
        else:
            words.append(word)
    for subject, word in pairwise(words):
        info, before = word_info(correct_spelling(word.text)), word_info(correct_spelling(subject.text))
        if info.verb and not info.noun and not info.form and before.noun and subject.clause == word.clause:
            word.acting = True  # "birds sing": a verb right after a noun is what that does
    for start, word in enumerate(words):
        if word.text in _NEGATORS:
            _negate(words, start, adjectives)
    return words


def _word(token: str, clause: int) -> Word:
    info = word_info(correct_spelling(token))
    acting = info.form in ("ing", "ed") or (info.form == "s" and info.verb and not info.noun)
    return Word(token, stem(token), clause, acting=acting, plural=info.plural and not acting)


def _negate(words: list[Word], start: int, adjectives: Collection[str]) -> None:
    """Mark the words that the negator at ``start`` excludes: one adjective ("not too heavy"), or things."""
    place = start + 1
    while place < len(words) and words[place].text in _FILLERS:
        place += 1
    if words[start].text == "not" and place < len(words) and words[place].stem in adjectives:
        words[place].negated = True
        return
    ends = _NEGATION_ENDS if words[start].text in _LIST_NEGATORS else _NEGATION_ENDS | {"and"}
    while place < len(words) and words[place].text not in ends:
        words[place].negated = True
        place += 1
