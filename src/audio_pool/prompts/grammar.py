"""Shallow parser: turns a few words into one sound event (subject, verb, object, place).

Owns: ``Chunk`` (one event), ``chunk`` (words to an event) and ``attached`` (joining events that belong together).
Must not know: how a prompt is cut into parts (normalize.py), inverted order (inversion.py), the store, the index.

Where the parse is ambiguous, the words are kept in their order: a difference kept costs at most one
generation, a difference lost returns the wrong sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal

from audio_pool.prompts.function_words import (
    BE,
    DROPPED,
    LEADING,
    NEGATIONS,
    OWNERS,
    PLACES,
    PREPOSITIONS,
    PRONOUNS,
    QUANTITIES,
    WHERE,
)
from audio_pool.prompts.inversion import place_last
from audio_pool.prompts.lexicon import ARTICLES, Token, WordInfo, is_listed, word_info

__all__ = ["Chunk", "ChunkKind", "attached", "chunk"]


ChunkKind = Literal["clause", "verb", "noun", "adverbial"]
"""clause: subject and verb; verb: a verb without its subject; noun: no verb; adverbial: only how or where."""
_PartOfSpeech = Literal["noun", "verb", "adjective", "adverb", "place", "function"]
"""place: "nearby", "overhead"; function: prepositions, negations, quantities, numbers."""

_WEATHER = frozenset(["rain", "snow", "hail", "sleet", "drizzle", "thunder", "storm"])
_PARTICIPLES = {"ground": "grind", "wound": "wind", "broken": "break", "frozen": "freeze", "hidden": "hide"}
"""Words of their own that are participles after "is"."""
_SPANS = frozenset(["time", "second", "minute", "moment", "while", "bit"])
"""What is no object: "a person sneezes several times"."""
_WITH_TO = frozenset(["begin", "continue", "try"])
"""Verbs after which "to" always introduces an infinitive: "starts to talk"."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One sound event."""

    words: tuple[str, ...]
    """Base forms in order; a plural noun ends in ``*``, a passive in ``~``; ``+`` joins attached events."""
    kind: ChunkKind


@dataclass(slots=True)
class _Piece:
    base: str
    kind: _PartOfSpeech
    info: WordInfo


def chunk(part: Sequence[Token]) -> Chunk | None:
    """Parse the words between two conjunctions into one event; None where all of them are dropped."""
    part = place_last(part)
    pieces: list[_Piece] = []
    owners: list[int] = []
    for i, (word, seen) in enumerate(part):
        if word == "of":
            owners.append(len(pieces))
        if word in DROPPED and not (word in ("a", "an") and 0 < i == len(part) - 1):
            continue
        if word == "it" and i + 1 < len(part) and part[i + 1][1].base in _WEATHER:
            continue
        if word == "to" and i + 1 < len(part) and _infinitive(part[i - 1][1].base if i else "", part[i + 1]):
            continue
        if word in OWNERS and _of_the_doer(part, i):
            continue
        if word in _PARTICIPLES and i and part[i - 1][0] in BE:
            seen = replace(word_info(_PARTICIPLES[word]), form="ed")
            part = [*part[:i], (word, seen), *part[i + 1 :]]
        kind = _kind(part, i)
        base = seen.base
        if word == "leaves" and _acts(part, i):
            # the one common verb form that is also another word's plural
            kind, base = "verb", word_info("leave").base
        elif kind == "noun" and _is_plural(part, i):
            base += "*"
        elif kind == "verb" and _passive(part, i):
            base += "~"
        pieces.append(_Piece(base, kind, seen))
    if not pieces:
        return None
    _prepositions_named(pieces)
    core, tail = _adverbs_last(_owner_first(pieces, owners))
    if not core:
        return Chunk(tuple(piece.base for piece in tail), "adverbial")
    core = _subject_first(part, _done_by_nobody(part, core))
    core = _places_sorted(_adjectives_sorted(_agent_first(core)))
    core = _numbers_unheard(core)
    kinds = [piece.kind for piece in core]
    return Chunk(tuple(piece.base for piece in core + tail), _chunk_kind(kinds))


def _prepositions_named(pieces: list[_Piece]) -> None:
    """Name alike what is alike: "knocks at a door" and "on a door", "a car drives by" and "past"."""
    knocking = any(piece.base == "knock" for piece in pieces)
    for piece in pieces:
        if knocking and piece.base == "at":
            piece.base = "on"
    if len(pieces) > 1 and pieces[-1].base == "by" and pieces[-2].kind == "verb":
        pieces[-1].base = "past"


