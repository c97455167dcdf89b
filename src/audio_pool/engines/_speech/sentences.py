"""A text into the pieces that a voice says one at a time.

Owns: where a sentence ends (abbreviations, initials, decimals, quotes, ellipses, stops of other scripts), where a long
one may be cut, and how long the silence after each piece is.
Must not know: phonemes, any single engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

__all__ = ["Ending", "Sentence", "split"]

Ending = Literal["clause", "sentence", "trailing", "paragraph"]
"""What comes after a piece: more of its sentence, the next one, the next one after an ellipsis, another paragraph."""

LONGEST = 300
"""Characters of a piece: about twenty seconds, after which a cancel is heeded at the latest."""

_TITLES = {
    "en": "dr mr mrs ms mx prof rev hon fr sr st gen col maj capt cpt lt sgt cmdr gov sen rep pres messrs mt ft "
    "vs viz e.g i.e cf approx ca dept est ave blvd rd",
    "de": "dr hr fr prof dipl ing st str z.b d.h u.a s.o s.u vgl bzw ca evtl ggf inkl hrsg",
    "fr": "m mm mme mlle dr pr st ste p.ex cf c.-à-d",
    "es": "sr sra srta dr dra d dª ud uds p.ej",
    "it": "sig sig.ra dott dr prof ing avv s p.es",
    "pt": "sr sra dr dra prof eng d p.ex",
    "nl": "dhr mevr mw dr prof ir ing st bijv d.w.z m.a.w",
}
"""Abbreviations after which the sentence goes on, whatever follows: what they stand before belongs to them."""
_BEFORE_NUMBERS = {
    "en": "no nos vol fig eq sec ch p pp art",
    "de": "nr abs art bd kap s",
    "fr": "n no vol p art av bd",
    "es": "núm pág vol art av",
    "it": "n pag vol art",
    "pt": "n pág vol art",
    "nl": "nr blz art",
}
"""Abbreviations after which the sentence goes on where a number follows; elsewhere most of them are words: "no."."""
_ENDERS = {
    "en": "etc jr inc ltd co corp bros a.m p.m esq ph.d m.d b.a m.a jan feb mar apr jun jul aug sep sept oct nov dec "
    "mon tue wed thu fri sat sun oz lb lbs in min max",
    "de": "usw usf etc jh chr uhr",
    "fr": "etc",
    "es": "etc",
    "it": "ecc",
    "pt": "etc",
    "nl": "enz etc",
}
"""Abbreviations that may end a sentence: they do where a capital follows."""
_OPENERS = frozenset((
    "the", "a", "an", "he", "she", "it", "we", "they", "you", "i", "in", "on", "at", "but", "and", "so", "this",
    "that", "these", "those", "there", "if", "when", "while", "as", "my", "our", "his", "her", "their", "what",
    "who", "why", "how", "no", "yes", "then", "now", "please",
))  # fmt: skip
"""Words that begin a sentence after an acronym's stop: "in the U.S. They..." against "the U.S. Army"."""
_ORDINALS = frozenset(("de", "da", "nb", "no", "nn", "cs", "sk", "fi", "hu", "pl", "sl", "hr", "sr", "et", "lv", "is"))
"""Languages that write "3." for third."""
_CLOSING = "\"'”’»›)]}」』）】》"
_STOP = re.compile(
    rf"(?P<wide>[。！？｡।॥۔؟።]+)(?:[{re.escape(_CLOSING)}]+(?![\u3041-\u309f])|(?![{re.escape(_CLOSING)}]))"
    rf"|(?P<mark>[.!?…‼⁇⁈⁉]+)(?P<closed>[{re.escape(_CLOSING)}]*)(?=\s|$)"
)
_WORD_BEFORE = re.compile(r"[^\s(\[{\"'“‘«]+\Z")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_CUTS = (re.compile(r"[;:—–；：]\s*"), re.compile(r"[,，、،]\s*"), re.compile(r"\s+"))
"""Where a sentence that is too long is cut, the best places first."""


