"""Conjunctions: the words by which events follow each other or sound together, as marks.

Owns: the marks, ``conjunctions_marked``.
Must not know: how events are parsed (normalize.py, grammar.py).
"""

from __future__ import annotations

from audio_pool.prompts.lexicon import ARTICLES

__all__ = [
    "AFTER", "AND", "BARE", "BEFORE", "COMMA", "LISTED", "MARKS", "SIMULTANEOUS", "THEN", "WHILE", "WITH",
    "WORDS_OF_MARKS", "conjunctions_marked",
]  # fmt: skip

# marks that take the place of conjunctions
THEN, BEFORE, AFTER, WHILE, WITH, AND, COMMA = "\x01", "\x02", "\x03", "\x04", "\x05", "\x06", "\x07"
SIMULTANEOUS = (WHILE, WITH)
LISTED = (AND, COMMA)
_SUCCESSIVE = frozenset([THEN, BEFORE, AFTER])
MARKS = frozenset([THEN, BEFORE, AFTER, WHILE, WITH, AND, COMMA])
BARE = {BEFORE: "before", AFTER: "after"}
_CONJUNCTIONS = {
    "then": THEN, "afterwards": THEN, "afterward": THEN, "later": THEN, "subsequently": THEN,
    "before": BEFORE, "finally": THEN, "eventually": THEN,
    "after": AFTER,
    "while": WHILE, "whilst": WHILE, "whiles": WHILE, "as": WHILE, "with": WITH, "when": WHILE,
    "thereafter": THEN, "thereupon": THEN, "lastly": THEN, "during": WHILE,
    "amid": WHILE, "amidst": WHILE, "alongside": WHILE, "meanwhile": WHILE,
    "and": AND, "plus": AND, "&": AND, "+": AND, ",": COMMA, ";": COMMA, ".": COMMA, ":": COMMA,
}  # fmt: skip
_THE_OTHER = frozenset(["it", "that", "this", "them", "him", "her"])
"""What "after it" and "before that" speak of: the event just named."""
_ENTERED = ARTICLES | {"of", "his", "her", "its", "their"}
WORDS_OF_MARKS = {THEN: "then", AND: "and", WHILE: "while"}
_CONJUNCTION_PHRASES: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "followed": ((("followed", "by"), (THEN,)), (("followed", "with"), (THEN,))),
    "after": (
        (("after", "which"), (THEN,)), (("after", "a", "while"), (THEN,)), (("after", "a", "moment"), (THEN,)),
    ),
    "following": ((("following", "that"), (THEN,)), (("following", "this"), (THEN,))),
    "prior": ((("prior", "to"), (BEFORE,)),),
    "preceded": ((("preceded", "by"), (AFTER,)),),
    "kind": ((("kind", "of"), ()),),
    "sort": ((("sort", "of"), ()),),
    "type": ((("type", "of"), ()),),
    "in": ((("in", "the", "night"), ("at", "night")), (("in", "the", "nighttime"), ("at", "night"))),
    "during": ((("during", "the", "night"), ("at", "night")),),
    "next": ((("next", "to"), ("beside",)),),
    "close": ((("close", "to"), ("near",)),),
    "deep": ((("deep", "in"), ("in",)), (("deep", "inside"), ("in",)), (("deep", "within"), ("in",))),
    "on": ((("on", "top", "of"), ("on",)),),
    "alongside": ((("alongside", "of"), (WITH,)),),
    "one": (
        (("one", "after", "another"), ("successive",)), (("one", "after", "the", "other"), ("successive",)),
    ),
    "as": (
        (("as", "well", "as"), (AND,)), (("as", "if"), ("like",)), (("as", "though"), ("like",)),
        (("as", "well"), ()),
    ),
    "such": ((("such", "as"), ("like",)),),
    "at": (
        (("at", "the", "same", "time", "as"), (WHILE,)), (("at", "the", "same", "time"), ()),
    ),
    "along": ((("along", "with"), (WITH,)),),
    "together": ((("together", "with"), (WITH,)),),
    "accompanied": ((("accompanied", "by"), (WITH,)),),
    "combined": ((("combined", "with"), (WITH,)),),
    "mixed": ((("mixed", "with"), (WITH,)),),
    "can": ((("can", "be", "heard"), ()),),
    "could": ((("could", "be", "heard"), ()),),
    "be": ((("be", "heard"), ()),),
    "is": ((("is", "heard"), ()),),
    "are": ((("are", "heard"), ()),),
}  # fmt: skip


def conjunctions_marked(words: list[str]) -> list[str]:
    """Replace conjunctions ("while", "followed by") by their marks, "after it" by what it says of the order."""
    return _references_resolved(_marked(words))


def _marked(words: list[str]) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(words):
        for phrase, replacement in _CONJUNCTION_PHRASES.get(words[i], ()):
            if tuple(words[i : i + len(phrase)]) == phrase:
                out += replacement
                i += len(phrase)
                break
        else:
            word = _CONJUNCTIONS.get(words[i], words[i])
            if word == "both" and "and" in words[i + 1 : i + 6]:
                i += 1
                continue
            if word == "next" and (not out or out[-1] in LISTED):
                word = THEN
            if word == "inside" and i + 1 < len(words) and words[i + 1] in _ENTERED:
                word = "in"
            out.append(word)
            i += 1
    return out


def _references_resolved(words: list[str]) -> list[str]:
    """Rewrite "rain, wind after it" as "rain, then wind", and "after that, wind" as "then wind"."""
    if _SUCCESSIVE.isdisjoint(words):
        return words
    i = 0
    while i < len(words):
        mark = words[i]
        refers = mark in BARE and i + 1 < len(words) and words[i + 1] in _THE_OTHER
        ends = i + 1 + refers == len(words) or words[i + 1 + refers] in MARKS
        at = next((j for j in reversed(range(1, i)) if words[j] in LISTED), 0)
        while at > 1 and words[at - 1] in LISTED:
            at -= 1
        if mark == THEN and ends and at and _unlisted(words[at:i]):
            # "rain and wind afterwards"
            words = [*words[:at], THEN, *_unlisted(words[at:i]), *words[i + 1 :]]
        elif refers and ends and at:
            words = [*words[:at], THEN if mark == AFTER else AFTER, *_unlisted(words[at:i]), *words[i + 2 :]]
        elif refers and not ends and i and words[i + 1] in ("that", "this"):
            words = [*words[:i], THEN if mark == AFTER else AFTER, *words[i + 2 :]]
        i += 1
    return words


def _unlisted(words: list[str]) -> list[str]:
    """Return the words without the marks of a list that lead them."""
    start = next((k for k, word in enumerate(words) if word not in LISTED), len(words))
    return words[start:]
