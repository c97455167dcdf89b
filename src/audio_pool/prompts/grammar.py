"""One thing that is heard: who does what, from a few words, by a shallow grammar.

Owns: ``Chunk``, ``chunk`` (words to a chunk) and ``attached`` (which chunks hang together).
Must not know: how a prompt is cut into parts (text.py), the store, the index.

Where the grammar cannot tell, it keeps the words as they stand: a difference kept costs at most a
generation, a difference lost plays the wrong sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from audio_pool.prompts.lexicon import ARTICLES, Look, look

__all__ = ["NEGATIONS", "QUANTITIES", "Chunk", "Token", "attached", "chunk"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


Token = tuple[str, Look]
"""A word as it stands and what it is."""

NEGATIONS = _words("no not without never none nothing nobody neither nor nowhere hardly barely")
QUANTITIES = _words("many several couple dozen twice thrice once both every each more most all another half single")
_BE = _words("is are was were be been being am")
_AUXILIARIES = _BE | _words("has have had having do does did will would shall should may might must")
_DROPPED = ARTICLES | _AUXILIARIES | _words("of that which who just some there")
_WEATHER = _words("rain snow hail sleet drizzle thunder storm")
_PRONOUNS = _words("it he she this that which who")
_PREPOSITIONS = _words(
    "in on at by to from into onto off up down out over under through across against around along near "
    "behind between beside among inside outside like for about above below during towards toward past "
    "away back upon within throughout until underneath"
)
_WHERE = _words(
    "in on at near inside under over beside behind through across along around among within underneath "
    "from to into onto"
)
_WITH_TO = _words("begin continue try")
"""Verbs whose "to" is always that of a verb: "starts to talk"."""
_PLACES = _words("background foreground nearby outside inside overhead distant")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One thing that is heard."""

    words: tuple[str, ...]
    """Base forms in order; a plural noun ends in ``*``, a passive in ``~``; ``+`` joins what hangs together."""
    kind: str
    """C: who does what; V: a doing without its subject; N: a thing; A: only how or where."""


@dataclass(slots=True)
class _Piece:
    base: str
    kind: str
    """N thing, V doing, Q how, P relation or number, L an adverb, A a place."""
    look: Look


def chunk(part: Sequence[Token]) -> Chunk | None:
    """The words between two joints as one thing heard; None where nothing is left of them."""
    pieces: list[_Piece] = []
    owners: list[int] = []
    for i, (word, seen) in enumerate(part):
        if word == "of":
            owners.append(len(pieces))
        if word in _DROPPED and not (word in ("a", "an") and 0 < i == len(part) - 1):
            continue
        if word == "it" and i + 1 < len(part) and part[i + 1][1].base in _WEATHER:
            continue
        if word == "to" and i + 1 < len(part) and _infinitive(part[i - 1][1].base if i else "", part[i + 1]):
            continue
        kind = _kind(part, i)
        base = seen.base
        if word == "leaves" and _acts(part, i):
            # the one common verb form that is also another word's plural
            kind, base = "V", look("leave").base
        elif kind == "N" and _is_plural(part, i):
            base += "*"
        elif kind == "V" and _passive(part, i):
            base += "~"
        pieces.append(_Piece(base, kind, seen))
    if not pieces:
        return None
    core, tail = _adverbs_last(_owner_first(pieces, owners))
    if not core:
        return Chunk(tuple(piece.base for piece in tail), "A")
    core = _wheres_sorted(_adjectives_sorted(_doer_first(_subject_first(part, core))))
    kinds = [piece.kind for piece in core]
    return Chunk(tuple(piece.base for piece in core + tail), _chunk_kind(kinds))


def _chunk_kind(kinds: list[str]) -> str:
    if "V" not in kinds:
        return "N"
    return "C" if next(kind for kind in kinds if kind in "NV") == "N" else "V"


