"""Packs as game engines and audio tools take them: one file for each.

Owns: the list of targets, and what every export is made of.
Must not know: any target's format.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.packs.pack_lock import Lock, LockedFile
from audio_pool.packs.pack_manifest import Manifest
from audio_pool.packs.pack_plan import sha256_of

__all__ = ["TARGETS", "BuiltPack", "Exporter", "built_pack", "copied", "export", "wav_names"]

TARGETS = ("plain", "godot", "unity", "unreal", "wwise", "fmod", "audiosprite", "howler")
"""Names of exports; ``howler`` is a sprite in howler's words."""


class BuiltPack(Struct, frozen=True, kw_only=True):
    """A pack whose every file is there, as it was built."""

    name: str
    version: str
    sounds: Path
    """The folder of its files."""
    files: tuple[LockedFile, ...]

    def variants(self) -> Iterator[tuple[str, list[LockedFile]]]:
        """Yield each item with its files, in the order of their variants."""
        items: dict[str, list[LockedFile]] = {}
        for one in self.files:
            items.setdefault(one.item, []).append(one)
        for item, files in sorted(items.items()):
            yield item, sorted(files, key=lambda one: one.variant)


class Exporter(Protocol):
    """What a target's module offers."""

    def export(self, pack: BuiltPack, out: Path, *, guard: bool) -> list[Path]:
        """Write the pack into an empty folder; return the files, those of sounds included."""
        ...


def built_pack(folder: Path, manifest: Manifest, lock: Lock) -> BuiltPack:
    """Return a pack to export. Raises NotFound: a file is not as it was built."""
    sounds = folder / manifest.pack.out
    wrong = [one.file for one in lock.files if sha256_of(sounds / one.file) != one.sha256]
    if wrong:
        raise NotFound(
            f"{sounds / wrong[0]} is not as it was built, nor are {len(wrong) - 1} more",
            hint="'audio-pool pack check' tells them all, 'audio-pool pack build' makes what is gone",
        )
    if not lock.files:
        raise NotFound(f"{folder}: nothing was built", hint="'audio-pool pack build'")
    return BuiltPack(name=lock.name, version=lock.pack_version, sounds=sounds, files=lock.files)


def export(target: str, pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write a pack for a target into a folder that is not there yet, or empty.

    Args:
        guard: for Godot: loops in WAV with one more frame, which its mixer steps over.

    Raises:
        InvalidRequest: there is no such target, something is in the folder, or a file does not suit the target.
    """
    if target not in TARGETS:
        raise InvalidRequest(f"target: given {target!r}, allowed are {', '.join(TARGETS)}")
    if out.exists() and any(out.iterdir()):
        raise InvalidRequest(f"{out} is not empty; an export goes into a folder of its own")
    out.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"audio_pool.packs.exports.{target}")
    exporter: Exporter = module
    try:
        return exporter.export(pack, out, guard=guard)
    except BaseException:  # half an export is none, and would be in the next one's way
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def wav_names(pack: BuiltPack) -> dict[str, str]:
    """Return each file's name as a WAV. Raises InvalidRequest: two would have the same."""
    names: dict[str, str] = {}
    used: dict[str, str] = {}
    for one in pack.files:
        name = Path(one.file).with_suffix(".wav").as_posix()
        other = used.setdefault(name, one.file)
        if other != one.file:
            raise InvalidRequest(f"{other} and {one.file} would both be {name}; change 'names'")
        names[one.file] = name
    return names


def copied(pack: BuiltPack, one: LockedFile, out: Path, name: str | None = None) -> Path:
    """Copy one file into an export, under its own name or another; return where it is."""
    target = out / (name or one.file)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pack.sounds / one.file, target)
    os.chmod(target, 0o644)
    return target