def _chunk_kind(kinds: list[_PartOfSpeech]) -> ChunkKind:
    if "verb" not in kinds:
        return "noun"
    return "clause" if next(kind for kind in kinds if kind in ("noun", "verb")) == "noun" else "verb"


def _adverbs_last(pieces: list[_Piece]) -> tuple[list[_Piece], list[_Piece]]:
    """Move adverbs to the end where they can belong to one verb only: "a dog loudly barks".

    Returns:
        the pieces without them, and the adverbs.
    """
    verbs = sum(piece.kind == "verb" for piece in pieces)
    nouns = sum(kind == "noun" for kind, _ in groupby(pieces, key=lambda piece: piece.kind))
    adverbs = [piece for piece in pieces if piece.kind == "adverb"]
    places = [piece for piece in pieces if piece.kind == "place"]
    tail: list[_Piece] = []
    if len(adverbs) == 1 and verbs <= 1:
        tail += adverbs
    if len(places) == 1 and verbs <= 1 and nouns <= 1:
        tail += places
    if len(tail) == len(pieces):
        return [], tail
    return [piece for piece in pieces if all(piece is not other for other in tail)], tail


def _subject_first(part: Sequence[Token], core: list[_Piece]) -> list[_Piece]:
    """Rewrite "barking dog at the door" and "the bark of a dog" as "dog bark ..."; keep "hitting a man"."""
    words = [word for word, seen in part if word not in ARTICLES and seen.form != "ly"]
    first = core[0]
    start = next(i for i, (_, seen) in enumerate(part) if seen is first.info)
    if len(core) < 2 or first.base.endswith("~") or len(words) < 2:
        return core
    doing = first.info.verb or first.info.form == "ing"
    genitive = len(words) > 2 and words[1] == "of" and doing and part[start][0] == words[0]
    adjectival = (
        first.info.form == "ing"
        and all(word in ARTICLES or seen.form == "ly" for word, seen in part[:start])
        and not is_listed(first.info.base, "transitive")
        and core[1].kind == "noun"
        and part[start + 1][1] is core[1].info
    )
    # "drops of water" are many, "the barks of a dog" are what it does
    action = first if first.base.endswith("*") and first.info.noun else _Piece(first.info.base, "verb", first.info)
    loud = next((i for i, piece in enumerate(core) if piece.kind != "adjective"), 0)
    if loud and _owns(part, core[loud]) and core[loud + 1 :] and all(p.kind == "noun" for p in core[loud + 1 :]):
        # "the low hum of an engine"; "of a loud engine" stays, or it would not be known what is low
        return [*core[:loud], *core[loud + 1 :], core[loud]]
    if genitive:
        end = next((i for i in range(1, len(core)) if core[i].kind not in ("noun", "adjective")), len(core))
        return [*core[1:end], action, *core[end:]]
    if adjectival:
        end = next((i for i in range(1, len(core)) if core[i].kind != "noun"), len(core))
        # "turning faucets on" has no faucets that turn
        if end == len(core) or (core[end].kind == "function" and end + 1 < len(core)):
            return [*core[1:end], action, *core[end:]]
    return core


def _done_by_nobody(part: Sequence[Token], core: list[_Piece]) -> list[_Piece]:
    """Rewrite "paper is torn" and "someone tears paper" as "tearing paper", and "a door is slammed" as "a door slams".

    Of the second kind are verbs whose object sounds by itself (``[ergative]``): "opening a door" is "a door opens".
    """
    at = next((i for i, piece in enumerate(core) if piece.kind == "verb"), -1)
    if at < 0:
        return core
    before, verb, after = core[:at], core[at], core[at + 1 :]
    alone = is_listed(verb.base.rstrip("~"), "ergative")
    if verb.base.endswith("~"):
        if not before or any(piece.kind not in ("noun", "adjective") for piece in before):
            return core
        verb.base = verb.base.rstrip("~")
        return [*before, verb, *after] if alone else [verb, *before, *after]
    end = next((i for i, piece in enumerate(after) if piece.kind not in ("noun", "adjective")), len(after))
    if not any(piece.kind == "noun" and piece.base.rstrip("*") not in _SPANS for piece in after[:end]):
        return core
    somebody = at == 1 and before[0].base == "person"
    if not somebody and (at or not alone or not verb.info.form):
        return core
    return [*after[:end], verb, *after[end:]] if alone else [verb, *after]


