"""English words as phonemes, from a dictionary; by their parts and by rules where it has no such word.

Owns: which entry of the dictionary a word is, how endings, possessives, compounds, acronyms and unknown words are
spoken, and how words are joined: stress, "the" before a vowel.
Must not know: any model, where dictionaries lie.

The dictionaries are those of the package misaki (Apache-2.0): JSON, word -> phonemes, or -> phonemes by part of speech
with a DEFAULT. A phoneme is one character; a stress mark stands before its vowel.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from audio_pool.engines._speech.english import spoken
from audio_pool.errors import EngineUnavailable

__all__ = ["Pronouncer"]

_Entry = str | Mapping[str, str | None]
_VOWELS = frozenset("AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻᵊ")
_PRIMARY, _SECONDARY = "ˈ", "ˌ"
_CONTEXTS = ((4, 4), (3, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0))
"""Neighbours of a letter, longest first: the order in which its rules are looked for."""
_TOKEN = re.compile(r"(?P<word>[^\W\d_]+(?:['-][^\W\d_]+)*'?)|(?P<mark>[;:,.!?—…\"()“”]|--)|(?P<space>\s+)")
_WEAK = {"a": "ɐ", "an": "ɐn", "the": "ðə", "to": "tə", "am": "ɐm", "and": "ænd"}
"""Of words that are not stressed within a sentence."""
_AUXILIARIES = frozenset((
    "to", "will", "would", "can", "could", "may", "might", "must", "shall", "should", "do", "does", "did", "don't",
    "doesn't", "didn't", "won't", "can't", "i", "you", "we", "they", "let's", "please",
))  # fmt: skip
"""Words before a verb."""
_DETERMINERS = frozenset((
    "the", "a", "an", "my", "your", "his", "her", "its", "our", "their", "this", "that", "these", "those", "some",
    "any", "no", "every", "each", "of", "in", "on", "with", "for",
))  # fmt: skip
"""Words before a noun."""
_PLAIN = {"a": "æ", "e": "ɛ", "i": "ɪ", "o": "ɔ", "u": "ʌ", "y": "ɪ"}
"""Of a vowel that the rules leave out, where no other is left."""
_LETTERS_OF = re.compile(r"[A-Z]{2,5}")
_SPELLED = frozenset(("US", "IT", "ID", "AI", "PR", "HR", "ER", "TA", "PA", "MA", "LA", "AD", "UN"))
"""Acronyms whose small letters are a word."""
_HUMPS = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z']+")
"""Of a name in humps: "Chat" and "GPT"."""


class Pronouncer:
    """The words of one kind of English."""

    def __init__(self, dictionaries: Sequence[Path], rules: Path, *, british: bool) -> None:
        """
        Args:
            dictionaries: the best first.
            rules: letter-to-sound rules, as scripts/letter_rules.py writes them.

        Raises:
            EngineUnavailable: a file is missing, or not what it should be.
        """
        self._british = british
        self._known: dict[str, _Entry] = {}
        for file in reversed(dictionaries):
            self._known.update(_read(file))
        self._rules = dict(line.split(" ", 1) for line in rules.read_text("utf-8").splitlines())

    def phonemes(self, text: str) -> str:
        """Return what a sentence is spoken as: words of phonemes between spaces, with the marks that stay."""
        written = spoken(text)
        tokens = list(_tokens(written.lower() if self._shouts(written) else written))
        said: list[str] = []
        following = ""  # the phonemes of the word behind, "" at a mark or the end
        for place in range(len(tokens) - 1, -1, -1):
            kind, token = tokens[place]
            if kind == "word":
                before = next((word.lower() for kind_, word in reversed(tokens[:place]) if kind_ == "word"), "")
                following = self._in_place(token, before, following)
                said.append(following)
            elif kind == "mark":
                following = ""
                said.append("—" if token == "--" else token)
            else:
                said.append(" ")
        return "".join(reversed(said)).strip()

    def word(self, word: str) -> str:
        """Return a word's phonemes as it is spoken by itself."""
        return self._word(word, "DEFAULT")

    def _shouts(self, text: str) -> bool:
        """Return True for a sentence in capitals whose words are words, not acronyms."""
        words = re.findall(r"[^\W\d_]+", text)
        return text == text.upper() and any(len(word) > 3 and word.lower() in self._known for word in words)

    # -- in a sentence -----------------------------------------------------------------------------

    def _in_place(self, word: str, before: str, following: str) -> str:
        lower = word.lower()
        vowel_follows = following.lstrip(_PRIMARY + _SECONDARY)[:1] in _VOWELS if following else None
        if lower == "the" and vowel_follows is not None:
            return "ði" if vowel_follows else "ðə"
        if lower == "to" and vowel_follows is not None:
            return "tʊ" if vowel_follows else "tə"
        if lower == "a" and word != "A" and vowel_follows is not None:
            return "ɐ"
        if word == "A" and following and not before:
            return "ɐ"  # the article that begins a sentence; elsewhere it is the letter
        if lower in ("an", "am") and vowel_follows is not None and not word.isupper():
            return _WEAK[lower]
        if lower == "used" and following.startswith("t") and len(following) == 2:
            return self._word(word, "VBD")
        if before in _AUXILIARIES:
            return self._word(word, "VERB")
        if before in _DETERMINERS:
            return self._word(word, "NOUN")
        return self._word(word, "DEFAULT")

    # -- one word ----------------------------------------------------------------------------------

    def _word(self, word: str, part: str) -> str:
        found = self._looked_up(word, part)
        if found is not None:
            return found
        if "-" in word:
            return " ".join(self._word(one, "DEFAULT") for one in word.split("-") if one)
        if word.endswith("'"):
            return self._word(word[:-1], part)
        humps = _HUMPS.findall(word)
        if len(humps) > 1:  # "TensorFlow", "ChatGPT"
            return " ".join(self._word(hump, "DEFAULT") for hump in humps)
        plain = word.lower()
        return self._letters(word) if _is_acronym(word) else self._inflected(plain, part) or self._unknown(plain)

    def _looked_up(self, word: str, part: str) -> str | None:
        """Return the dictionary's phonemes for a word, however it is capitalised."""
        if word in _SPELLED:
            return None
        for form in (word, word.lower(), word.capitalize(), _bare(word)):
            entry = self._known.get(form)
            if entry is not None:
                return entry if isinstance(entry, str) else entry.get(part) or entry.get("DEFAULT")
        return None

    def _letters(self, word: str) -> str:
        """Return an acronym as its letters, the last one stressed; a longer one as a word where it can be one."""
        if len(word) >= 4 and re.search("[AEIOU]", word[1:-1]) and self._inflected(word.lower(), "DEFAULT"):
            return self._inflected(word.lower(), "DEFAULT") or ""
        names = [str(self._known.get(letter) or "") for letter in word.upper()]
        known = [name for name in names if name]
        if not known:  # a dictionary without the letters' names
            return self._unknown(word.lower())
        *others, last = known
        return "".join([*(name.replace(_PRIMARY, _SECONDARY) for name in others), last])

    def _inflected(self, word: str, part: str) -> str | None:
        """Return a word made of one that is known and an ending, a prefix or another one; None where it is not."""
        for ending, spoken_ending in (("'s", self._s), ("s", self._s), ("ed", self._ed), ("ing", self._ing)):
            if word.endswith(ending) and len(word) > len(ending) + 2:
                for stem in _stems(word, ending):
                    said = self._looked_up(stem, part)
                    if said:
                        return spoken_ending(said)
        for ending, phones in (("ly", "li"), ("ness", "nəs"), ("less", "ləs"), ("ful", "fəl"), ("ish", "ɪʃ"),
                               ("er", "ə" if self._british else "əɹ"), ("like", "lˌIk")):  # fmt: skip
            if word.endswith(ending) and len(word) > len(ending) + 3:
                for stem in _stems(word, ending):
                    said = self._looked_up(stem, part)
                    if said:
                        return said + phones
        for prefix, phones in (("un", "ˌʌn"), ("re", "ɹˌi"), ("non", "nˌɑn"), ("anti", "ˌænti"), ("over", "ˌOvəɹ"),
                               ("under", "ˌʌndəɹ"), ("super", "sˌupəɹ"), ("multi", "mˌʌlti")):  # fmt: skip
            if word.startswith(prefix) and len(word) > len(prefix) + 3:
                said = self._looked_up(word[len(prefix) :], part)
                if said:
                    return (_in_british(phones) if self._british else phones) + said
        return self._compound(word)

    def _compound(self, word: str) -> str | None:
        """Return two known words that make up this one, the second less stressed."""
        for place in range(len(word) - 3, 2, -1):
            first, second = self._looked_up(word[:place], "NOUN"), self._looked_up(word[place:], "NOUN")
            if first and second:
                return first + second.replace(_PRIMARY, _SECONDARY)
        return None

    def _unknown(self, word: str) -> str:
        """Return a word's phonemes by the rules for its letters, stressed once."""
        bare = _bare(word)
        padded = f"####{bare}####"
        shares = [self._letter(padded, place + 4) for place in range(len(bare))]
        if not any(one in _VOWELS for one in "".join(shares)):
            place = next((place for place, letter in enumerate(bare) if letter in _PLAIN), -1)
            if place >= 0:
                shares[place] = _PLAIN[bare[place]]
        return _stressed("".join(shares))

    def _letter(self, padded: str, at: int) -> str:
        for left, right in _CONTEXTS:
            found = self._rules.get(f"{padded[at - left : at]}({padded[at]}){padded[at + 1 : at + 1 + right]}")
            if found is not None:
                return found
        return ""

    # -- endings -----------------------------------------------------------------------------------

    def _s(self, stem: str) -> str:
        if stem[-1] in "ptkfθ":
            return f"{stem}s"
        if stem[-1] in "szʃʒʧʤ":
            return f"{stem}{'ɪ' if self._british else 'ᵻ'}z"
        return f"{stem}z"

    def _ed(self, stem: str) -> str:
        if stem[-1] in "pkfθʃsʧ":
            return f"{stem}t"
        if stem[-1] in "td":
            flapped = not self._british and stem[-1] == "t" and stem[-2:-1] in _VOWELS
            return f"{stem[:-1] + 'ɾ' if flapped else stem}{'ɪ' if self._british else 'ᵻ'}d"
        return f"{stem}d"

    def _ing(self, stem: str) -> str:
        if not self._british and stem[-1] == "t" and stem[-2:-1] in _VOWELS:
            return f"{stem[:-1]}ɾɪŋ"
        return f"{stem}ɹɪŋ" if self._british and stem[-1] in "əː" else f"{stem}ɪŋ"


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield words, marks and spaces in order; characters that are none of these are left out."""
    for found in _TOKEN.finditer(text):
        yield str(found.lastgroup), found[0]


def _bare(word: str) -> str:
    """Return a word's letters without their accents, small."""
    return "".join(one for one in unicodedata.normalize("NFD", word.lower()) if "a" <= one <= "z" or one in "'-")


