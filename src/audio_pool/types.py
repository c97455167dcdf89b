"""The vocabulary of a sound asked for and a sound made, and the one door through which data becomes it.

Owns: AudioRequest, Recipe (the request with every default settled), Shape (how raw candidates become
a finished sound), Rendition, FinishedSound, AudioResult, Metadata, Event, ``parse`` and the recipe's
identity.
Must not know: processes, sockets, engines, files.

Struct constructors do not validate; everything that comes from outside goes through ``parse``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct

from audio_pool.errors import AudioPoolError, InvalidRequest, nearest_name

__all__ = [
    "FORMATS",
    "MAX_DURATION_S",
    "MAX_PROMPT_CHARS",
    "AudioRequest",
    "AudioResult",
    "Event",
    "FinishedSound",
    "Metadata",
    "Recipe",
    "Rendition",
    "Shape",
    "frames_of",
    "parse",
]

MAX_PROMPT_CHARS = 2_000
MIN_DURATION_S = 0.05
MAX_DURATION_S = 600.0
MAX_SEED = 2**63 - 1
FORMATS = ("wav", "flac", "ogg", "opus", "mp3")

Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS, pattern=r"\S")]
OptionalText = Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")]
RequestId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[\x21-\x7e]+\Z")]
Duration = Annotated[float, Meta(ge=MIN_DURATION_S, le=MAX_DURATION_S)]
Seed = Annotated[int, Meta(ge=0, le=MAX_SEED)]
Steps = Annotated[int, Meta(ge=1, le=1000)]
Guidance = Annotated[float, Meta(ge=0.0, le=100.0)]
Candidates = Annotated[int, Meta(ge=1, le=16)]
SampleRate = Annotated[int, Meta(ge=8_000, le=192_000)]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Cosine = Annotated[float, Meta(ge=-1.0, le=1.0)]
Lufs = Annotated[float, Meta(ge=-70.0, le=0.0)]
PeakDb = Annotated[float, Meta(ge=-40.0, le=0.0)]
Format = Literal["wav", "flac", "ogg", "opus", "mp3"]
Match = Literal["strict", "tolerant", "threshold", "global"]
Priority = Literal["interactive", "normal", "background"]
Delivery = Literal["path", "inline"]
BitDepth = Literal[16, 24, 32]

Metadata = dict[str, Any]
"""Flat mapping of a result's provenance; its keys are listed in docs/architecture.md."""


class AudioRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a caller asks for. ``None`` means: the pool's configured default.

    Build it with ``parse(AudioRequest, {...})``: the constructor itself checks nothing.
    """

    prompt: Prompt
    """Words, 1..2,000 characters."""
    negative_prompt: OptionalText = ""
    duration_s: Duration | None = None
    """Seconds, 0.05..600; the engine may allow less."""
    loop: bool | None = None
    engine: Name | None = None
    seed: Seed | None = None
    """0..2**63-1. An explicit seed only ever matches the identical recipe."""
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates | None = None
    voice: Name | None = None
    init_audio: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Absolute path of an audio file to start from, readable by the worker."""
    init_strength: Unit | None = None
    """0 keeps the initial audio, 1 ignores it."""
    sample_rate: SampleRate | None = None
    format: Format | None = None
    bit_depth: BitDepth | None = None
    """WAV and FLAC only; 32 is float and WAV only."""
    target_lufs: Lufs | None = None
    true_peak_dbfs: PeakDb | None = None
    force: bool = False
    """Never read the cache, never join; the new sound is still stored."""
    match: Match | None = None
    any_engine: bool = False
    namespace: Name = "default"
    duration_tolerance: Unit | None = None
    """Relative difference in length that a cached sound may have; 0 is exact."""
    variant_seed: Seed | None = None
    """Makes the draw among several fitting entries reproducible."""
    temperature: Annotated[float, Meta(ge=0.0, le=10.0)] | None = None
    tau_use: Cosine | None = None
    tau_accept_new: Cosine | None = None
    tau_prompt_sem: Cosine | None = None
    priority: Priority = "normal"
    deadline_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    """Milliseconds from arrival after which the answer is ``expired``."""
    delivery: Delivery = "path"
    output_path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Absolute path that receives a link to or copy of the result; same machine only."""
    metadata: dict[str, str | int | float | bool | None] = {}
    """The caller's own labels, returned under ``labels``; at most 32."""


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what the sound is, with every default settled.

    Length counts frames at ``sample_rate``, so 2 s and 2.0000001 s are the same recipe.
    """

    prompt: str
    negative_prompt: str
    engine: str
    model: str
    frames: int
    sample_rate: int
    loop: bool
    seed: int | None
    """The base seed from which candidates' seeds are derived; None until one is drawn."""
    steps: int | None
    guidance_scale: float | None
    candidates: int
    voice: str | None
    init_audio_sha256: str | None
    init_strength: float | None
    namespace: str

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate

    def identity(self) -> str:
        """SHA-256 (hex) over the canonical encoding: equal for equal recipes, on every machine."""
        return hashlib.sha256(b"recipe-1\0" + msgspec.json.encode(self, order="deterministic")).hexdigest()


