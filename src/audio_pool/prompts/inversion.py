"""Inverted order: a place that is said before what happens there.

Owns: ``place_last``.
Must not know: the rest of the grammar (grammar.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_pool.prompts.function_words import DETERMINERS, LEADING, PREPOSITIONS
from audio_pool.prompts.lexicon import ARTICLES, Token

__all__ = ["place_last"]

_COMING = frozenset(["come", "emerge"])


def place_last(part: Sequence[Token]) -> Sequence[Token]:
    """Rewrite "on a roof the rain drums" as "the rain drums on a roof", "from a hut comes a cry" likewise.

    Where nothing shows which noun the place ends with ("in a train station people talk"), the order is kept.
    """
    if len(part) < 4 or part[0][0] not in LEADING:
        return part
    start = 2 if part[1][0] in ARTICLES else 1
    at = next((i for i in range(start + 1, len(part)) if _determines(part, i)), 0)
    if at:
        place, rest = part[:at], part[at:]
        if len(place) > 2 and place[-1][1].verb and place[-1][1].form in ("s", "ed") and not place[-1][1].plural:
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
    return part


def _determines(part: Sequence[Token], i: int) -> bool:
    word, before = part[i][0], part[i - 1][0]
    led = before not in PREPOSITIONS and before != "of" and before not in DETERMINERS
    return word in DETERMINERS and led


def _names(part: Sequence[Token], i: int) -> bool:
    seen = part[i][1]
    return seen.noun and (not seen.verb or not seen.form) and seen.form != "ing"
