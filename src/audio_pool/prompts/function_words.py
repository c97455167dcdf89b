"""English words that tie the others together: prepositions, pronouns, auxiliaries, negations, quantities.

Owns: the lists.
Must not know: how prompts are parsed.
"""

from __future__ import annotations

from audio_pool.prompts.lexicon import ARTICLES

__all__ = [
    "AUXILIARIES", "BE", "DETERMINERS", "DROPPED", "FUNCTION_WORDS", "LEADING", "NEGATIONS", "OWNERS", "PLACES",
    "PREPOSITIONS", "PRONOUNS", "QUANTITIES", "WHERE",
]  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


OWNERS = _words("his her its their")
NEGATIONS = _words("no not without never none nothing nobody neither nor nowhere hardly barely")
QUANTITIES = _words("many several couple dozen twice thrice once both every each more most all another half single")
BE = _words("is are was were be been being am")
AUXILIARIES = BE | _words("has have had having do does did will would shall should may might must")
DROPPED = ARTICLES | AUXILIARIES | _words("of that which who just some there")
PRONOUNS = _words("it he she this that which who")
PREPOSITIONS = _words(
    "in on at by to from into onto off up down out over under through across against around along near "
    "behind between beside among inside outside like for about above below during towards toward past "
    "away back upon within throughout until underneath beyond aboard"
)
WHERE = _words(
    "in on at near inside under over beside behind through across along around among within underneath "
    "from to into onto beyond aboard"
)
LEADING = (
    WHERE | _words("by above below beneath down up off outside past toward between against throughout")
) - _words("to")
DETERMINERS = ARTICLES | OWNERS | QUANTITIES | _words("some this that these those")
PLACES = _words("background foreground nearby outside inside overhead distant")
FUNCTION_WORDS = ARTICLES | AUXILIARIES | DROPPED | PRONOUNS | PREPOSITIONS | NEGATIONS | QUANTITIES
"""English articles, auxiliaries, pronouns, prepositions, negations and quantities."""
