"""A scene, and how an engine is told of one: place, time and mood in the words that this engine understands.

Owns: Scene, Wording (an engine's own adapter, part of its EngineInfo) and ``told``.
Must not know: any single engine, presets, requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from audio_pool.types import Label

__all__ = ["ASPECTS", "Aspect", "Phrase", "Scene", "Told", "Wording", "told", "wording_of"]

Aspect = Literal["weather", "time", "place", "space", "mood", "distance", "period"]
ASPECTS: tuple[Aspect, ...] = ("weather", "time", "place", "space", "mood", "distance", "period")
"""In the order in which they are told: what sounds by itself comes before what changes all that sounds."""
AspectText = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"\A[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*\Z")
]


class Scene(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where and when sounds are heard, and how they feel; each engine is told in its own words."""

    place: AspectText | None = None
    """``cave``, ``forest``, ``space station``."""
    space: AspectText | None = None
    """How it reverberates: ``room``, ``hall``, ``open``."""
    mood: AspectText | None = None
    """``tense``, ``calm``, ``happy``, ``sad``."""
    time: AspectText | None = None
    """``night``, ``morning``."""
    weather: AspectText | None = None
    """``rain``, ``storm``."""
    period: AspectText | None = None
    """``1940s``, ``medieval``, ``future``."""
    distance: AspectText | None = None
    """``far``, ``near``."""

    def given(self) -> dict[Aspect, str]:
        """Return what it says, in order."""
        return {name: value for name in ASPECTS if (value := getattr(self, name)) is not None}


class Phrase(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one aspect of a scene comes to for an engine."""

    words: str = ""
    options: dict[str, Label] = {}
    """The engine's own parameters."""


_TEMPLATES: Mapping[str, str] = {
    "weather": "{}",
    "time": "at {}",
    "place": "in {a}",
    "space": "{} acoustics",
    "mood": "{} mood",
    "distance": "{}",
    "period": "{} style",
}
_KNOWN: Mapping[str, dict[str, Phrase]] = {
    "time": {
        "night": Phrase(words="at night"),
        "morning": Phrase(words="in the morning"),
        "evening": Phrase(words="in the evening"),
        "day": Phrase(words="by day"),
    },
    "distance": {
        "far": Phrase(words="in the distance"),
        "distant": Phrase(words="in the distance"),
        "near": Phrase(words="close up"),
        "close": Phrase(words="close up"),
    },
    "place": {"outdoors": Phrase(words="outdoors"), "underwater": Phrase(words="underwater")},
}


class Wording(Struct, frozen=True, kw_only=True):
    """How one engine is told of a scene."""

    listens: bool = True
    """False: words added to its prompt would not describe the sound but be spoken."""
    templates: dict[str, str] = msgspec.field(default_factory=lambda: dict(_TEMPLATES))
    """By aspect; ``{}`` stands for the value, ``{a}`` for the value behind its article. One that is missing means
    nothing to the engine."""
    known: dict[str, dict[str, Phrase]] = msgspec.field(default_factory=lambda: dict(_KNOWN))
    """By aspect, then by value in small letters: what stands instead of the template."""
    always: str = ""
    """Words that every scene's prompt ends with."""


class Told(Struct, frozen=True, kw_only=True):
    """A scene in an engine's terms."""

    phrases: dict[Aspect, Phrase]
    silent: dict[Aspect, str]
    """Aspects that mean nothing to the engine, and their values."""


def told(scene: Mapping[Aspect, str], wording: Wording) -> Told:
    """Return what an engine is told, by aspect in order. Pure."""
    phrases: dict[Aspect, Phrase] = {}
    silent: dict[Aspect, str] = {}
    for aspect in ASPECTS:
        if aspect not in scene:
            continue
        value = " ".join(scene[aspect].split())
        phrase = wording.known.get(aspect, {}).get(value.lower())
        template = wording.templates.get(aspect)
        if phrase is None and template is not None:
            phrase = Phrase(words=template.replace("{a}", _with_article(value)).replace("{}", value))
        if phrase is None or not wording.listens:
            silent[aspect] = value
        else:
            phrases[aspect] = phrase
    return Told(phrases=phrases, silent=silent)


def _with_article(value: str) -> str:
    first, _, rest = value.partition(" ")
    if first.lower() in ("a", "an", "the", "my", "our", "some") or (not rest and first.endswith("s")):
        return value
    return f"{'an' if first[0].lower() in 'aeiou' else 'a'} {value}"


def wording_of(
    known: Mapping[str, Mapping[str, str]], *, templates: Mapping[str, str] | None = None, always: str = ""
) -> Wording:
    """Return the usual wording, with what an engine says otherwise.

    Args:
        known: words by aspect, then by value.
        templates: by aspect.
    """
    usual = Wording()
    phrases = {aspect: dict(values) for aspect, values in usual.known.items()}
    for aspect, values in known.items():
        phrases.setdefault(aspect, {}).update({value: Phrase(words=words) for value, words in values.items()})
    return Wording(templates={**usual.templates, **(templates or {})}, known=phrases, always=always)
