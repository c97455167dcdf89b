"""Recipes as declared: the decorator, the register it fills, and what adjectives may change.

Owns: Recipe, Character, ``recipe``, ``RECIPES``.
Must not know: any single recipe, how prompts are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from audio_pool.engines.procedural.canvas import Canvas

__all__ = ["RECIPES", "Character", "Paint", "Recipe", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Character:
    """The changes that the adjectives beside a recipe's word ask for; 1 or None is "as usual"."""

    intensity: float = 1.0
    """How much of it: 0.5 light, 2 heavy."""
    speed: float = 1.0
    pitch: float = 1.0
    size: float = 1.0
    """Of the thing that sounds; a large one is lower and rings longer."""
    gain: float = 1.0
    distance: float = 0.0
    """0 here .. 1 at the horizon."""
    cutoff_hz: float | None = None
    room: str = ""
    """"", "room", "hall", "open"."""
    material: str = ""
    """"", "metal", "wood"."""
    ground: str = ""
    """"" firm, "gravel", "snow", "sand", "grass", "water": what is walked on."""
    kind: str = ""
    """"" as the seed chooses; else which kind: a songbird's species, "man" or "woman", "steam" or "electric"."""
    gait: str = ""
    """"" walking, "run"."""
    mood: str = ""
    """"", "happy", "sad", "calm", "tense"."""
    drive: str = ""
    """"" as it usually runs, "rev" the throttle blipped, "gears" pulling away through the gears."""
    bpm: float | None = None
    hz: float | None = None
    count: int | None = None
    several: bool = False
    """More than one of it was asked for ("explosions", "repeated knocks")."""

    def low(self, hz: float) -> float:
        """Return a frequency of the sounding body, moved by pitch and size."""
        return hz * self.pitch / self.size

    def beat_s(self, bpm: float) -> float:
        """Return the seconds per beat, of the given usual tempo."""
        return 60.0 / (self.bpm or bpm * self.speed)


Paint = Callable[[Canvas, Character], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One sound the engine knows. Every recipe loops: the canvas is a circle."""

    name: str
    paint: Paint
    summary: str
    """What it is, in the words of a caption."""
    keys: tuple[str, ...]
    """Words that name it; "rain roof" needs both, in any order, close to each other."""
    near: tuple[str, ...]
    """Words of sounds that it stands in for where nothing fits, with a warning."""
    expects: frozenset[str]
    """Quality checks that it must not be held to: "noise", "silence", "decay"."""
    highpass_hz: float
    """Highest cutoff that leaves the sound whole."""
    once: bool
    """A single event: where it does not loop it sounds once, unless the prompt asks for several."""
    exact: bool
    """The same for every specimen (white noise, a dial tone): seeds differ in chance alone."""
    bar: int
    """Beats in one turn of its rhythm, which loops hold whole; 0: it has no tempo."""
    covers: frozenset[str]
    """Recipes that are part of this one, and are not painted beside it."""


RECIPES: dict[str, Recipe] = {}


def recipe(
    *, keys: str, summary: str, near: str = "", expects: str = "", highpass_hz: float = 80.0,
    covers: Iterable[str] = (), once: bool = False, exact: bool = False,
    bar: int = 0,
) -> Callable[[Paint], Paint]:
    """Register a paint function under its own name.

    ``keys`` are separated by commas, ``near`` and ``expects`` by spaces.
    """

    def register(paint: Paint) -> Paint:
        name = paint.__name__
        RECIPES[name] = Recipe(
            name=name,
            paint=paint,
            summary=summary,
            keys=tuple(key.strip() for key in keys.split(",") if key.strip()),
            near=tuple(near.split()),
            expects=frozenset(expects.split()),
            highpass_hz=highpass_hz,
            once=once,
            exact=exact,
            bar=bar,
            covers=frozenset(covers),
        )
        return paint

    return register
