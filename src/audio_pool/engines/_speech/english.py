"""Written English as the words that are said: numbers, money, times, units, abbreviations, symbols, acronyms.

Owns: what each of them is read as.
Must not know: phonemes.
"""

from __future__ import annotations

import re
import unicodedata

from audio_pool.engines._speech.numerals import cardinal, decimal, digits, ordinal, year

__all__ = ["spoken", "spoken_titles"]

_TITLES = {
    "dr": "Doctor", "mr": "Mister", "mrs": "Missus", "ms": "Miz", "messrs": "Messieurs", "prof": "Professor",
    "rev": "Reverend", "hon": "Honorable", "sr": "Senior", "jr": "Junior", "gen": "General", "col": "Colonel",
    "capt": "Captain", "cpt": "Captain", "lt": "Lieutenant", "sgt": "Sergeant", "cmdr": "Commander", "gov": "Governor",
    "sen": "Senator", "rep": "Representative", "pres": "President", "maj": "Major", "mt": "Mount", "ft": "Fort",
}  # fmt: skip
"""With a capital, before a stop."""
_ABBREVIATIONS = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "viz.": "namely", "cf.": "compare",
    "approx.": "approximately", "inc.": "incorporated", "ltd.": "limited", "corp.": "corporation", "co.": "company",
    "dept.": "department", "est.": "established", "ave.": "avenue", "blvd.": "boulevard", "fig.": "figure",
    "vol.": "volume", "no.": "number", "nos.": "numbers", "p.": "page", "pp.": "pages", "ch.": "chapter",
    "sec.": "section", "min.": "minutes", "max.": "maximum", "bros.": "brothers", "ph.d.": "P H D",
    "jan.": "January", "feb.": "February", "mar.": "March", "apr.": "April", "jun.": "June", "jul.": "July",
    "aug.": "August", "sep.": "September", "sept.": "September", "oct.": "October", "nov.": "November",
    "dec.": "December",
}  # fmt: skip
_ONLY_BEFORE_NUMBERS = frozenset(("no.", "nos.", "p.", "pp.", "ch.", "sec.", "fig.", "vol.", "min.", "max."))
_ONLY_WITH_CAPITAL = frozenset((
    "jan.", "feb.", "mar.", "apr.", "jun.", "jul.", "aug.", "sep.", "sept.", "oct.", "nov.", "dec.", "co.", "est.",
    "inc.", "ltd.", "corp.",
))  # fmt: skip
_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "pence"), "€": ("euro", "cent"), "¥": ("yen", "")}
_UNITS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "g": "gram",
    "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce", "ml": "milliliter", "l": "liter", "ft": "foot",
    "mi": "mile", "mph": "mile per hour", "km/h": "kilometer per hour", "h": "hour", "hr": "hour", "hrs": "hour",
    "min": "minute", "s": "second", "sec": "second", "ms": "millisecond", "hz": "hertz", "khz": "kilohertz",
    "mhz": "megahertz", "ghz": "gigahertz", "kb": "kilobyte", "mb": "megabyte", "gb": "gigabyte", "tb": "terabyte",
    "w": "watt", "kw": "kilowatt", "v": "volt", "db": "decibel", "°": "degree", "°c": "degree Celsius",
    "°f": "degree Fahrenheit",
}  # fmt: skip
_HERTZ = [f"{scale}hertz" for scale in ("", "kilo", "mega", "giga")]
_PLURALS = {"foot": "feet", "yen": "yen", **dict(zip(_HERTZ, _HERTZ, strict=True))}
_SYMBOLS = {
    "&": "and", "@": "at", "+": "plus", "=": "equals", "%": "percent", "#": "number", "×": "times", "÷": "divided by",
    "±": "plus or minus", "°": "degrees", "§": "section", "©": "copyright", "½": "one half", "¼": "one quarter",
    "¾": "three quarters", "$": "dollars", "£": "pounds", "€": "euros", "¥": "yen",
    "<": "less than", ">": "greater than", "~": "about", "≈": "about",
}  # fmt: skip
_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
_UNIT = "|".join(sorted((re.escape(one) for one in _UNITS), key=len, reverse=True))
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "`": "'", "´": "'", "«": "“", "»": "”", "„": "“", "…": "...", "–": "—", "\u00ad": ""}
    # what is not seen is not said: zero widths and directions would part a word in two
    | dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", "")
    | dict.fromkeys("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "")
)


