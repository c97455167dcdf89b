"""Presets: named sets of words and parameters that requests are made with.

Owns: Preset and what its content may be, its bounds, the verbs of ``presets``.
Must not know: where presets are kept, how they are merged into a request (pool/preset_merging.py), any engine.

A preset decides what a sound is, never where it goes, whose it is or when it is made: its content has no field for
that. Nor can it name other presets or an engine, so there is no order in which they would have to be unfolded.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Awaitable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import InvalidRequest
from audio_pool.plain_mapping import PlainMapping
from audio_pool.reports import PresetType
from audio_pool.scene import Scene
from audio_pool.types import (
    Candidates,
    Crossfade,
    Duration,
    EngineName,
    Guidance,
    Highpass,
    Label,
    LoopMethod,
    Lufs,
    Name,
    PeakDb,
    PresetId,
    Quality,
    SampleRate,
    Seed,
    Steps,
    Unit,
)
from audio_pool.validation import parse

__all__ = [
    "MAX_AT_ONCE",
    "MAX_PRESETS",
    "HasPresets",
    "Parameters",
    "Preset",
    "PresetMetadata",
    "PresetPage",
    "PresetPriority",
    "PresetRemoved",
    "PresetSource",
    "PresetType",
    "PresetsApi",
    "PresetsSet",
    "Words",
    "checked_preset",
    "normal_id",
]

MAX_PRESETS = 10_000
"""Kept at a time."""
MAX_AT_ONCE = 500
"""Set or listed at a time."""
MAX_CONTENT_BYTES = 8_192
PresetSource = Literal["built-in", "config", "user"]
PresetPriority = Annotated[int, Meta(ge=0, le=100)]
_Text = Annotated[str, Meta(max_length=500, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]


class Words(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of a preset of type ``prompt``."""

    before: _Text = ""
    """Put before the request's words."""
    after: _Text = ""
    negative: _Text = ""
    """Added to what the sound is to be without."""
    scene: Scene = Scene()
    """Told to each engine in its own words."""


class Parameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of a preset of type ``generation_parameters``: fields of a request that decide what the sound is."""

    duration_s: Duration | None = None
    loop: bool | None = None
    seed: Seed | None = None
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    candidates: Candidates | None = None
    voice: Name | None = None
    options: Annotated[dict[Name, Label], Meta(max_length=32)] = {}
    """Parameters of an engine's own; those that it does not have are left out."""
    init_strength: Unit | None = None
    loop_method: LoopMethod | None = None
    sample_rate: SampleRate | None = None
    target_lufs: Lufs | None = None
    true_peak_dbfs: PeakDb | None = None
    loudness_profile: Name | None = None
    limiter: bool | None = None
    min_quality: Quality | None = None
    crossfade_s: Crossfade | None = None
    highpass_hz: Highpass | None = None

    def given(self) -> dict[str, Any]:  # opaque: each field's own type
        """Return the fields that say something, ``options`` apart."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "options"}
        return {name: value for name, value in fields.items() if value is not None}


class PresetMetadata(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a preset comes from, and how strong it is."""

    source: PresetSource = "user"
    """``built-in``: it comes with the program; ``config``: ``[presets.NAME]``; ``user``: it is kept in the store."""
    priority: PresetPriority = 50
    """0..100. Where two presets of a request say something about the same thing, the higher counts."""
    timestamp: float = 0.0
    """Seconds since 1970 when it was set; 0: it comes with the program or its configuration."""


