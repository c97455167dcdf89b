"""Numbers in English words.

Owns: cardinals, ordinals, decimals, years, and how digits are read one by one.
Must not know: what the numbers stand for.
"""

from __future__ import annotations

__all__ = ["cardinal", "decimal", "digits", "ordinal", "year"]

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_LONGEST = 3 * len(_SCALES)
"""Digits of a number that has a name."""


def cardinal(digits_: str) -> str:
    """Return a whole number in words: "1,250" is "one thousand two hundred and fifty"; a long one by its digits."""
    plain = digits_.replace(",", "")
    if len(plain) > _LONGEST or (len(plain) > 1 and plain.startswith("0")):
        return digits(plain)
    value = int(plain)
    if value < 20:
        return _ONES[value]
    words: list[str] = []
    for scale, name in reversed(list(enumerate(_SCALES))):
        group = value // 1000**scale % 1000
        if group:
            last = scale == 0 and words and group < 100
            words += [*(["and"] if last else []), _below_thousand(group), *([name] if name else [])]
    return " ".join(words)


def ordinal(digits_: str) -> str:
    """Return the number of an order in words: "21" is "twenty first"."""
    words = cardinal(digits_).split()
    last = words[-1]
    if last in _ORDINALS:
        words[-1] = _ORDINALS[last]
    else:
        words[-1] = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join(words)


def decimal(whole: str, fraction: str) -> str:
    """Return a number with decimals in words: "3" and "14" are "three point one four"."""
    return f"{cardinal(whole or '0')} point {digits(fraction)}"


def year(digits_: str) -> str:
    """Return a year of four digits in words: "1984" is "nineteen eighty four"."""
    high, low = divmod(int(digits_), 100)
    if low == 0 and high % 10:
        return f"{_below_thousand(high)} hundred"
    if high % 10 == 0 and low < 10:  # 2000 to 2009
        return cardinal(digits_)
    spoken = f"oh {_ONES[low]}" if low < 10 else _below_thousand(low)
    return f"{_below_thousand(high)} {spoken}"


def digits(digits_: str) -> str:
    """Return each digit's word."""
    return " ".join(_ONES[int(one)] for one in digits_ if one.isdecimal())


def _below_thousand(value: int) -> str:
    words = []
    if value >= 100:
        words.append(f"{_ONES[value // 100]} hundred")
        value %= 100
        if value:
            words.append("and")
    if value >= 20:
        words.append(_TENS[value // 10 - 2])
        value %= 10
        if value:
            words.append(_ONES[value])
    elif value:
        words.append(_ONES[value])
    return " ".join(words)
