"""What a prompt says: its normalised text, its canonical key, and the analysis that both policy and key use.

Owns: ``text_key``, ``canonical_key``, ``analyse`` and CANONICAL_VERSION.
Must not know: the store, the index, vectors, engines.

Two prompts with the same canonical key ask for the same sound in other words. Folded: case, articles,
auxiliaries, tense, filler ("the sound of ..."), digits, synonyms, two exchanged letters in a known word,
the order of things that sound together. Kept: what comes first and what after, negation, counts,
singular and plural, on and off, and who does what. docs/cache.md tells it with examples.

The grammar is deliberately shallow. Where it cannot tell, it keeps the difference: a missed hit costs a
generation, a false one plays the wrong sound.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from audio_pool.cache.words import Look, look, phrases

__all__ = ["CANONICAL_VERSION", "Analysis", "Chunk", "analyse", "canonical_key", "text_key"]

CANONICAL_VERSION = 1
"""Raised whenever any prompt's canonical key may change; stored keys of another version are made anew."""

_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_EDGES = " .,;:!?\"'()[]{}*_~-\u2026"


def text_key(prompt: str) -> str:
    """The prompt's exact text, normalised: Unicode NFKC, case, white space, curly quotes and edge punctuation.

    Text made of punctuation alone is kept as it is.
    """
    text = " ".join(unicodedata.normalize("NFKC", prompt).translate(_QUOTES).casefold().split())
    return text.strip(_EDGES) or text


_FILLER = re.compile(
    r"""^(?:
        (?:please|kindly|can\ you|could\ you|would\ you|i\ want|i\ need|i\ would\ like|i'd\ like|we\ want|we\ need
          |let\ me\ hear|to\ hear|give\ me|generate|synthesi[sz]e|simulate)\b[\s,:]*
      | (?:make|create|produce|play|render|record|me|us|to\ have|to\ get|to\ make)\b[\s,:]*
          (?=(?:me\ |us\ )?(?:the|a|an|some|this)?\s*(?:[a-z]+\ )?(?:sounds?|audio|recordings?|noises?|sfx|clips?)\b)
      | (?:the|a|an|some|this|these)?\s*(?:short\ |high\ quality\ |realistic\ |field\ |audio\ |sound\ )*
          (?:sounds?|audio|recordings?|noises?|clips?|samples?|effects?|sfx|fx|soundscapes?|ambience|sound-?effects?)
          \s*(?:is|are)?\s*(?:of|with|featuring|containing|from|:|-)\s+
      | (?:sfx|audio|sound|fx|ambience)\s*[:\-]\s*
      | (?:there\ is|there's|there\ are|you\ (?:can\ )?hear|we\ (?:can\ )?hear|i\ (?:can\ )?hear|one\ can\ hear
          |hear|listen\ to)\b\s+(?=\S)
    )+""",
    re.VERBOSE,
)
_TRAILER = re.compile(r"(?<=\w)[\s,]+(?:please|sound\ effects?|sfx|sound\ fx|can\ be\ heard|(?:is|are)\ heard)$")
_HYPHENED = re.compile(r"(?<=[a-z])-(?=[a-z])")
_TOKEN = re.compile(r"(?:(?<![\w])-)?\d+(?:[.,]\d+)*[a-z]*|[^\W\d_]+\d*[#♯]?(?:'[^\W\d_]+)?|[,;.:&+]")

def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = _words("a an the")
_BE = _words("is are was were be been being am")
_AUXILIARIES = _BE | _words("has have had having do does did will would shall should may might must")
_DROPPED = _ARTICLES | _AUXILIARIES | _words("of that which who just some there")
_NEGATIONS = _words("no not without never none nothing nobody neither nor cannot nowhere")
_CONTRACTED = {
    "won't": ("not",), "can't": ("not",), "cannot": ("not",), "ain't": ("not",), "shan't": ("not",),
    "it's": ("it",), "let's": ("let",),
}  # fmt: skip
_NUMBERS = {
    name: str(value)
    for value, name in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
         "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
     "ninety": "90", "hundred": "100", "thousand": "1000"}  # fmt: skip
_ORDINALS = {"1st": "first", "2nd": "second", "3rd": "third", "4th": "fourth", "5th": "fifth"}
_QUANTITIES = _words("many several couple dozen twice once both every each more most all another half single")
_PREPOSITIONS = _words("in on at by to from into onto off up down out over under through across against around along near "
    "behind between beside among inside outside like for about above below during towards toward past "
    "away back upon within throughout until underneath")
