"""What each tool takes: the structs that calls are checked by, and that agents read as JSON Schema.

Owns: names, bounds and descriptions of every argument.
Must not know: what a tool does with them.

An argument that is null counts as left out, so none is described as one that may be.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.library import MAX_PAGE
from audio_pool.types import MAX_PRESETS_NAMED, MAX_PROMPT_CHARS, MAX_SEED, MAX_SPOKEN_CHARS, PresetId

__all__ = [
    "LONGEST_S",
    "MOST_VARIANTS",
    "SHORTEST_S",
    "FileFormat",
    "SaveSound",
    "SearchSounds",
    "Speak",
    "TextToSoundEffects",
    "Variants",
]

SHORTEST_S, LONGEST_S = 0.5, 30.0
MOST_VARIANTS = 10
_MOST_FOUND = 50
assert _MOST_FOUND <= MAX_PAGE

FileFormat = Literal["wav", "flac", "ogg", "opus", "mp3"]
Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_PROMPT_CHARS,
        description="The sound in words, e.g. 'heavy rain on a tin roof, distant thunder'.",
    ),
]
Seconds = Annotated[
    float,
    Meta(ge=SHORTEST_S, le=LONGEST_S, description=f"Length in seconds, {SHORTEST_S} to {LONGEST_S:g}."),
]
Loop = Annotated[bool, Meta(description="True: the sound repeats without a gap or a click.")]
Seed = Annotated[
    int, Meta(ge=0, le=MAX_SEED, description="The same seed and the same other arguments give the same sound.")
]
Form = Annotated[
    FileFormat,
    Meta(description="Format of the file. Left out: the one that file_name's ending says, else wav."),
]
FileName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        description="Name of the file, without a folder; the right ending is added. Left out: made of the words. "
        "A file that exists is never replaced: a number is added.",
    ),
]
Engine = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=69,
        description="A model of the pool, or kind:NAME, e.g. kind:music. Left out: the pool's default.",
    ),
]
Presets = Annotated[
    list[PresetId],
    Meta(
        max_length=MAX_PRESETS_NAMED,
        description="Names of the pool's presets to make it with, e.g. 'horror', 'old radio', 'cave'. An unknown name "
        "is answered with the nearest.",
    ),
]
SoundId = Annotated[int, Meta(ge=1, le=2**63 - 1, description="The id of a kept sound, as other tools tell it.")]


class TextToSoundEffects(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: Text
    duration_seconds: Seconds | UnsetType = UNSET
    loop: Loop = False
    seed: Seed | UnsetType = UNSET
    format: Form | UnsetType = UNSET
    file_name: FileName | UnsetType = UNSET
    engine: Engine | UnsetType = UNSET
    presets: Presets | UnsetType = UNSET


class Variants(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: Text | UnsetType = UNSET
    sound_id: SoundId | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=MOST_VARIANTS, description="How many.")] = 4
    duration_seconds: Seconds | UnsetType = UNSET
    loop: Loop | UnsetType = UNSET
    format: Form | UnsetType = UNSET
    file_name: FileName | UnsetType = UNSET
    engine: Engine | UnsetType = UNSET
    presets: Presets | UnsetType = UNSET


class SearchSounds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: Annotated[
        str,
        Meta(max_length=200, description="All of them stand in the sound's words; 'thun*' is the beginning of one."),
    ] = ""
    meaning: Annotated[
        str,
        Meta(max_length=MAX_PROMPT_CHARS, description="Other words for the sound; the nearest come first."),
    ] = ""
    loop: Annotated[bool, Meta(description="True: loops only; false: none.")] | UnsetType = UNSET
    shortest_seconds: Annotated[float, Meta(ge=0.0, le=3600.0)] | UnsetType = UNSET
    longest_seconds: Annotated[float, Meta(ge=0.0, le=3600.0)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=_MOST_FOUND, description="At most so many.")] = 10
    after: Annotated[str, Meta(max_length=200, description="The 'next' of the page before.")] = ""


class SaveSound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sound_id: SoundId
    format: Form | UnsetType = UNSET
    file_name: FileName | UnsetType = UNSET


class Speak(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1, max_length=MAX_SPOKEN_CHARS, description="What is said.")]
    voice: (
        Annotated[str, Meta(min_length=1, max_length=64, description="Left out: the engine's default voice.")]
        | UnsetType
    ) = UNSET
    format: Form | UnsetType = UNSET
    file_name: FileName | UnsetType = UNSET
