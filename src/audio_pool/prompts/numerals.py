"""Numbers in words: "one hundred and twenty" is 120, "a pair of drums" are 2.

Owns: ``in_digits``.
Must not know: what the numbers count.
"""

from __future__ import annotations

import re

from audio_pool.prompts.lexicon import NUMBERS

__all__ = ["in_digits"]

_UNITS = {name: int(value) for name, value in NUMBERS.items() if 0 < int(value) < 10}
_TENS = {name: int(value) for name, value in NUMBERS.items() if 20 <= int(value) < 100}
_SCALES = {"hundred": 100, "thousand": 1000}
_SMALL = {name: int(value) for name, value in NUMBERS.items() if int(value) < 100}
_TELLING = frozenset([*_SMALL, *_SCALES, "pair", "couple", "half", "dozen"])
"""Without one of these there is nothing to do."""
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+")
_TWOS = frozenset(["pair", "couple"])
_ONE_THING = frozenset(
    """scissors shears pliers tongs pants jeans trousers shorts tights headphones earphones glasses goggles sunglasses
    tweezers binoculars clippers""".split()  # noqa: SIM905
)
"""A pair of these is one."""


def in_digits(words: list[str]) -> list[str]:
    """Return the words with every number in digits."""
    if _TELLING.isdisjoint(words) and not any("," in word and len(word) > 1 for word in words):
        return words
    out: list[str] = []
    i = 0
    while i < len(words):
        word = words[i]
        if word in _TWOS and words[i + 1 : i + 2] == ["of"]:
            out += [] if not _ONE_THING.isdisjoint(words[i + 2 : i + 5]) else ["2"]
            i += 2
        elif word == "half" and words[i + 1 : i + 3] == ["a", "dozen"]:
            out.append("6")
            i += 4 if words[i + 3 : i + 4] == ["of"] else 3
        elif word == "dozen":
            many = int(out.pop()) if out and out[-1].isdigit() else 1
            out.append(str(12 * many))
            i += 2 if words[i + 1 : i + 2] == ["of"] else 1
        else:
            value, end = _number(words, i)
            grouped = end == i and _GROUPED.fullmatch(word)
            out.append(str(value) if end > i else word.replace(",", "") if grouped else word)
            i = max(end, i + 1)
    return out


def _number(words: list[str], start: int) -> tuple[int, int]:
    """Read the number that begins at ``start``; return its value and where it ends (``start`` where none does)."""
    value, i = _below_hundred(words, start)
    if i == start and words[start] not in _SCALES:
        if not (words[start].isdigit() and len(words) > start + 1 and words[start + 1] in _SCALES):
            return 0, start
        value, i = int(words[start]), start + 1
    total = 0
    for scale in ("thousand", "hundred"):
        if i < len(words) and words[i] == scale:
            total += (value if i > start else 1) * _SCALES[scale]
            joint = i + 2 if words[i + 1 : i + 2] == ["and"] else i + 1
            value, end = _below_hundred(words, joint)
            i = end if end > joint else i + 1
    return total + value, i


def _below_hundred(words: list[str], start: int) -> tuple[int, int]:
    if start >= len(words) or words[start] not in _SMALL:
        return 0, start
    value = _SMALL[words[start]]
    if words[start] in _TENS and start + 1 < len(words) and words[start + 1] in _UNITS:
        return value + _UNITS[words[start + 1]], start + 2
    return value, start + 1