def _is_acronym(word: str) -> bool:
    return _LETTERS_OF.fullmatch(word) is not None


def _stems(word: str, ending: str) -> Iterator[str]:
    """Yield the words that this one may be with the ending taken off: "hop", "hope" and "hopp" of "hopping"."""
    stem = word[: -len(ending)]
    yield stem
    if ending in ("ed", "ing", "er", "ish"):
        yield f"{stem}e"
        if len(stem) > 2 and stem[-1] == stem[-2]:
            yield stem[:-1]
    if stem.endswith("i"):
        yield f"{stem[:-1]}y"
    if ending == "s" and stem.endswith("e"):
        yield stem[:-1]
        if stem.endswith("ie"):
            yield f"{stem[:-2]}y"
    if ending == "ly" and stem.endswith("b"):
        yield f"{stem}le"


def _stressed(said: str) -> str:
    """Return phonemes with one primary stress: the first that there is, else before the first full vowel."""
    first = said.find(_PRIMARY)
    if first >= 0:
        return said[: first + 1] + said[first + 1 :].replace(_PRIMARY, _SECONDARY)
    if _SECONDARY in said:
        return said.replace(_SECONDARY, _PRIMARY, 1)
    full = next((at for at, phone in enumerate(said) if phone in _VOWELS - {"ə", "ᵊ", "ᵻ"}), None)
    return said if full is None else f"{said[:full]}{_PRIMARY}{said[full:]}"


def _in_british(phones: str) -> str:
    return phones.replace("O", "Q").replace("æ", "a").replace("ɑ", "ɒ").removesuffix("ɹ").replace("ɹˌi", "ɹˌiː")


def _read(file: Path) -> dict[str, _Entry]:
    try:
        read = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise EngineUnavailable(f"{file} is no pronouncing dictionary: {exc}") from exc
    if not isinstance(read, dict) or not all(isinstance(one, str | dict) for one in read.values()):
        raise EngineUnavailable(f"{file} is no pronouncing dictionary: a JSON object of word to phonemes was expected")
    return read
