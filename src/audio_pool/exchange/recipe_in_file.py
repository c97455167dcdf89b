"""The recipe that a sound file carries, read as what anybody may have written.

Owns: which files are read, what their recipe asks for, and what it does not say.
Must not know: how a sound is made again (remaking.py), who reads it.

Nothing in a recipe names a file that is then read: a sound to start from is known by its hash alone, and a model by
the name under which the reader's own pool has it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from audio_pool.errors import InvalidAudio, InvalidRequest, NotFound
from audio_pool.inscription import sound_in
from audio_pool.results import SoundMetadata
from audio_pool.types import HEADERLESS, AudioRequest, Recipe, Rendition
from audio_pool.validation import parse

__all__ = ["FileRecipe", "file_recipe", "recipe_of_facts"]

Facts = dict[str, Any]  # opaque: a file may say anything; checked field by field
_LARGEST = 8 << 30
"""Bytes: no file of ours comes near, and headers of larger ones take long to be looked through."""
_MOST_STEPS = 32


class FileRecipe(Struct, frozen=True, kw_only=True):
    """What a file says of how its sound was made."""

    recipe: Recipe
    metadata: SoundMetadata
    rendition: Rendition | None
    """How the file was written; None: it does not say, as those of earlier versions."""
    master: Rendition | None
    """How the master was written from which the file was made; None: both were written at once."""
    recipe_id: str
    software: str
    device: str
    """Class of the device, such as ``cpu`` or ``cuda``; "": it does not say."""
    work: tuple[Facts, ...] = ()
    """What was done to it since, in order."""

    def request(self) -> Facts:
        """Return the fields of a request for this sound.

        Raises:
            InvalidRequest: no such request can be made.
        """
        return self._fields(self.rendition)

    def master_request(self) -> Facts:
        """Return the fields of a request for the master from which the file was made."""
        return {**self._fields(self.master), "format": "flac", "bit_depth": 24}

    def _fields(self, written: Rendition | None) -> Facts:
        recipe = self.recipe
        fields: Facts = {
            "prompt": recipe.prompt,
            "negative_prompt": recipe.negative_prompt,
            "engine": recipe.engine,
            "loop": recipe.loop,
            "seed": recipe.seed if recipe.seed is not None else self.metadata.base_seed,
            "candidates": recipe.candidates,
            "sample_rate": recipe.sample_rate,
            "steps": recipe.steps,
            "guidance_scale": recipe.guidance_scale,
            "voice": recipe.voice,
            "options": dict(recipe.options),
            "init_strength": recipe.init_strength,
            "crossfade_s": recipe.crossfade_s,
            "highpass_hz": recipe.highpass_hz,
            **msgspec.to_builtins(recipe.edit or {}),
        }
        if not self.metadata.natural_length:
            fields["duration_s"] = recipe.duration_s
        if isinstance(recipe.loop_method, str):
            fields["loop_method"] = recipe.loop_method
        if self._made_later:
            # neither rounds nor judgements are asked again: this candidate was the one
            fields |= {"seed": self.metadata.seed, "candidates": 1}
        if written is not None:
            fields |= {
                "format": written.format,
                "rendition_rate": written.sample_rate if written.sample_rate != recipe.sample_rate else None,
                "bit_depth": written.bit_depth if written.format in ("wav", "flac", "pcm") else None,
                "bit_rate": written.bit_rate,
                "target_lufs": written.target_lufs,
                "true_peak_dbfs": written.true_peak_dbfs,
                "limiter": written.limiter,
            }
        highpass = self.metadata.highpass
        if recipe.highpass_hz is None and highpass is not None and highpass.why == "configured":
            fields["highpass_hz"] = highpass.hz
        fields = {name: value for name, value in fields.items() if value is not None and value != {}}
        parse(AudioRequest, fields, error=InvalidRequest, what="the recipe in the file")
        return fields

    @property
    def _made_later(self) -> bool:
        """Whether the sound is another candidate than the recipe itself leads to, at once and by scores."""
        return bool(self.metadata.chosen) or self.metadata.rounds > 1

    @property
    def lacking(self) -> tuple[str, ...]:
        """What the file does not say and making it again needs, in words."""
        found = []
        if self.recipe.seed is None and self.metadata.base_seed is None:
            found.append("no seed: it stands for no one sound")
        if self.recipe.init_audio_sha256 is not None:
            found.append(f"it was made of another sound, which is not in it (SHA-256 {self.recipe.init_audio_sha256})")
        if self.metadata.stream:
            found.append("that it was sent while it was made: then its level is taken from its first seconds")
        if self.rendition is None:
            found.append("how the file was written: an earlier version made it")
        elif self.rendition.measure != "integrated" or (
            self.rendition.mono and self.rendition.format not in HEADERLESS
        ):
            found.append("a loudness profile by its name: mono and the measure of its loudness come from the pool's")
        return tuple(found)


def file_recipe(path: Path) -> tuple[FileRecipe | None, Facts]:
    """Return what a file says of how it was made, and its whole comment.

    Returns:
        None instead where its sound is made of others: they stand in the comment, under ``work``.

    Raises:
        NotFound: no such file, or it says nothing. InvalidAudio: not a file, too large, or not one of sound.
    """
    from audio_pool.audio import codec

    try:
        told = os.stat(path)
    except OSError as exc:
        raise NotFound(f"{path}: {exc.strerror}") from None
    if not stat.S_ISREG(told.st_mode):
        raise InvalidAudio(f"{path}: given a folder, a pipe or a device, allowed is a file")
    if told.st_size > _LARGEST:
        raise InvalidAudio(f"{path}: given {told.st_size:,} bytes, allowed are {_LARGEST:,}")
    found = codec.inspect(path)
    facts = found["recipe"]
    if not isinstance(facts, dict) or facts.get("made_by") != "audio_pool":
        raise NotFound(
            f"{path}: no recipe inside",
            hint="the file was not made by audio_pool, or another program left its comment out",
        )
    return recipe_of_facts(facts, frames=found["frames"], sample_rate=found["sample_rate"]), facts


def recipe_of_facts(facts: Facts, *, frames: int = 1, sample_rate: int = 44_100) -> FileRecipe | None:
    """Return the recipe that a comment holds; None where it holds none."""
    sound = sound_in(facts, frames=frames, sample_rate=sample_rate)
    if sound is None:
        return None
    recipe, metadata = sound
    work = facts.get("work")
    steps = [one for one in work if isinstance(one, dict)] if isinstance(work, list) else []
    return FileRecipe(
        recipe=recipe,
        metadata=metadata,
        rendition=_rendition(facts.get("rendition")),
        master=_rendition(facts.get("master")),
        recipe_id=_text(facts.get("recipe_id")),
        software=_text(facts.get("software")),
        device=_text(facts.get("device")),
        work=tuple(steps[:_MOST_STEPS]),
    )


def _rendition(value: object) -> Rendition | None:  # opaque: as Facts
    try:
        return None if value is None else msgspec.convert(value, Rendition)
    except msgspec.ValidationError:
        return None


def _text(value: object) -> str:  # opaque: as Facts
    return value if isinstance(value, str) else ""