_PLACES = _words("background foreground nearby outside inside overhead") | {"far away"}

# how parts hang together
_THEN, _AFTER, _WHILE, _AND = "\x01", "\x02", "\x03", "\x04"
_JOINTS = {
    "then": _THEN, "afterwards": _THEN, "afterward": _THEN, "later": _THEN, "subsequently": _THEN,
    "before": _THEN, "finally": _THEN, "eventually": _THEN,
    "after": _AFTER,
    "while": _WHILE, "whilst": _WHILE, "whiles": _WHILE, "as": _WHILE, "with": _WHILE, "when": _WHILE,
    "amid": _WHILE, "amidst": _WHILE, "alongside": _WHILE, "meanwhile": _WHILE,
    "and": _AND, "plus": _AND, "&": _AND, "+": _AND, ",": _AND, ";": _AND, ".": _AND, ":": _AND,
}  # fmt: skip
_JOINT_PHRASES: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "followed": ((("followed", "by"), (_THEN,)), (("followed", "with"), (_THEN,))),
    "after": (
        (("after", "that"), (_THEN,)), (("after", "this"), (_THEN,)), (("after", "which"), (_THEN,)),
        (("after", "a", "while"), (_THEN,)), (("after", "a", "moment"), (_THEN,)),
    ),
    "prior": ((("prior", "to"), (_THEN,)),),
    "next": ((("next", "to"), ("beside",)),),
    "one": (
        (("one", "after", "another"), ("successive",)), (("one", "after", "the", "other"), ("successive",)),
    ),
    "as": (
        (("as", "well", "as"), (_AND,)), (("as", "if"), ("like",)), (("as", "though"), ("like",)),
        (("as", "well"), ()),
    ),
    "such": ((("such", "as"), ("like",)),),
    "at": (
        (("at", "the", "same", "time", "as"), (_WHILE,)), (("at", "the", "same", "time"), ()),
    ),
    "along": ((("along", "with"), (_WHILE,)),),
    "together": ((("together", "with"), (_WHILE,)),),
    "accompanied": ((("accompanied", "by"), (_WHILE,)),),
    "combined": ((("combined", "with"), (_WHILE,)),),
    "mixed": ((("mixed", "with"), (_WHILE,)),),
    "can": ((("can", "be", "heard"), ()),),
    "could": ((("could", "be", "heard"), ()),),
    "be": ((("be", "heard"), ()),),
    "is": ((("is", "heard"), ()),),
    "are": ((("are", "heard"), ()),),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chunk:
    """One thing that is heard: its words in order, base forms; a plural noun ends in ``*``."""

    words: tuple[str, ...]
    kind: str
    """C: who does what; V: a doing without its subject; N: a thing; A: only how or where."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """A prompt taken apart."""

    key: str
    """The canonical key."""
    events: tuple[tuple[Chunk, ...], ...]
    """One item for each moment in order; in it what sounds together, in no particular order."""


def canonical_key(prompt: str) -> str:
    """The prompt's canonical key: equal for prompts that ask for the same sound in other words.

    Readable: ``>`` parts what comes one after another, ``|`` what sounds together. Never empty for a prompt
    that is not: where everything is folded away, the key is the exact text.
    """
    return analyse(prompt).key


@lru_cache(maxsize=8_192)
def analyse(prompt: str) -> Analysis:
    """The prompt taken apart into events and chunks, and its canonical key."""
    text = text_key(prompt)
    tokens = _tokens(text)
    events: list[tuple[Chunk, ...]] = []
    keys: list[str] = []
    for moment in _moments(tokens):
        chunks = _together(moment)
        if chunks:
            events.append(tuple(chunks))
            keys.append(" | ".join(_bound(chunks)))
    return Analysis(key=" > ".join(keys) or text, events=tuple(events))


Token = tuple[str, Look | None]
"""A raw word and what it is; None for a joint."""


def _tokens(text: str) -> list[Token]:
    """Words with phrases and numbers folded, and joints in place of conjunctions."""
    bare = _TRAILER.sub("", _FILLER.sub("", text, count=1))
    words = list(_plain_words(_TOKEN.findall(_HYPHENED.sub(" ", bare or text))))
    joined = _replaced(words)
    table = phrases()
    tokens: list[Token] = []
    i = 0
    while i < len(joined):
        word = joined[i]
        joint = _JOINTS.get(word, word if word < "\x05" else None)
        if joint is not None:
            tokens.append((joint, None))
            i += 1
            continue
        seen = look(word)
        for phrase, head in table.get(seen.base, ()):
            if len(phrase) <= len(joined) - i and all(
                look(joined[i + k]).base == part for k, part in enumerate(phrase)
            ):
                last = look(joined[i + len(phrase) - 1])
                tokens += _headed(head, seen, last)
                i += len(phrase)
                break
        else:
            tokens.append((word, seen))
            i += 1
    return tokens


def _headed(head: tuple[str, ...], first: Look, last: Look) -> Iterator[Token]:
    """The words that stand for a phrase, a plural or -ing of the phrase kept on the last."""
    for k, word in enumerate(head):
        found = look(word)
        ending = last if found.noun else first
        if k == len(head) - 1 and ending.form and not found.form:
            found = Look(found.base, ending.form, found.noun, found.verb, found.quality, ending.plural, True)
        yield word, found


def _plain_words(raw: list[str]) -> Iterator[str]:
    for word in raw:
        if "'" in word:
            if word in _CONTRACTED:
                yield from _CONTRACTED[word]
            elif word.endswith("n't"):
                yield "not"
            else:
                yield word.partition("'")[0]
        else:
            yield _NUMBERS.get(word) or _ORDINALS.get(word) or word


def _replaced(words: list[str]) -> list[str]:
    """The words with joining phrases ("followed by") replaced by their joint."""
    out: list[str] = []
    i = 0
    while i < len(words):
        for phrase, replacement in _JOINT_PHRASES.get(words[i], ()):
            if tuple(words[i : i + len(phrase)]) == phrase:
                out += replacement
                i += len(phrase)
                break
        else:
            out.append(words[i])
            i += 1
    return out


def _moments(tokens: list[Token]) -> list[list[Token]]:
    """What comes one after another, in the order of sounding."""
    tokens = _main_clause_first(tokens)
    marks = [mark for mark, seen in tokens if seen is None]
    if _AFTER in marks:
        at = next(i for i, (mark, seen) in enumerate(tokens) if mark == _AFTER and seen is None)
        before, after = tokens[:at], tokens[at + 1 :]
        return _moments(after) + _moments(before) if before and after else _moments(before or after)
    if _THEN in marks and tokens[0][0] == "first":
        tokens = tokens[1:]
    return _split(tokens, _THEN)


def _main_clause_first(tokens: list[Token]) -> list[Token]:
    """"While it rains, a dog barks" as "a dog barks while it rains"."""
    if not tokens or tokens[0][0] not in (_WHILE, _AFTER, _THEN) or tokens[0][1] is not None:
        return tokens
    for i, (mark, seen) in enumerate(tokens):
        if seen is None and mark == _AND and i > 1:
            rest = tokens[i + 1 :]
            return [*rest, *tokens[:i]] if rest else tokens[1:i]
    return tokens[1:]


def _split(tokens: list[Token], mark: str) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token[1] is None and token[0] == mark:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _together(moment: list[Token]) -> list[Chunk]:
    """The chunks of one moment, in the order of the text; what hangs together is one chunk."""
    groups = [
        [chunk for part in _split(group, _AND) if (chunk := _chunk(part)) is not None]
        for group in _split(moment, _WHILE)
    ]
    total = sum(map(len, groups))
    return [chunk for group in groups for chunk in _attached(group, free=total <= 2)]


def _attached(group: list[Chunk], *, free: bool) -> list[Chunk]:
    """A doing without a subject joins the clause before it; bare things join the clause they begin.

    Among two chunks nothing can be mistaken (``free``): "laughs and a man speaks" has one reading.
    """
    out: list[Chunk] = []
    for chunk in group:
        previous = out[-1] if out else None
        if chunk.kind == "A" and previous is not None:
            out[-1] = Chunk(previous.words + chunk.words, previous.kind)
        elif previous is not None and previous.kind == "A":
            out[-1] = Chunk(chunk.words + previous.words, chunk.kind)
        elif not free and previous is not None and chunk.kind == "V" and previous.kind in "CV":
            out[-1] = Chunk((*previous.words, "+", *chunk.words), previous.kind)
        elif not free and previous is not None and chunk.kind == "C" and previous.kind == "N":
            out[-1] = Chunk((*previous.words, "+", *chunk.words), "C")
        else:
            out.append(chunk)
    return out


def _bound(chunks: Iterable[Chunk]) -> list[str]:
    return sorted(" ".join(chunk.words) for chunk in chunks)


def _chunk(part: list[Token]) -> Chunk | None:
    """One thing heard: base forms in order, adverbs and places last, "barking dog" as "dog bark"."""
    core: list[str] = []
    rest: list[str] = []
    kinds: list[str] = []
    for i, (word, seen) in enumerate(part):
        assert seen is not None
        if word in _DROPPED and not (word in ("a", "an") and i == len(part) - 1 and i):
            continue
        if word == "to" and i + 1 < len(part) and _plain_verb(part[i + 1]):
            continue
        if seen.form == "ly" or seen.base in _PLACES:
            rest.append(seen.base)
            continue
        kind = _kind(part, i)
        base = seen.base
        if kind == "N" and _is_plural(part, i):
            base += "*"
        elif kind == "V" and _passive(part, i):
            base += "~"
        core.append(base)
        kinds.append(kind)
    if not core:
        return Chunk(tuple(sorted(rest)), "A") if rest else None
    core, kinds = _subject_first(part, core, kinds)
    return Chunk((*core, *sorted(rest)), _chunk_kind(kinds))


def _chunk_kind(kinds: list[str]) -> str:
    if "V" not in kinds:
        return "N"
    first = next((kind for kind in kinds if kind in "NV"), "N")
    return "C" if first == "N" else "V"


def _subject_first(part: list[Token], core: list[str], kinds: list[str]) -> tuple[list[str], list[str]]:
    """"barking dog", "barking of a dog" and "the bark of a dog" as "dog bark"."""
    if len(core) < 2 or "~" in core[0]:
        return core, kinds
    words = [word for word, _ in part if word not in _ARTICLES]
    first = next(seen for word, seen in part if word not in _DROPPED and seen is not None and seen.form != "ly")
    genitive = len(words) > 2 and words[1] == "of" and first.verb
    adjectival = len(core) == 2 and first.form == "ing" and kinds == ["V", "N"]
    if (genitive or adjectival) and core[0].rstrip("*") == first.base:
        return [*core[1:], first.base], [*kinds[1:], "V"]
    return core, kinds


def _plain_verb(token: Token) -> bool:
    word, seen = token
    return seen is not None and seen.verb and not seen.noun and not seen.form and word == seen.base


def _kind(part: list[Token], i: int) -> str:
    """N thing, V doing, Q how, P relation or number."""
    word, seen = part[i]
    assert seen is not None
    if word in _PREPOSITIONS or word in _NEGATIONS or word in _QUANTITIES or word[0].isdigit() or word[0] == "-":
        return "P"
    if seen.form == "ing" or (seen.form == "ed" and not seen.noun):
        return "V"
    if seen.noun and not seen.verb:
        return "N"
    if seen.quality:
        return "Q"
    if seen.form == "s":
        return "V" if _acts(part, i) else "N"
    if seen.verb:
        return "V" if not seen.noun or _acts(part, i) else "N"
    return "N"


def _acts(part: list[Token], i: int) -> bool:
    """Whether a word that may be a verb or a noun is a verb here, by its neighbours."""
    seen = part[i][1]
    assert seen is not None
    if seen.verb and not seen.noun and seen.form == "s":
        before = part[i - 1] if i else None
        return before is None or not (before[1] is not None and before[1].quality) or i + 1 < len(part)
    if i == 0:
        return False
    word, before_look = part[i - 1]
    assert before_look is not None
    if word in _DROPPED or word in _PREPOSITIONS or word in _QUANTITIES or word[0].isdigit():
        return False
    if before_look.quality or before_look.form == "ing":
        return False
    if i + 1 == len(part):
        return True
    following, after = part[i + 1]
    assert after is not None
    return (
        following in _DROPPED or following in _PREPOSITIONS or after.form == "ly" or after.base in _PLACES
        or after.quality
    )


def _is_plural(part: list[Token], i: int) -> bool:
    seen = part[i][1]
    assert seen is not None
    return seen.form == "s" and (seen.plural or not _acts(part, i))


def _passive(part: list[Token], i: int) -> bool:
    """"a dog is chased" is not "a dog chases"; with "by" the words already tell."""
    seen = part[i][1]
    assert seen is not None
    if seen.form == "ing" or seen.form == "s" or i == 0 or any(other == "by" for other, _ in part[i + 1 :]):
        return False
    k = i - 1
    while k > 0 and (before := part[k][1]) is not None and before.form == "ly":
        k -= 1
    return part[k][0] in _BE