def spoken(text: str) -> str:
    """Return a sentence as words and marks: every digit and symbol is a word, abbreviations are written out.

    What is left are letters, apostrophes, hyphens within words, and the marks , . ; : ! ? — " ( ) and “”.
    """
    text = unicodedata.normalize("NFC", text).translate(_QUOTES).replace("...", "…")
    text = spoken_titles(text)
    text = re.sub(r"(?i)\bhttps?://", "", text)
    text = re.sub(r"(?i)\b(www\.)?[\w.+-]+@?[\w-]*\.(com|org|net|edu|gov|io|ai|co|uk|de)\b(/\S*)?", _address, text)
    text = re.sub(r"(?<![\w.])[A-Za-z][A-Za-z.]*\.(?=[\s,;:)\"”]|$)", _abbreviation, text)
    text = re.sub(r"\b(?:[A-Za-z]\.){2,}", lambda found: " ".join(found[0].upper().replace(".", " ").split()), text)
    text = re.sub(rf"([$£€¥])\s?({_NUMBER})(?:\.(\d+))?(?:\s((?:thous|milli|billi|trilli)(?:and|on))\b)?", _money, text)
    text = re.sub(r"\b(1[1-9]|20)(\d)0'?s\b", _decade, text)
    text = re.sub(r"(?<![\w-])(?:\d{3}-){1,2}\d{4}(?![\w-])", _telephone, text)
    text = re.sub(r"\b(\d{1,2}):(\d{2})(?::(\d{2}))?\b(?:\s?([AaPp])(?:\.[Mm]\.(?!\s*$)|\.?[Mm]\b))?", _time, text)
    text = re.sub(r"\b(\d{1,2})\s?([AaPp])(?:\.[Mm]\.(?!\s*$)|\.?[Mm]\b)", _hour, text)
    text = re.sub(rf"\b({_MONTHS}) (\d{{1,2}})(?:st|nd|rd|th)?\b", _date, text)
    text = re.sub(rf"(?<![\w.])({_NUMBER})(?:\.(\d+))?\s?({_UNIT})(?![\w°])", _measure, text, flags=re.I)
    text = re.sub(rf"({_NUMBER})(?:st|nd|rd|th)\b", lambda found: ordinal(found[1]), text)
    text = re.sub(r"(?<![\w.,])(?:1[1-9]\d\d|20\d\d)(?!\w|[.,]\d)", lambda found: year(found[0]), text)
    text = re.sub(r"(?<![\d/])([1-9])/([2-9])(?![\d/])", _fraction, text)
    text = re.sub(r"(?:(?<=\s)|^)[-−](?=\d)", "minus ", text)
    text = re.sub(r"(?<=\d)\s?[-—]\s?(?=\d)", " to ", text)
    text = re.sub(rf"({_NUMBER})?(?<!\d)\.(\d+)|({_NUMBER})\.(\d+)|({_NUMBER})", _number, text)
    text = re.sub("|".join(map(re.escape, _SYMBOLS)), lambda found: f" {_SYMBOLS[found[0]]} ", text)
    text = re.sub(r"\s*[/\\|_*^]+\s*", " ", text)
    return re.sub(r"\s+(?=[,.;:!?…)”])", "", " ".join(text.split()))


def spoken_titles(text: str) -> str:
    """Return a text with its titles written out: "Dr. Smith" is "Doctor Smith", and no sentence ends at the stop."""
    text = re.sub(r"\bSt\.(?=\s+[A-Z])", "Saint", text)
    return re.sub(
        r"\b([A-Z][a-z]{0,6})\.(?=\s+[A-Z])",
        lambda found: _TITLES.get(found[1].lower(), found[0]),
        text,
    )


