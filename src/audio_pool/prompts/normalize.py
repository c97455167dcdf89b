"""Normalise prompts: exact text key, canonical key, and the parse that both the key and the policy use.

Owns: ``text_key``, ``canonical_key``, ``analyse`` and CANONICAL_VERSION.
Must not know: the store, the index, vectors, engines.

Two prompts with the same canonical key ask for the same sound in other words. Folded: case, articles,
auxiliaries, tense, filler ("the sound of ..."), digits, synonyms, misspellings, passives, inverted order,
the order of simultaneous events. Kept: the order of successive events, negation, counts, singular and plural,
on and off, subject and object. docs/cache.md gives examples.

The grammar is deliberately shallow. Where it is ambiguous, the difference is kept: a missed hit costs a
generation, a false one returns the wrong sound.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from audio_pool.prompts.conjunctions import (
    AFTER,
    AND,
    BARE,
    BEFORE,
    COMMA,
    LISTED,
    MARKS,
    SIMULTANEOUS,
    THEN,
    WHILE,
    WITH,
    WORDS_OF_MARKS,
    conjunctions_marked,
)
from audio_pool.prompts.filler import without_filler
from audio_pool.prompts.function_words import QUANTITIES
from audio_pool.prompts.grammar import Chunk, attached, chunk
from audio_pool.prompts.inversion import doer_first
from audio_pool.prompts.language import foreign_language
from audio_pool.prompts.lexicon import ARTICLES, Phrase, Token, WordInfo, is_listed, phrases, word_info, written_in_two
from audio_pool.prompts.numerals import in_digits
from audio_pool.prompts.senses import AMBIGUOUS, in_its_sense
from audio_pool.prompts.spelling import correct_spelling, is_real, separated

__all__ = ["CANONICAL_VERSION", "Analysis", "analyse", "canonical_key", "text_key"]

CANONICAL_VERSION = 3
"""Raised whenever any prompt's parse or canonical key may change; stored ones of another version are made anew."""

_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_EDGES = " .,;:!?\"'()[]{}*_~-\u2026"


def text_key(prompt: str) -> str:
    """Normalise a prompt's exact text: Unicode NFKC, case, white space, curly quotes and edge punctuation.

    Text made of punctuation alone is kept.
    """
    text = " ".join(unicodedata.normalize("NFKC", prompt).translate(_QUOTES).casefold().split())
    inner = text.strip(_EDGES)
    if inner[:1].isdigit() and "-" + inner in text:
        inner = "-" + inner
    return inner or text


_APART = re.compile(r" (?='s\b)")
"""Before an owner's ending that stands alone: "the owl 's hoot"."""
_HYPHENED = re.compile(r"(?<=[a-z])-(?=[a-z])")
_COMPOUND = re.compile(r"(?<![\w-])([a-z]+)-([a-z]+)(?![\w-])")
_ARROW = re.compile(r" ?[-=]+> ?")
_WITH_SLASH = re.compile(r"\bw/(o?)(?:\b| )")
_TIMES = re.compile(r"\b(\d+) ?[x\u00d7](?!\w)|\bx ?(\d+)\b")
_TOKEN = re.compile(
    r"(?:(?<![\w])-)?\d+(?:[.,]\d+)*(?:(?:st|nd|rd|th|'?s)\b)?|[^\W\d_]+\d*[#♯]?(?:'[^\W\d_]+)?|[,;.:&+]"
)

_CONTRACTED = {"won't": "not", "can't": "not", "cannot": "not", "shan't": "not"}
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u0640\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
"""What nobody hears: soft hyphens, marks of direction, variants of an emoji, the stretching of Arabic words."""
_FOLDABLE = re.compile(r"[\x20-\x7e\u00c0-\u024f\u2026\u266d\u266f]*")
"""Latin text. Other scripts are not parsed; their key is the exact text."""