class Rendition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a finished sound is written: nothing here changes what is heard but its level and codec."""

    format: Format
    sample_rate: int
    bit_depth: int
    """16, 24 or 32 (float, WAV only); ignored by lossy formats."""
    target_lufs: float | None
    """None leaves the level as it is, limited by the true peak."""
    true_peak_dbfs: float


class Shape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a raw candidate becomes a finished sound: filter, resampler, loop."""

    sample_rate: int
    frames: int
    loop: bool
    tail_s: float
    """Seconds that a candidate for a loop is longer than the loop, 0..10; the crossfade's most."""
    highpass_hz: float | None
    """None applies no filter; an engine's notes may lower it for one sound."""
    highpass_order: int


class FinishedSound(Struct, frozen=True, kw_only=True):
    """A mastered sound as a worker hands it to the pool: a file already fsynced, not yet kept."""

    path: str
    """The 24-bit FLAC master, a temporary file in the cache directory's ``incoming``."""
    recipe: Recipe
    metadata: Metadata
    accepted: bool
    delivered_path: str | None = None
    """The rendition the caller asked for, where it is not the master itself."""
    delivered: Metadata = {}
    """The metadata keys that the rendition changes (format, level, ...)."""


class AudioResult(Struct, frozen=True, kw_only=True):
    """The answer to a request: where the sound is and how it came to be."""

    request_id: str
    path: str
    metadata: Metadata
    data: bytes | None = None
    """The encoded file, only where ``delivery="inline"`` was asked for."""


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened to a request before its final reply."""

    request_id: str
    type: Literal["accepted", "progress"]
    body: dict[str, Any] = {}
    """progress: ``stage`` (generate, master) and its ``done``, ``total``, ``fraction`` 0..1; accepted:
    ``queue_position``, ``joined``."""


def frames_of(duration_s: float, sample_rate: int) -> int:
    """The whole number of frames nearest to a duration, at least one."""
    return max(1, round(duration_s * sample_rate))


T = TypeVar("T")
_PATH = re.compile(r" - at `\$?\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_SHOWN = 60


def parse(
    cls: type[T],
    mapping: Any,
    *,
    error: type[AudioPoolError] = InvalidRequest,
    what: str = "",
) -> T:
    """``mapping`` as a ``cls``, every bound checked.

    Integral floats are accepted for integers; NaN and infinities are refused everywhere.

    Args:
        cls: a msgspec Struct type.
        mapping: what came from outside: a dict, nested as deep as ``cls`` is.
        error: the class raised.
        what: names the whole in messages; the struct's own name where empty.

    Raises:
        error: naming the field, what was given, what is allowed and, for an unknown field, the
            nearest known one.
    """
    label = what or cls.__name__
    if not isinstance(mapping, Mapping):
        raise error(f"{label}: given {_shown(mapping)}, allowed is a mapping of field names to values")
    try:
        return msgspec.convert(_numbers_checked(mapping, "", error, label), cls, strict=True)
    except msgspec.ValidationError as exc:
        raise _explained(cls, mapping, str(exc), error, label) from None
    except RecursionError:
        raise error(f"{label}: nested too deep") from None


def _numbers_checked(value: Any, path: str, error: type[AudioPoolError], label: str) -> Any:
    """The same value with integral floats as integers (JSON writers differ), NaN and infinity refused."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise error(f"{label}: field {path or '?'!r}: given {value}, allowed is a finite number")
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value
    if isinstance(value, Mapping):
        return {
            key: _numbers_checked(item, f"{path}.{key}" if path else str(key), error, label)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_numbers_checked(item, f"{path}[{i}]", error, label) for i, item in enumerate(value)]
    return value