def _adverbs_last(pieces: list[_Piece]) -> tuple[list[_Piece], list[_Piece]]:
    """"a dog loudly barks" as "a dog barks loudly", where it cannot be said of anything else."""
    verbs = sum(piece.kind == "V" for piece in pieces)
    nouns = sum(piece.kind == "N" for piece in pieces)
    adverbs = [piece for piece in pieces if piece.kind == "L"]
    places = [piece for piece in pieces if piece.kind == "A"]
    tail: list[_Piece] = []
    if len(adverbs) == 1 and verbs <= 1:
        tail += adverbs
    if len(places) == 1 and verbs <= 1 and nouns <= 1:
        tail += places
    if len(tail) == len(pieces):
        return [], tail
    return [piece for piece in pieces if all(piece is not other for other in tail)], tail


def _subject_first(part: Sequence[Token], core: list[_Piece]) -> list[_Piece]:
    """"barking dog at the door" and "the bark of a dog" as "dog bark ..."; not "hitting a man"."""
    words = [word for word, seen in part if word not in ARTICLES and seen.form != "ly"]
    first = core[0]
    start = next(i for i, (_, seen) in enumerate(part) if seen is first.look)
    if len(core) < 2 or first.base.endswith("~") or len(words) < 2:
        return core
    genitive = len(words) > 2 and words[1] == "of" and first.look.verb and part[start][0] == words[0]
    adjectival = (
        first.look.form == "ing"
        and core[1].kind == "N"
        and part[start + 1][1] is core[1].look
    )
    doing = _Piece(first.look.base, "V", first.look)
    if genitive:
        return [*core[1:], doing]
    if adjectival:
        end = next((i for i in range(1, len(core)) if core[i].kind != "N"), len(core))
        # "turning faucets on" has no faucets that turn
        if end == len(core) or (core[end].kind == "P" and end + 1 < len(core)):
            return [*core[1:end], doing, *core[end:]]
    return core


def _owner_first(pieces: list[_Piece], owners: list[int]) -> list[_Piece]:
    """"the bell of a church" as "church bell"; ``owners``: where an "of" stood, in order."""
    for at in reversed(owners):
        start, end = at, at
        while start and pieces[start - 1].kind in "QN":
            start -= 1
        while end < len(pieces) and pieces[end].kind in "QN":
            end += 1
        if start < at < end and _owned(pieces[at - 1]):
            pieces = [*pieces[:start], *pieces[at:end], *pieces[start:at], *pieces[end:]]
    return pieces


def _owned(thing: _Piece) -> bool:
    """Not a doing ("the bark of a dog"), nor a word that may be missing ("the loud sound of rain")."""
    return thing.kind == "N" and not thing.look.verb and thing.look.base not in ("sound", "noise")


def _wheres_sorted(core: list[_Piece]) -> list[_Piece]:
    """"in a hall at night" as "at night in a hall"."""
    starts = [i for i, piece in enumerate(core) if i and piece.base in _WHERE]
    last_doing = max((i for i, piece in enumerate(core) if piece.kind == "V"), default=0)
    starts = [i for i in starts if i > last_doing]
    segments = [core[i:j] for i, j in pairwise([*starts, len(core)])]
    segments.sort(key=lambda segment: [piece.base for piece in segment])
    return [*core[: starts[0]], *(piece for segment in segments for piece in segment)] if starts else core


def _doer_first(core: list[_Piece]) -> list[_Piece]:
    """"a drum is hit by a man" as "a man hits a drum"; also "a car parked by a house", which nothing else is."""
    by = next((i for i, piece in enumerate(core) if piece.base == "by"), 0)
    if by < 2 or core[by - 1].kind != "V" or core[by - 1].look.form in ("ing", "s"):
        return core
    if core[0].kind == "P" or sum(piece.kind == "V" for piece in core) > 1:
        return core
    end = next((i for i in range(by + 1, len(core)) if core[i].kind == "P"), len(core))
    doer = core[by + 1 : end]
    return [*doer, core[by - 1], *core[: by - 1], *core[end:]] if doer else core


def _adjectives_sorted(core: list[_Piece]) -> list[_Piece]:
    """"an old big door" as "a big old door"."""
    out: list[_Piece] = []
    for quality, found in groupby(core, key=lambda piece: piece.kind == "Q"):
        run = list(found)
        out += sorted(run, key=lambda piece: piece.base) if quality else run
    return out