_LONGEST_READ = 600
"""Characters. A longer prompt is not parsed, which would hold up the router; its key is the exact text."""
_MOST_MISSPELT = 6
_LETTERS = re.compile(r"[^\W\d_]+")
_LEAST_STRANGE = 2
"""Words that no list has, from which a prompt is looked at for its language, which costs as much as reading it."""
_SAYS_SO = frozenset(["sound", "ambience", "ambiance", "soundscape"])
_SAME_WORD = {
    "1st": "first", "2nd": "second", "3rd": "third", "4th": "fourth", "5th": "fifth",
    "upon": "on", "atop": "on", "beneath": "under", "underneath": "under", "towards": "toward", "amongst": "among",
    "within": "in",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Analysis:
    """A parsed prompt."""

    key: str
    """The canonical key."""
    events: tuple[tuple[Chunk, ...], ...]
    """One item per moment in order; in it the simultaneous events, in no particular order."""


def canonical_key(prompt: str) -> str:
    """Return the canonical key: equal for prompts that ask for the same sound in other words.

    Readable: ``>`` separates successive events, ``|`` simultaneous ones. Empty only for an empty prompt:
    where every word is dropped, the key is the exact text.
    """
    return analyse(prompt).key


@lru_cache(maxsize=8_192)
def analyse(prompt: str) -> Analysis:
    """Parse a prompt into events and chunks, and build its canonical key."""
    text = text_key(_UNSEEN.sub("", prompt)) or text_key(prompt)
    if len(text) > _LONGEST_READ or not _FOLDABLE.fullmatch(text) or _is_foreign(text):
        return Analysis(key=text, events=((Chunk((text,), "noun"),),))
    events = [chunks for moment in _moments(_tokens(text)) if (chunks := _simultaneous(moment))]
    keys = [" | ".join(sorted(" ".join(one.words) for one in chunks)) for chunks in events]
    return Analysis(key=" > ".join(keys) or text, events=tuple(map(tuple, events)))


def _is_foreign(text: str) -> bool:
    """Return whether a text is in another language: "un chien aboie". One foreign word does not make it so."""
    strange = sum(not word_info(word).known for word in _LETTERS.findall(text))
    return strange >= _LEAST_STRANGE and bool(foreign_language(text))


def _tokens(text: str) -> list[Token]:
    """Tokenise, with spelling corrected, phrases and numbers folded, each word in its sense.

    Marks of conjunctions stand for themselves.
    """
    counted = _TIMES.sub(r" \1\2 times ", _ARROW.sub(", then ", _WITH_SLASH.sub(r"with\1 ", without_filler(text))))
    spaced = _HYPHENED.sub(" ", _COMPOUND.sub(_compound, _APART.sub("", counted)))
    words = _normalised([word for word in _TOKEN.findall(spaced) if word != "-"])
    words = conjunctions_marked(in_digits(words))
    tokens = _sounds_dropped(_compounds_joined([(word, word_info(word)) for word in words]))
    if any(seen.base in AMBIGUOUS for _, seen in tokens):
        tokens = [(word, in_its_sense(tokens, i)) for i, (word, _) in enumerate(tokens)]
    return _phrases_folded(_remarks_first(_one_dropped(tokens)))


def _compounds_joined(tokens: list[Token]) -> list[Token]:
    """Write names in two words in one: "camp fire", "tree tops"."""
    out: list[Token] = []
    for word, seen in tokens:
        if out and (joined := _joined(*out[-1], word, seen)):
            out[-1] = joined, word_info(joined)
        else:
            out.append((word, seen))
    return out


def _joined(first: str, before: WordInfo, second: str, seen: WordInfo) -> str:
    """Return the one word that two are, "" where they are two; what may be a verb ("a camp fires") stays apart."""
    if seen.form not in ("", "s"):
        return ""
    if written_in_two(first, second.removesuffix("s") if seen.form else second):
        return "" if seen.form and seen.verb else first + second
    if before.form:
        return ""
    names = before.noun and seen.noun and not before.verb and not seen.verb
    return first + second if names and is_real(first + second) else ""


def _sounds_dropped(tokens: list[Token]) -> list[Token]:
    """Drop the word that only says that something sounds: "bell ringing sound", "a gong sounds in a hall"."""
    return [token for i, token in enumerate(tokens) if not (token[1].base in _SAYS_SO and _only_says_so(tokens, i))]


def _one_dropped(tokens: list[Token]) -> list[Token]:
    """Drop "one" before a thing: "one dog" is "a dog"."""
    return [
        (word, seen)
        for i, (word, seen) in enumerate(tokens)
        if not (word in ("1", "single") and i + 1 < len(tokens) and _is_one_thing(tokens, i + 1))
    ]


def _is_one_thing(tokens: list[Token], i: int) -> bool:
    while i < len(tokens) - 1 and tokens[i][1].quality:
        i += 1
    word, seen = tokens[i]
    return seen.noun and not seen.form and word not in MARKS and word != "time"


def _only_says_so(tokens: list[Token], i: int) -> bool:
    if i == 0 or (i + 1 < len(tokens) and tokens[i + 1][1].noun):
        return False
    before, form = tokens[i - 1][1], tokens[i][1].form
    if not (before.noun or before.verb or before.form == "ing") or before.quality or form not in ("", "s"):
        return False
    return before.form in ("", "ing")


def _phrases_folded(words: list[Token]) -> list[Token]:
    """Put the first name of its set in the place of every phrase of synonyms.txt."""
    table = phrases()
    tokens: list[Token] = []
    i = 0
    while i < len(words):
        word, seen = words[i]
        for phrase in table.get(seen.base, ()):
            end = _end_of(phrase, words, i)
            if end:
                tokens += _headed(phrase, seen, words[end - 1][1])
                i = end
                break
        else:
            tokens.append((word, seen))
            i += 1
    return tokens


def _compound(hyphened: re.Match[str]) -> str:
    """Join "door-bell" to "doorbell" where that is a known word."""
    joined = hyphened[1] + hyphened[2]
    return joined if word_info(joined).known else hyphened[0]


def _end_of(phrase: Phrase, words: list[Token], start: int) -> int:
    """Return where the phrase that starts at ``start`` ends, articles ignored; 0 where it does not match."""
    i = start + 1
    for part in phrase.parts[1:]:
        while i < len(words) and words[i][0] in ARTICLES:
            i += 1
        # a mark was put in the place of its conjunction: "over and over"
        if i == len(words) or part not in (words[i][1].base, WORDS_OF_MARKS.get(words[i][0])):
            return 0
        i += 1
    return i


def _headed(phrase: Phrase, first: WordInfo, last: WordInfo) -> Iterator[Token]:
    """Yield the words that stand for a phrase; its ending goes to the last of them."""
    for k, word in enumerate(phrase.head):
        found = word_info(word)
        ending = last if found.noun else first
        if k < len(phrase.head) - 1 or found.form:
            pass
        elif not (found.noun or found.verb or word in QUANTITIES):
            found = replace(found, form="ly")
        elif ending.form and phrase.inflects:
            found = replace(found, form=ending.form, plural=ending.plural)
        yield word, found


def _normalised(words: list[str]) -> list[str]:
    """Normalise words: no apostrophe, ordinals in words, spelling corrected.

    Where more than a few words are unknown they are no misspellings, and stay.
    """
    found = [_without_apostrophe(word) if "'" in word else word for word in words]
    if sum(not is_real(word) for word in found) <= _MOST_MISSPELT:
        found = [right for word in found for right in separated(correct_spelling(word))]
    return [_SAME_WORD.get(word, word) for word in found]


def _without_apostrophe(word: str) -> str:
    return "not" if word in _CONTRACTED or word.endswith("n't") else word.partition("'")[0]


def _moments(tokens: list[Token]) -> list[list[Token]]:
    """Split into successive moments, in the order of sounding."""
    while tokens and tokens[0][0] in (THEN, *LISTED):
        tokens = tokens[1:]
    if tokens and tokens[0][0] in (BEFORE, AFTER, *SIMULTANEOUS):
        tokens = _main_clause_first(tokens)
    tokens = _bare_words(tokens)
    marks = [word for word, _ in tokens]
    if AFTER in marks:
        at = marks.index(AFTER)
        before, after = tokens[:at], tokens[at + 1 :]
        return _moments(after) + _moments(before)
    if marks[:1] == ["first"] and THEN in marks:
        tokens = tokens[1:]
    return [part for _, part in _split(tokens, (THEN, BEFORE))]


def _main_clause_first(tokens: list[Token]) -> list[Token]:
    """Rewrite "while it rains, a dog barks" as "a dog barks while it rains"."""
    marks = [word for word, _ in tokens]
    commas = [i for i, mark in enumerate(marks[:-1]) if mark == COMMA]
    # the comma of a list ("..., and a man speaks") is not the one that ends the clause
    ends = [i for i in commas if marks[i + 1] not in (AND, THEN, BEFORE, AFTER, WHILE)] or commas
    if ends:
        return [*tokens[ends[-1] + 1 :], *tokens[: ends[-1]]]
    come = next((i for i in range(2, len(tokens) - 1) if tokens[i][1].base == "come"), 0)
    if marks[0] == AFTER and come:
        # "after rain comes thunder"
        return [*tokens[come + 1 :], *tokens[:come]]
    return tokens if tokens[0][0] in BARE else tokens[1:]


def _bare_words(tokens: list[Token]) -> list[Token]:
    """Turn the mark of "before the storm" back into a word where nothing stands on its other side."""
    last = len(tokens) - 1
    return [
        (BARE[word], word_info(BARE[word])) if i in (0, last) and word in BARE else (word, seen)
        for i, (word, seen) in enumerate(tokens)
    ]


def _split(tokens: Sequence[Token], marks: tuple[str, ...]) -> list[tuple[str, list[Token]]]:
    """Split at marks into non-empty parts, each with the mark that leads it ("" for the first)."""
    parts: list[tuple[str, list[Token]]] = [("", [])]
    for token in tokens:
        if token[0] in marks:
            parts.append((token[0], []))
        else:
            parts[-1][1].append(token)
    return [part for part in parts if part[1]]


def _simultaneous(moment: Sequence[Token]) -> list[Chunk]:
    """Parse one moment into chunks, in the order of the text, attached ones joined."""
    moment = doer_first(_adjectives_joined(moment))
    groups = [
        (mark, [found for _, part in _split(group, LISTED) if (found := chunk(part)) is not None])
        for mark, group in _split(moment, SIMULTANEOUS)
    ]
    free = sum(len(chunks) for _, chunks in groups) <= 2
    return [
        one for mark, chunks in groups for one in attached(chunks, free=free, led_by_with=mark == WITH)
    ]


def _remarks_first(tokens: list[Token]) -> list[Token]:
    """Rewrite "footsteps in snow, slow" as "slow footsteps in snow"."""
    at = next((i for i in range(len(tokens) - 1, 0, -1) if not _says_how(tokens[i][1])), 0)
    if not (0 < at < len(tokens) - 1 and tokens[at][0] == COMMA):
        return tokens
    start = next((i + 1 for i in range(at - 1, -1, -1) if tokens[i][0] in MARKS), 0)
    start += start < at and tokens[start][0] in ARTICLES
    return [*tokens[:start], *tokens[at + 1 :], *tokens[start:at]]


def _says_how(seen: WordInfo) -> bool:
    """Return whether a word that stands alone is an adjective: "slow" may be a verb elsewhere."""
    return seen.quality or (not seen.form and is_listed(seen.base, "quality"))


def _adjectives_joined(tokens: Sequence[Token]) -> list[Token]:
    """Rewrite "a wet, hard surface" as "a wet hard surface"."""
    return [
        token
        for i, token in enumerate(tokens)
        if not (token[0] == COMMA and 0 < i < len(tokens) - 1 and tokens[i - 1][1].quality
                and tokens[i + 1][1].quality)
    ]  # fmt: skip
