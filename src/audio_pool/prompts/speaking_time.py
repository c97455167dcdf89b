"""How long a text takes to say, by its letters: a guess for whoever has to plan before it is said.

Owns: seconds_to_say.
Must not know: any voice, any engine.
"""

from __future__ import annotations

import re

__all__ = ["seconds_to_say"]

_LETTERS_PER_S = 15.0
"""Of unhurried English, spaces among them."""
_SYLLABLES_PER_S = 4.5
"""Of scripts that write a syllable or a word by one sign: Chinese, Japanese, Korean."""
_SIGNS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_DIGITS_PER_S = 4.0


def seconds_to_say(text: str, speed: float = 1.0) -> float:
    """Return about how many seconds a text takes at a speed."""
    signs = len(_SIGNS.findall(text))
    digits = sum(one.isdigit() for one in text)
    letters = len(text.strip()) - signs - digits
    return (letters / _LETTERS_PER_S + signs / _SYLLABLES_PER_S + digits / _DIGITS_PER_S) / speed
