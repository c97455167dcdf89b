"""What the words of a prompt say of the sound before it is heard: that it is low, that it is noise.

Owns: the two lists, which are all the words that mastering looks for.
Must not know: sounds, engines, what follows from it.
"""

from __future__ import annotations

import re

__all__ = ["names_low_sound", "names_noise"]

LOW = frozenset({
    "kick", "drum", "tom", "timpani", "taiko", "bass", "subwoofer", "sub", "thunder", "explosion", "blast",
    "bomb", "cannon", "heartbeat", "earthquake", "rumble", "avalanche", "boom", "impact", "stomp", "thud",
})  # fmt: skip
"""Sounds that live below 80 Hz."""

NOISE = frozenset({
    "noise", "hiss", "static", "wind", "rain", "spray", "steam", "waterfall", "surf", "wave", "ocean", "sea",
    "fan", "shower", "vacuum", "sizzle", "sizzl", "frying", "fry", "kettle", "snow", "storm", "blizzard",
    "breath", "applause", "stream", "river", "ventilation", "dryer", "cicada", "radio", "spaceship", "jet",
    "leaves",
})  # fmt: skip
"""Sounds that are broadband noise by nature."""

_WORDS = re.compile(r"[a-z]+")
_NOT = frozenset({"no", "not", "without", "never"})


def names_low_sound(prompt: str) -> bool:
    """Return whether a word names a sound that lives below 80 Hz."""
    return _names(prompt, LOW)


def names_noise(prompt: str) -> bool:
    """Return whether a word names a sound that is noise by nature."""
    return _names(prompt, NOISE)


def _names(prompt: str, words: frozenset[str]) -> bool:
    before = ""
    for word in _WORDS.findall(prompt.lower()):
        forms = {word, word.removesuffix("s"), word.removesuffix("y"), word.removesuffix("ing")}
        if forms & words and before not in _NOT:
            return True
        before = word
    return False