def _abbreviation(found: re.Match[str]) -> str:
    word, rest = found[0], found.string[found.end() :]
    said = _ABBREVIATIONS.get(word.lower())
    if said is None:
        return word
    if word.lower() in _ONLY_BEFORE_NUMBERS and not re.match(r"\s*[\d#]", rest):
        return word
    if word.lower() in _ONLY_WITH_CAPITAL and not word[0].isupper():
        return word
    return said if rest.strip() else f"{said}."


def _address(found: re.Match[str]) -> str:
    plain = found[0].rstrip(".")
    said = plain.replace("@", " at ").replace(".", " dot ").replace("/", " slash ").replace("-", " dash ")
    return " ".join(said.replace("www", "W W W").split()) + "." * (len(found[0]) - len(plain))


def _money(found: re.Match[str]) -> str:
    unit, small = _MONEY[found[1]]
    if found[4]:
        amount = decimal(found[2], found[3]) if found[3] else cardinal(found[2])
        return f"{amount} {found[4]} {_plural(unit)}"
    one = found[2] == "1"
    whole = f"{cardinal(found[2])} {unit if one else _plural(unit)}"
    if not found[3] or not small or len(found[3]) != 2:
        return whole if not found[3] else f"{decimal(found[2], found[3])} {_plural(unit)}"
    if found[3] == "00":
        return whole
    cents = cardinal(str(int(found[3])))
    small = small if small == "pence" or found[3] == "01" else f"{small}s"
    return f"{cents} {small}" if found[2] == "0" else f"{whole} and {cents} {small}"


def _telephone(found: re.Match[str]) -> str:
    return ", ".join(digits(group) for group in found[0].split("-"))


def _time(found: re.Match[str]) -> str:
    hour, minute, second, half = int(found[1]), int(found[2]), found[3], found[4]
    if hour > 24 or minute > 59:
        return f"{cardinal(found[1])} to {cardinal(str(minute))}"
    said = cardinal(str(hour))
    if minute or second:
        said += f" oh {cardinal(str(minute))}" if minute < 10 else f" {cardinal(str(minute))}"
    elif not half:
        said += " o'clock" if 0 < hour <= 12 else " hundred hours"
    if second and int(second):
        said += f" and {cardinal(str(int(second)))} seconds"
    return f"{said} {half.upper()} M" if half else said


def _hour(found: re.Match[str]) -> str:
    return f"{cardinal(found[1])} {found[2].upper()} M"


def _date(found: re.Match[str]) -> str:
    return f"{found[1]} {ordinal(found[2])}"


def _measure(found: re.Match[str]) -> str:
    written, number = found[3], found[1] + (f".{found[2]}" if found[2] else "")
    amount = decimal(found[1], found[2]) if found[2] else cardinal(found[1])
    # "5 m" is metres, "5 M" may be anything; "1 s" is a second, "the 80 s" is not met here
    unit = _UNITS.get(written) or (_UNITS.get(written.lower()) if len(written) > 1 else None)
    if unit is None:
        return f"{amount} {written}"
    first, *rest = unit.split()
    return " ".join([amount, first if number == "1" else _plural(first), *rest])


def _decade(found: re.Match[str]) -> str:
    tens = {"0": "hundreds", "1": "tens", "2": "twenties", "3": "thirties", "4": "forties", "5": "fifties",
            "6": "sixties", "7": "seventies", "8": "eighties", "9": "nineties"}[found[2]]  # fmt: skip
    if found[1] == "20" and found[2] == "0":
        return "two thousands"
    return f"{cardinal(found[1])} {tens}"


def _fraction(found: re.Match[str]) -> str:
    below = {"2": "half", "4": "quarter"}.get(found[2]) or ordinal(found[2])
    if found[1] == "1":
        return f"one {below}"
    return f"{cardinal(found[1])} {'halves' if below == 'half' else below + 's'}"


def _number(found: re.Match[str]) -> str:
    if found[2] is not None:
        return f" {decimal('0', found[2])} "
    if found[4] is not None:
        return f" {decimal(found[3], found[4])} "
    plain = found[5]
    return f" {digits(plain) if len(plain) > 1 and plain.startswith('0') else cardinal(plain)} "


def _plural(unit: str) -> str:
    return _PLURALS.get(unit, f"{unit}s")