def _numbers_unheard(core: list[_Piece]) -> list[_Piece]:
    """Let the number of what clashes go: it takes two anyway."""
    if any(piece.kind == "verb" and is_listed(piece.base, "mutual") for piece in core) or (
        core[-1].kind == "noun" and is_listed(core[-1].base, "mutual")
    ):
        for piece in core:
            if piece.kind == "noun":
                piece.base = piece.base.rstrip("*")
    return core


def _of_the_doer(part: Sequence[Token], i: int) -> bool:
    """Return whether a possessive says what goes without saying: "a man clears his throat", not "her throat"."""
    if i + 1 == len(part) or part[i + 1][1].form in ("ing", "ed", "ly"):
        return False
    doers = [seen.base for word, seen in part[:i] if seen.noun and not seen.verb]
    if part[i][0] in ("its", "their"):
        return bool(doers)
    return bool(doers) and is_listed(doers[0], "his" if part[i][0] == "his" else "hers")


def _owns(part: Sequence[Token], doing: _Piece) -> bool:
    """Return whether a word is an action followed by whose it is: "hum of an engine"."""
    at = next((i for i, (_, seen) in enumerate(part) if seen is doing.info), len(part))
    return doing.info.verb and not doing.base.endswith("*") and at + 1 < len(part) and part[at + 1][0] == "of"


def _owner_first(pieces: list[_Piece], owners: list[int]) -> list[_Piece]:
    """Rewrite "the bell of a church" as "church bell".

    Args:
        owners: indices of the pieces that followed an "of", in order.
    """
    for at in reversed(owners):
        start, end = at, at
        while start and pieces[start - 1].kind in ("adjective", "noun"):
            start -= 1
        while end < len(pieces) and pieces[end].kind in ("adjective", "noun"):
            end += 1
        if start < at < end and _owned(pieces[at - 1]):
            pieces = [*pieces[:start], *pieces[at:end], *pieces[start:at], *pieces[end:]]
    return pieces


def _owned(thing: _Piece) -> bool:
    """Return False for an action ("the bark of a dog") and for filler ("the loud sound of rain")."""
    return thing.kind == "noun" and not thing.info.verb and thing.info.base not in ("sound", "noise")


def _places_sorted(core: list[_Piece]) -> list[_Piece]:
    """Sort prepositional phrases: "in a hall at night" as "at night in a hall"."""
    starts = [i for i, piece in enumerate(core) if i and piece.base in WHERE]
    last_verb = max((i for i, piece in enumerate(core) if piece.kind == "verb"), default=0)
    starts = [i for i in starts if i > last_verb]
    segments = [core[i:j] for i, j in pairwise([*starts, len(core)])]
    segments.sort(key=lambda segment: [piece.base for piece in segment])
    return [*core[: starts[0]], *(piece for segment in segments for piece in segment)] if starts else core


def _agent_first(core: list[_Piece]) -> list[_Piece]:
    """Rewrite the passive "a drum is hit by a man" as "a man hits a drum".

    "a car parked by a house" is rewritten likewise, which does no harm: no other prompt gets that form.
    """
    by = next((i for i, piece in enumerate(core) if piece.base == "by"), 0)
    # "cut down by a man"
    at = by - 2 if by > 2 and core[by - 1].base in ("down", "up", "off", "out", "apart") else by - 1
    if by < 2 or at < 1 or core[at].kind != "verb" or core[at].info.form in ("ing", "s"):
        return core
    if core[0].kind == "function" or sum(piece.kind == "verb" for piece in core) > 1:
        return core
    end = next((i for i in range(by + 1, len(core)) if core[i].kind == "function"), len(core))
    agent = core[by + 1 : end]
    return [*agent, *core[at:by], *core[:at], *core[end:]] if agent else core


def _adjectives_sorted(core: list[_Piece]) -> list[_Piece]:
    """Sort adjacent adjectives: "an old big door" as "a big old door"."""
    out: list[_Piece] = []
    for adjectives, found in groupby(core, key=lambda piece: piece.kind == "adjective"):
        run = list(found)
        out += sorted(run, key=lambda piece: piece.base) if adjectives else run
    return out


def _infinitive(before: str, token: Token) -> bool:
    """Return whether a "to" between these can be dropped: "starts to bark", not "stops to bark" or "to work"."""
    word, seen = token
    if before == "stop" or not seen.verb:
        return False
    return before in _WITH_TO or (not seen.noun and not seen.form and word == seen.base)


