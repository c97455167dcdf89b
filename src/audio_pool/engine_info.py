"""What an engine says of itself, known without loading it, and what it says of one item.

Owns: EngineInfo, OptionInfo, VoiceInfo, CompanionInfo, Notes; which modules an engine lacks here.
Must not know: any single engine, numpy.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import msgspec
from msgspec import Struct

from audio_pool.scene import Wording
from audio_pool.types import Label

__all__ = [
    "CompanionInfo",
    "EngineInfo",
    "EngineRole",
    "Likeness",
    "Notes",
    "OptionInfo",
    "VoiceInfo",
    "missing_modules",
]

EngineRole = Literal["generator", "embedder", "scorer"]
Likeness = Literal["prompt", "steps", "options", "length", "guidance", "init_audio"]
"""What sounds may need in common to be made in one pass: equal ``prompt``, ``steps``, ``options``, length (and whether
they are to loop); all with guidance or all without; all from a given sound of equal strength or none."""


class OptionInfo(Struct, frozen=True, kw_only=True):
    """One entry of a request's ``options`` that the engine understands."""

    name: str
    type: Literal["int", "float", "bool", "str"]
    default: Label = None
    """None: the model's own choice."""
    low: float | None = None
    """Least value of a number, included; least length of a text."""
    high: float | None = None
    """Greatest value of a number, included; greatest length of a text."""
    choices: tuple[str, ...] = ()
    """Allowed texts; empty: any."""
    summary: str = ""


class VoiceInfo(Struct, frozen=True, kw_only=True):
    """One voice of an engine that speaks."""

    name: str
    language: str = ""
    """BCP 47, e.g. "en-GB"."""
    summary: str = ""


class CompanionInfo(Struct, frozen=True, kw_only=True):
    """A further repository that a model needs beside its own files, such as its tokenizer's."""

    model: str
    """A hub id."""
    files: tuple[str, ...] = ()
    """Shell patterns of the files needed; empty: all that a loader reads."""
    licence: str = ""


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What an engine is and can do: everything a caller needs to choose it and to ask it."""

    name: str
    """As it is asked for: the implementation's name, or that of a named model ``[engines.NAME]``."""
    role: EngineRole = msgspec.field(name="kind")  # protocol v1's name
    """What it does for the pool: makes sounds, turns texts into vectors, or judges sounds by texts."""
    implementation: str = ""
    """The module that implements it; empty: ``name``."""
    kinds: tuple[str, ...] = ()
    """What a generator is good for: effects, music, ambience, speech, ...; ``engine = "kind:music"`` asks by it."""
    model: str
    """A hub id, or the engine's own name where it needs no weights."""
    model_revision: str = ""
    dtype: str = ""
    """As loaded; empty: not loaded yet, or without weights."""
    quantization: str = ""
    licence: str
    commercial_use: bool
    sample_rate: int = 0
    """Hz; with ``any_rate`` only the default."""
    channels: int = 0
    shortest_s: float = 0.05
    longest_s: float = 600.0
    """Longest sound that can be asked for."""
    window_s: float | None = None
    """Seconds that the model makes at a time, where longer sounds are put together of several such windows."""
    steps: int | None = None
    """Default number of inference steps; None where the engine has none."""
    guidance_scale: float | None = None
    """Default guidance; None where the engine has none."""
    any_rate: bool = False
    negative_prompt: bool = False
    init_audio: bool = False
    inpaint: bool = False
    """Can make a part of a given sound anew."""
    extend: bool = False
    """Can continue a given sound past its end."""
    natural_length: bool = False
    """A duration cannot be asked for: the words decide (speech)."""
    streams: bool = False
    """Gives long sounds piece by piece while they are made (``base.Streams``)."""
    bandwidth_hz: float | None = None
    """Highest frequency that the model makes; None: half its rate."""
    batch: bool = True
    """False: items run one at a time because the model cannot keep them independent."""
    max_batch: int = 0
    """Most items of one pass, as the engine is loaded; 0: as many as come."""
    batch_alike: tuple[Likeness, ...] = ("steps", "options")
    """What items must have in common to share a pass."""
    speech: bool = False
    """Speaks words; never matched by meaning."""
    voices: tuple[VoiceInfo, ...] = ()
    options: tuple[OptionInfo, ...] = ()
    """The engine's own parameters, asked for under a request's ``options``."""
    languages: tuple[str, ...] = ()
    """Languages whose prompts it understands, e.g. ("en",); empty: not said."""
    loop: bool = False
    """Can make sounds that loop natively; ``notes(item).loops`` says for which."""
    gated: bool = True
    """False: not put through the quality gate (test engines)."""
    dimensions: int = 0
    """Embedders and scorers: D."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable, e.g. ("torch", "diffusers")."""
    extra: str = ""
    """The extra of this package that installs them."""
    companions: tuple[CompanionInfo, ...] = ()
    """What the default model needs beside its own files; fetched with it."""
    files: tuple[str, ...] = ()
    """Shell patterns of the default model's files to fetch; empty: the usual layouts'."""
    packaged: str = ""
    """An importable package that carries the default model in its folder ``model``; empty: none does."""
    preference: int = 0
    """Rank where the pool chooses among engines of one role by itself, greatest first; 0: never chosen unasked."""
    parameters: int = 0
    """Of the default model, all its parts; 0: it has none. Each takes 4 bytes at float32, 2 at half precision."""
    wording: Wording = Wording()
    """How it is told of a scene, for presets."""
    tips: tuple[str, ...] = ()
    """How to word prompts for it, a sentence each."""
    summary: str = ""


class Notes(Struct, frozen=True, kw_only=True):
    """What an engine knows about an item before making it; a pure function of the item."""

    loops: bool = False
    """The engine can make this item loop natively."""
    expects: frozenset[str] = frozenset()
    """Quality checks to disarm: "noise", "silence", "pauses", "decay", "mono", "clipping"."""
    highpass_hz: float | None = None
    """Highest cutoff that does not harm this sound; None: no opinion; 0: no high-pass at all."""
    warnings: tuple[str, ...] = ()
    """Named warnings, ``name: sentence``, e.g. "nearest_recipe: nothing fits 'xyzzy'; used 'drone'"."""
    made_s: float | None = None
    """Seconds of it that the model makes, where the rest is silence; None: all of it."""
    details: dict[str, Any] = {}  # opaque: goes into the metadata under ``engine_details``


def missing_modules(info: EngineInfo) -> list[str]:
    """Return those of the engine's required modules that this interpreter does not have."""
    return [name for name in info.requires if importlib.util.find_spec(name) is None]