class Sentence(Struct, frozen=True, kw_only=True):
    """A piece of text that is said in one breath."""

    text: str
    ends: Ending


def split(text: str, language: str = "en", *, longest: int = LONGEST) -> list[Sentence]:
    """Return the pieces of a text in order: all of its words, none of them empty.

    Args:
        language: BCP 47; what it begins with chooses the abbreviations.
        longest: characters of a piece; longer sentences are cut, at a comma where there is one.
    """
    family = re.split("[-_]", language.lower())[0] or "en"
    pieces: list[Sentence] = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")):
        begun = len(pieces)
        for sentence in _sentences(" ".join(paragraph.split()), family):
            parts = list(_cut(sentence, longest))
            pieces += [Sentence(text=part, ends="clause") for part in parts[:-1]]
            trailing = re.search(r"(?:…|\.\.)[^\w]*\Z", sentence) is not None
            pieces += [Sentence(text=part, ends="trailing" if trailing else "sentence") for part in parts[-1:]]
        if len(pieces) > begun:
            pieces[-1] = Sentence(text=pieces[-1].text, ends="paragraph")
    return pieces


def _sentences(text: str, family: str) -> Iterator[str]:
    start = 0
    for stop in _STOP.finditer(text):
        before, after = text[start : stop.start()], text[stop.end() :].lstrip()
        if stop["wide"] is None and after and not _ends(before, stop["mark"], stop["closed"], after, family):
            continue
        sentence = text[start : stop.end()].strip()
        start = stop.end()
        if sentence:
            yield sentence
    if text[start:].strip():
        yield text[start:].strip()


def _ends(before: str, mark: str, closed: str, after: str, family: str) -> bool:
    """Return True where a stop between two words ends its sentence."""
    following = after.lstrip("\"'“‘«‹([{¿¡-–—• ")
    goes_on = following[:1].islower()
    if mark.startswith(("…", "..")):
        return not goes_on
    if mark != ".":
        return not (goes_on and closed)  # "Stop!" he said.
    found = _WORD_BEFORE.search(before)
    word = found[0].lower() if found else ""
    if word in _listed(_TITLES, family):
        return False
    if word in _listed(_BEFORE_NUMBERS, family) and following[:1].isdigit():
        return False
    if word in _listed(_ENDERS, family):
        return not goes_on and not following[:1].isdigit()
    if word.isdigit() and len(word) <= 3:
        numbered = before.strip() == word  # "1. First of all"
        return not numbered and not (family in _ORDINALS and len(word) <= 2)
    if re.match(r"[^\W\d_]\.", following) and found and len(found[0]) == 1:
        return False  # "z. B.", "J. R. R. Tolkien"
    if found and _INITIALS.fullmatch(found[0]) and (len(word) > 1 or found[0].isupper()):
        first = re.split(r"\W", following, maxsplit=1)[0].lower()
        return not goes_on and (first in _OPENERS and (len(word) > 1 or first != "i"))
    return not goes_on


def _listed(table: dict[str, str], family: str) -> frozenset[str]:
    return frozenset(table.get(family, table["en"]).split())


def _cut(sentence: str, longest: int) -> Iterator[str]:
    """Yield a sentence in pieces of at most ``longest`` characters, all about as long as each other."""
    while len(sentence) > longest:
        count = -(-len(sentence) // longest)
        aim, least = min(longest, len(sentence) // count + longest // 8), longest // 3
        places = [match.end() for match in _CUTS[0].finditer(sentence, least, aim)]
        for finer in _CUTS[1:]:
            places = places or [match.end() for match in finer.finditer(sentence, least, aim)]
        end = places[-1] if places else aim
        yield sentence[:end].strip()
        sentence = sentence[end:].strip()
    if sentence:
        yield sentence
