"""``pack.lock``: what was built, file by file, so that a build can be repeated, and a file proved.

Owns: the lock's fields, reading and writing it.
Must not know: how a pack is built or compared.

It says nothing of when and where: the same pack, built twice, has the same lock, byte by byte. It comes with packs of
others, and its names become paths and parts of scripts: they are held to what a manifest may give.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.errors import InvalidRequest
from audio_pool.packs.pack_manifest import ItemName

__all__ = ["LOCK", "Lock", "LockedFile", "read_lock", "write_lock"]

LOCK = "pack.lock"
_VERSION = 1
FileName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_.\-]*(/[a-z0-9][a-z0-9_.\-]*)*\Z")]
"""Within the pack's folder of sounds, and never out of it."""
Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]*\Z")]
Count = Annotated[int, Meta(ge=1)]


class LockedFile(Struct, frozen=True, kw_only=True):
    """One file as it was built."""

    file: FileName
    item: ItemName
    class_: ItemName = msgspec.field(name="class")
    variant: Count
    asked: dict[str, Any]  # opaque: fields of a request and a form
    """What was asked for; where that is the same, it need not be built again."""
    seed: int
    """As it was drawn in the end: another than asked for where that one's noise floor was too high."""
    recipe: Hex
    """Identity of the recipe, in hex: of everything that decides what the sound is, the model's revision included."""
    engine: str
    implementation: str
    model: str
    model_revision: str
    licence: str
    commercial_use: bool
    sha256: Hex
    """Of the file, in hex."""
    format: Annotated[str, Meta(pattern=r"\A[a-z0-9]+\Z")]
    sample_rate: Count
    channels: Count
    frames: Count
    is_loop: bool
    seam_score: float | None
    loudness_lufs: float | None
    true_peak_dbfs: float | None
    noise_floor_dbfs: float | None
    """Level of its quietest tenth; None: digital silence."""
    quality: float
    warnings: tuple[str, ...] = ()
    unsigned: Hex | UnsetType = UNSET
    """Of a signed file, in hex: SHA-256 of what was signed, which is the same whenever it is made again."""

    def content(self) -> LockedFile:
        """Return it as it were without a signature: two signatures of the same file differ."""
        if self.unsigned is UNSET:
            return self
        return msgspec.structs.replace(self, sha256=self.unsigned, unsigned=UNSET)


class Lock(Struct, frozen=True, kw_only=True):
    """All of a ``pack.lock``."""

    version: int = _VERSION
    name: ItemName
    pack_version: str
    files: tuple[LockedFile, ...] = ()
    """By name."""

    def by_file(self) -> dict[str, LockedFile]:
        return {one.file: one for one in self.files}


def read_lock(folder: Path) -> Lock | None:
    """Read a pack's lock; None: it was not built yet. Raises InvalidRequest: it is none of ours."""
    path = folder / LOCK
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidRequest(f"{path}: cannot be read: {exc.strerror}") from None
    try:
        tree = msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise InvalidRequest(f"{path}: not JSON: {exc}", hint="restore it, or remove it to build all anew") from None
    if isinstance(tree, dict) and tree.get("version") != _VERSION:
        raise InvalidRequest(f"{path}: given version {tree.get('version')!r}, allowed is {_VERSION}")
    try:  # not parse, which takes 12.0 for 12: what is written again is to be the same
        return msgspec.convert(tree, Lock)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(f"{path}: {exc}", hint="restore it, or remove it to build all anew") from None


def write_lock(folder: Path, lock: Lock) -> None:
    """Write a lock, as a whole or not at all. Raises OSError."""
    ordered = msgspec.structs.replace(lock, files=tuple(sorted(lock.files, key=lambda one: one.file)))
    data = msgspec.json.format(msgspec.json.encode(ordered, order="deterministic"), indent=1) + b"\n"
    beside = folder / f".{LOCK}.{os.getpid()}"
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, folder / LOCK)
    finally:
        beside.unlink(missing_ok=True)