class Preset(PlainMapping, Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named set of words, or of parameters. From outside it comes by ``checked_preset``."""

    id: PresetId
    type: PresetType
    content: dict[str, Any]  # opaque until ``words`` or ``parameters`` reads it
    """Of Words, or of Parameters."""
    engines: Annotated[tuple[EngineName, ...], Meta(max_length=32)] = ()
    """Names of engines and ``kind:NAME`` that it is meant for; (): all."""
    metadata: PresetMetadata = PresetMetadata()

    @property
    def words(self) -> Words:
        """What it adds to a prompt. Raises InvalidRequest."""
        return parse(Words, self.content, what=f"preset {self.id!r}: content")

    @property
    def parameters(self) -> Parameters:
        """What it sets. Raises InvalidRequest."""
        return parse(Parameters, self.content, what=f"preset {self.id!r}: content")

    def suits(self, engine: str, kinds: Sequence[str]) -> bool:
        """Return whether it is meant for an engine."""
        return not self.engines or engine in self.engines or any(f"kind:{kind}" in self.engines for kind in kinds)

    @property
    def revision(self) -> str:
        """A name for what it says: equal for equal presets."""
        said = (self.id, self.type, self.content, self.engines, self.metadata.priority)
        return hashlib.blake2b(msgspec.json.encode(said, order="deterministic"), digest_size=8).hexdigest()


class PresetPage(PlainMapping, Struct, frozen=True, kw_only=True):
    """Some presets, in the order of their ids."""

    presets: tuple[Preset, ...] = ()
    following: str | None = None
    """Ask for those after this id next; None: there are no more."""


class PresetsSet(PlainMapping, Struct, frozen=True, kw_only=True):
    """The presets that were set, as they are now."""

    presets: tuple[Preset, ...] = ()


class PresetRemoved(PlainMapping, Struct, frozen=True, kw_only=True):
    """A preset that is kept no more."""

    id: str
    uncovered: PresetSource | None = None
    """Where the one of the same id comes from that is in force again; None: there is none."""


def normal_id(preset_id: str) -> str:
    """Return an id as it is filed: composed as Unicode has it, so that what looks alike is alike."""
    return unicodedata.normalize("NFC", preset_id)


def checked_preset(fields: Mapping[str, Any], *, metadata: PresetMetadata | None = None) -> Preset:
    """Return a preset from outside, every bound checked, its content too.

    Args:
        fields: opaque until they are parsed.
        metadata: instead of what the fields say of it.

    Raises:
        InvalidRequest: naming the field, what was given, what is allowed.
    """
    preset = parse(Preset, fields, what="preset")
    preset = msgspec.structs.replace(preset, id=normal_id(preset.id), engines=tuple(dict.fromkeys(preset.engines)))
    if preset.id != preset.id.strip():
        raise InvalidRequest(f"preset: id: given {preset.id!r}, allowed is a name without spaces around it")
    content = preset.words if preset.type == "prompt" else preset.parameters
    plain = msgspec.to_builtins(content)
    size = len(msgspec.json.encode(plain))
    if size > MAX_CONTENT_BYTES:
        raise InvalidRequest(f"preset {preset.id!r}: content: given {size:,} bytes, allowed are {MAX_CONTENT_BYTES:,}")
    if not plain or (preset.type == "prompt" and not _says_something(preset.words)):
        allowed = ", ".join(type(content).__struct_fields__)
        raise InvalidRequest(f"preset {preset.id!r}: content: given nothing, allowed are {allowed}")
    return msgspec.structs.replace(
        preset, content=plain, metadata=preset.metadata if metadata is None else metadata
    )


def _says_something(words: Words) -> bool:
    return bool((words.before + words.after + words.negative).strip()) or bool(words.scene.given())


class PresetsApi(Protocol):
    """The verbs of ``presets`` of AudioPool, AudioClient and AsyncAudioClient; the last one's answers are awaited."""

    def list(
        self,
        *,
        type: PresetType | None = None,
        engine: str | None = None,
        after: str | None = None,
        limit: int = MAX_AT_ONCE,
    ) -> PresetPage | Awaitable[PresetPage]:
        """Get presets by id.

        Args:
            type: those of this type alone.
            engine: those that suit this engine, or ``kind:NAME``, alone.
            after: those that come after this id.
            limit: 1..500.
        """

    def get(self, preset_id: str) -> Preset | Awaitable[Preset]:
        """Get one preset. Raises NotFound, naming the nearest."""

    def set(
        self,
        preset_id: str,
        type: PresetType,
        content: Mapping[str, Any],
        *,
        engines: Sequence[str] = (),
        priority: int = 50,
        if_revision: str | None = None,
    ) -> Preset | Awaitable[Preset]:
        """Keep a preset, in the place of what has its id.

        Args:
            content: of Words or Parameters, as ``type`` says.
            engines: names of engines and ``kind:NAME`` that it is for; (): all.
            if_revision: only where this is what it says now; "": only where there is none.

        Raises:
            InvalidRequest. Refused: this caller may not. Conflict: it says something else now.
        """

    def remove(self, preset_id: str, *, if_revision: str | None = None) -> PresetRemoved | Awaitable[PresetRemoved]:
        """Keep a preset no more. Raises NotFound, Refused, Conflict; InvalidRequest: it is none that is kept."""


class HasPresets(Protocol):
    """Where presets can be managed."""

    @property
    def presets(self) -> PresetsApi:
        """Named sets of words and parameters: listed, set, removed."""
