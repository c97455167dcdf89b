"""Inverted order: a place, or what is done there, that is said before who does it.

Owns: ``doer_first``, ``place_last``.
Must not know: the rest of the grammar (grammar.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_pool.prompts.conjunctions import COMMA, MARKS
from audio_pool.prompts.function_words import DETERMINERS, LEADING, PREPOSITIONS
from audio_pool.prompts.lexicon import ARTICLES, Token

__all__ = ["doer_first", "place_last"]

_COMING = frozenset(["come", "emerge"])
_HOW_FAR = frozenset(["away", "deep", "far", "high", "just", "low", "right", "somewhere", "way"])
"""What may lead a place: "high above the village", "somewhere in a forest"."""


def doer_first(moment: Sequence[Token]) -> Sequence[Token]:
    """Rewrite "howling on a hill, a wolf" and "a wolf, howling on a hill" as "a wolf howling on a hill".

    Only where that is all: in a longer list each may be heard by itself.
    """
    marks = [i for i, (word, _) in enumerate(moment) if word in MARKS]
    if len(marks) != 1 or moment[marks[0]][0] != COMMA:
        return moment
    first, second = moment[: marks[0]], moment[marks[0] + 1 :]
    if _done_somewhere(first) and _names_a_thing(second):
        return [*second, *first]
    return [*first, *second] if _names_a_thing(first) and _done_somewhere(second) else moment


def _done_somewhere(part: Sequence[Token]) -> bool:
    """Return whether a part says what is done, and where, but not by whom: "howling on a hill"."""
    led = 2 if len(part) > 1 and part[1][1].form == "ly" else 1
    return len(part) > led + 1 and part[0][1].form == "ing" and part[led][0] in LEADING


def _names_a_thing(part: Sequence[Token]) -> bool:
    """Return whether a part names one kind of thing and no more: "an old wolf", "wolves"."""
    if not part:
        return False
    *before, (_, last) = part
    if last.quality or last.form not in ("", "s") or (last.verb and not last.noun):
        return False
    if not before:
        return last.form == "s" and not last.verb
    led = before[0][0] in DETERMINERS or before[0][0].isdigit() or (last.form == "s" and not last.verb)
    return led and all(word in DETERMINERS or not seen.form for word, seen in before[1:] or before)


def place_last(part: Sequence[Token]) -> Sequence[Token]:
    """Rewrite "on a roof the rain drums" as "the rain drums on a roof", "from a hut comes a cry" likewise.

    Where nothing shows which noun the place ends with ("in a train station people talk"), the order is kept.
    """
    lead = 1 if len(part) > 1 and part[0][0] in _HOW_FAR else 0
    if len(part) < 4 + lead or part[lead][0] not in LEADING:
        return part
    start = lead + 2 if part[lead + 1][0] in ARTICLES else lead + 1
    at = next((i for i in range(start + 1, len(part)) if _determines(part, i)), 0)
    if at:
        place, rest = part[:at], part[at:]
        if _ends_with_doing(place[lead:], rest):
            # "comes a cry"
            end = next((i for i in range(1, len(rest)) if rest[i][0] in PREPOSITIONS), len(rest))
            return [*rest[:end], place[-1], *rest[end:], *place[:-1]]
        return [*rest, *place] if any(seen.noun for _, seen in place) else part
    come = next((i for i in range(start + 1, len(part) - 1) if part[i][1].base in _COMING), 0)
    if come:
        return [*part[come + 1 :], part[come], *part[:come]]
    nouns = start
    while nouns < len(part) and part[nouns][1].quality:
        nouns += 1
    verb = next((i for i in range(nouns, len(part)) if not _names(part, i)), len(part))
    if verb == nouns + 2 and verb < len(part) and part[verb][1].verb:
        return [*part[nouns + 1 :], *part[: nouns + 1]]
    if verb == len(part) - 2 > nouns and _done_by_many(part[verb:]):
        return [part[-1], part[verb], *part[:verb]]
    return part


def _ends_with_doing(place: Sequence[Token], rest: Sequence[Token]) -> bool:
    """Return whether the last word of a place is what is done there: "from a hut comes", "in a cellar creaks"."""
    if len(place) < 3:
        return False
    _, seen = place[-1]
    if seen.form not in ("s", "ed") or seen.plural:
        return False
    # a verb that no list has: the place has a name without it, and nothing else is done
    named = any(word not in ARTICLES and not thing.quality for word, thing in place[1:-1])
    return seen.verb or (named and not seen.noun and not any(doing.verb and doing.form for _, doing in rest))


def _done_by_many(end: Sequence[Token]) -> bool:
    """Return whether two words are a verb and a bare plural that does it: "in a barn screech owls"."""
    (_, doing), (_, doer) = end
    return doing.verb and not doing.noun and not doing.form and doer.plural


def _determines(part: Sequence[Token], i: int) -> bool:
    word, before = part[i][0], part[i - 1][0]
    led = before not in PREPOSITIONS and before != "of" and before not in DETERMINERS
    return word in DETERMINERS and led


def _names(part: Sequence[Token], i: int) -> bool:
    seen = part[i][1]
    return seen.noun and (not seen.verb or not seen.form) and seen.form != "ing"