def _explained(cls: Any, mapping: Any, text: str, error: type[AudioPoolError], label: str) -> AudioPoolError:
    """A msgspec message retold: which field, what was given, what is allowed, what it may have meant."""
    found = _PATH.search(text)
    path = found.group(1) if found else ""
    reason = text[: found.start()] if found else text
    unknown = _UNKNOWN.search(reason)
    if unknown:
        name = unknown.group(1)
        known = sorted(_fields_at(cls, path))
        near = nearest_name(name, known)
        where = f" in {path!r}" if path else ""
        hint = f"did you mean {near!r}?" if near else f"known fields: {', '.join(known)}"
        return error(f"{label}: unknown field {name!r}{where}; {hint}", hint="")
    missing = _MISSING.search(reason)
    if missing:
        name = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return error(f"{label}: field {name!r} is missing")
    reason = reason.replace("Expected", "allowed is").replace("Invalid enum value", "not an allowed value")
    reason = reason.replace("matching regex", "matching")
    given = _shown(_value_at(mapping, path))
    allowed = _choices_at(cls, path)
    if allowed:
        near = nearest_name(str(_value_at(mapping, path)), allowed)
        tail = f"; did you mean {near!r}?" if near else ""
        return error(f"{label}: field {path!r}: given {given}, allowed is one of {', '.join(allowed)}{tail}")
    return error(f"{label}: field {path!r}: given {given}, {reason}")


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    size = f" ({len(value):,} characters)" if isinstance(value, str) else ""
    return text[:_SHOWN] + "..." + size


def _steps(path: str) -> list[str]:
    return [part for part in re.split(r"[.\[\]]", path) if part]


def _value_at(value: Any, path: str) -> Any:
    for step in _steps(path):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, (list, tuple)) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return UNSET
    return value


def _type_at(cls: Any, path: str) -> list[Any]:
    """The msgspec type nodes that ``path`` can lead to."""
    nodes = [msgspec.inspect.type_info(cls)]
    for step in _steps(path):
        following: list[Any] = []
        for node in _flattened(nodes):
            if isinstance(node, msgspec.inspect.StructType):
                following += [field.type for field in node.fields if field.encode_name == step]
            elif isinstance(node, msgspec.inspect.DictType):
                following.append(node.value_type)
            elif isinstance(node, msgspec.inspect.ListType):
                following.append(node.item_type)
        nodes = following
    return _flattened(nodes)


def _flattened(nodes: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for node in nodes:
        if isinstance(node, msgspec.inspect.UnionType):
            flat += _flattened(list(node.types))
        elif isinstance(node, msgspec.inspect.Metadata):
            flat += _flattened([node.type])
        else:
            flat.append(node)
    return flat


def _fields_at(cls: Any, path: str) -> list[str]:
    return [
        field.encode_name
        for node in _type_at(cls, path)
        if isinstance(node, msgspec.inspect.StructType)
        for field in node.fields
    ]


def _choices_at(cls: Any, path: str) -> list[str]:
    return [
        str(choice)
        for node in _type_at(cls, path)
        if isinstance(node, msgspec.inspect.LiteralType)
        for choice in node.values
    ]