def _kind(part: Sequence[Token], i: int) -> _PartOfSpeech:
    word, seen = part[i]
    if seen.base in PLACES:
        return "place"
    if word in PREPOSITIONS or word in NEGATIONS or word in QUANTITIES or not word[0].isalpha():
        return "function"
    if seen.form == "ly":
        return "adverb"
    if seen.form == "ing" or (seen.form == "ed" and (seen.verb or not seen.noun)):
        return "verb"
    if seen.form == "s" and i and part[i - 1][0] in PRONOUNS:
        return "verb"
    if seen.noun and not seen.verb:
        return "noun"
    if seen.quality:
        return "adjective"
    if seen.form == "s":
        return "verb" if _acts(part, i) else "noun"
    if seen.verb:
        if not seen.form and i + 1 < len(part) and part[i + 1][0] in BE:
            return "noun"  # "a whistle is blown"
        return "verb" if not seen.noun or _acts(part, i) else "noun"
    return "noun"


def _acts(part: Sequence[Token], i: int) -> bool:
    """Return whether a word that may be a verb or a noun is a verb here, judged by its neighbours."""
    seen = part[i][1]
    adverbs = 0
    while adverbs < i - 1 and part[i - 1 - adverbs][1].form == "ly":
        adverbs += 1  # "a door loudly slams"
    before = part[i - 1 - adverbs] if i else None
    after = part[i + 1] if i + 1 < len(part) else None
    if seen.verb and not seen.noun and seen.form == "s":
        # "loud barks" has no subject
        return before is None or not before[1].quality or after is not None
    if before is None:
        return False
    word, subject = before
    if word in DROPPED or word in PREPOSITIONS or word in QUANTITIES or not word[0].isalpha():
        return False
    if subject.quality or subject.form in ("ing", "ed"):
        return False
    if after is None:
        return True
    word, other = after
    if word in QUANTITIES or not word[0].isalpha():
        return True
    if word in DROPPED or word in PREPOSITIONS or word in OWNERS:
        return True
    if other.form == "ly" or other.base in PLACES or other.quality:
        return True
    # "a hose sprays water" against "car horns honk"
    return other.noun and not other.verb


def _is_plural(part: Sequence[Token], i: int) -> bool:
    seen = part[i][1]
    if seen.form != "s" or is_listed(seen.base, "unheard") or (is_listed(seen.base, "underfoot") and _led(part, i)):
        return False
    return seen.plural or not _acts(part, i)


def _led(part: Sequence[Token], i: int) -> bool:
    """Return whether a thing stands after a preposition: "in heavy boots", "on the stone stairs"."""
    for word, seen in reversed(part[:i]):
        if word in PREPOSITIONS:
            return True
        if word in QUANTITIES or word[0].isdigit() or seen.form or (seen.verb and not seen.noun):
            return False
    return False


def _passive(part: Sequence[Token], i: int) -> bool:
    """Return whether a verb is passive ("a dog is chased") and no "by" shows it already."""
    if part[i][1].form in ("ing", "s") or i == 0 or any(word == "by" for word, _ in part[i + 1 :]):
        return False
    k = i - 1
    while k > 0 and part[k][1].form == "ly":
        k -= 1
    return part[k][0] in BE


def attached(group: Sequence[Chunk], *, free: bool, led_by_with: bool) -> list[Chunk]:
    """Attach verbs without a subject to the clause before them, and leading nouns to the clause that follows.

    Args:
        group: chunks between two "while"s, in order.
        free: the moment has at most two chunks, so the attachment is unambiguous: "laughs and a man speaks".
        led_by_with: "with a drum and a man singing": the first noun is an event of its own.
    """
    out: list[Chunk] = []
    for i, new in enumerate(group):
        last = out[-1] if out else None
        if last is None:
            out.append(new)
        elif free and len(group) == 2 and _is_place(last) and new.kind in ("clause", "noun"):
            out[-1] = Chunk(new.words + last.words, new.kind)
        elif new.kind == "adverbial":
            out[-1] = Chunk(last.words + new.words, last.kind)
        elif last.kind == "adverbial":
            out[-1] = Chunk(new.words + last.words, new.kind)
        elif not free and new.kind == "verb" and last.kind in ("clause", "verb"):
            out[-1] = Chunk((*last.words, "+", *new.words), last.kind)
        elif not free and new.kind == "clause" and last.kind == "noun" and not (led_by_with and i == 1):
            out[-1] = Chunk((*last.words, "+", *new.words), "clause")
        else:
            out.append(new)
    return out


def _is_place(one: Chunk) -> bool:
    """Return whether a chunk is only a place: "in a cave, water drips" is "water drips in a cave"."""
    return one.kind == "noun" and len(one.words) > 1 and one.words[0] in LEADING