def _infinitive(before: str, token: Token) -> bool:
    """Whether a "to" between these says nothing: "starts to bark", but not "stops to bark" or "to work"."""
    word, seen = token
    if before == "stop" or not seen.verb:
        return False
    return before in _WITH_TO or (not seen.noun and not seen.form and word == seen.base)


def _kind(part: Sequence[Token], i: int) -> str:
    word, seen = part[i]
    if seen.base in _PLACES:
        return "A"
    if word in _PREPOSITIONS or word in NEGATIONS or word in QUANTITIES or not word[0].isalpha():
        return "P"
    if seen.form == "ly":
        return "L"
    if seen.form == "ing" or (seen.form == "ed" and not seen.noun):
        return "V"
    if seen.form == "s" and i and part[i - 1][0] in _PRONOUNS:
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


def _acts(part: Sequence[Token], i: int) -> bool:
    """Whether a word that may be a verb or a noun is a verb here, by its neighbours."""
    seen = part[i][1]
    adverbs = 0
    while adverbs < i - 1 and part[i - 1 - adverbs][1].form == "ly":
        adverbs += 1  # "a door loudly slams"
    before = part[i - 1 - adverbs] if i else None
    after = part[i + 1] if i + 1 < len(part) else None
    if seen.verb and not seen.noun and seen.form == "s":
        # "loud barks" has no doer
        return before is None or not before[1].quality or after is not None
    if before is None:
        return False
    word, doer = before
    if word in _DROPPED or word in _PREPOSITIONS or word in QUANTITIES or not word[0].isalpha():
        return False
    if doer.quality or doer.form in ("ing", "ed"):
        return False
    if after is None:
        return True
    word, other = after
    if word in QUANTITIES or not word[0].isalpha():
        return True
    if word in _DROPPED or word in _PREPOSITIONS or other.form == "ly" or other.base in _PLACES or other.quality:
        return True
    # "a hose sprays water" against "car horns honk"
    return other.noun and not other.verb


def _is_plural(part: Sequence[Token], i: int) -> bool:
    seen = part[i][1]
    return seen.form == "s" and (seen.plural or not _acts(part, i))


def _passive(part: Sequence[Token], i: int) -> bool:
    """"a dog is chased" is not "a dog chases"; with "by" the words already tell."""
    if part[i][1].form in ("ing", "s") or i == 0 or any(word == "by" for word, _ in part[i + 1 :]):
        return False
    k = i - 1
    while k > 0 and part[k][1].form == "ly":
        k -= 1
    return part[k][0] in _BE


def attached(group: Sequence[Chunk], *, free: bool, led_by_with: bool) -> list[Chunk]:
    """A doing without a subject joins the clause before it; bare things join the clause they begin.

    Args:
        group: chunks between two "while"s, in order.
        free: the moment has at most two chunks, so nothing can be mistaken: "laughs and a man speaks".
        led_by_with: "with a drum and a man singing": the first thing stands for itself.
    """
    out: list[Chunk] = []
    for i, new in enumerate(group):
        last = out[-1] if out else None
        if last is None:
            out.append(new)
        elif free and len(group) == 2 and _where(last) and new.kind in "CN":
            out[-1] = Chunk(new.words + last.words, new.kind)
        elif new.kind == "A":
            out[-1] = Chunk(last.words + new.words, last.kind)
        elif last.kind == "A":
            out[-1] = Chunk(new.words + last.words, new.kind)
        elif not free and new.kind == "V" and last.kind in "CV":
            out[-1] = Chunk((*last.words, "+", *new.words), last.kind)
        elif not free and new.kind == "C" and last.kind == "N" and not (led_by_with and i == 1):
            out[-1] = Chunk((*last.words, "+", *new.words), "C")
        else:
            out.append(new)
    return out


def _where(one: Chunk) -> bool:
    """Whether it only tells where: "in a cave, water drips" is "water drips in a cave"."""
    return one.kind == "N" and len(one.words) > 1 and one.words[0] in _WHERE
