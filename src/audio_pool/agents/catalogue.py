"""The tools as agents see them listed: names, descriptions, what they take and answer as JSON Schema.

Owns: LISTED, one entry a tool.
Must not know: what a tool does (tools.py), the protocol's own types (server.py).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from audio_pool.agents.answers import FoundSounds, SoundFile, SoundFiles
from audio_pool.agents.arguments import (
    LONGEST_S,
    SHORTEST_S,
    SaveSound,
    SearchSounds,
    Speak,
    TextToSoundEffects,
    Variants,
)

__all__ = ["LISTED", "Listed"]

Schema = dict[str, Any]  # opaque: JSON Schema


class Listed(Struct, frozen=True, kw_only=True):
    """One tool."""

    name: str
    title: str
    description: str
    takes: type[Struct]
    answers: type[Struct]
    reads_only: bool = False

    @property
    def takes_schema(self) -> Schema:
        """What it takes; strict, so that a mistyped name is noticed."""
        return {**_schema(self.takes), "additionalProperties": False}

    @property
    def answers_schema(self) -> Schema:
        """What its answer's data is."""
        return _schema(self.answers)


def _schema(struct: type[Struct]) -> Schema:
    """Return a JSON Schema with an object at its root, as every version of the protocol wants it."""
    _, parts = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    root = dict(parts.pop(struct.__name__))
    root.pop("title", None)
    return {**root, "$defs": parts} if parts else root


LISTED: dict[str, Listed] = {
    one.name: one
    for one in (
        Listed(
            name="text_to_sound_effects",
            title="Make a sound",
            description=(
                "Make a sound effect, an ambience or a short piece of music from words "
                f"({SHORTEST_S} to {LONGEST_S:g} s), if wanted as a seamless loop. Writes the file and answers its "
                "path and a link first, then the sound itself where it is short. The same words again are answered "
                "from a cache at once; give another seed, or use variants, for another sound."
            ),
            takes=TextToSoundEffects,
            answers=SoundFile,
        ),
        Listed(
            name="variants",
            title="Several sounds of the same words",
            description=(
                "Get several different sounds of the same words, or further ones like a kept sound (sound_id): for "
                "footsteps, hits and everything else that is heard often. Give text or sound_id, not both."
            ),
            takes=Variants,
            answers=SoundFiles,
        ),
        Listed(
            name="search_sounds",
            title="Find kept sounds",
            description=(
                "Search the sounds that are kept already, by the words they were made of or by meaning; nothing at "
                "all lists the newest. save_sound writes one of them as a file."
            ),
            takes=SearchSounds,
            answers=FoundSounds,
            reads_only=True,
        ),
        Listed(
            name="save_sound",
            title="Write a kept sound as a file",
            description="Write a kept sound (its id from search_sounds or another tool) in a format of your choice.",
            takes=SaveSound,
            answers=SoundFile,
        ),
        Listed(
            name="speak",
            title="Say words",
            description="Have words spoken by a voice, where the pool has an engine that speaks.",
            takes=Speak,
            answers=SoundFile,
        ),
    )
}
"""By name."""
