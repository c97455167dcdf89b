"""A pack: several sounds and what is known of them, as one ZIP whose bytes follow from what is in it.

Owns: Archive, its names, ``pack.json``.
Must not know: where sounds come from, who takes the bytes.

Files are stored, not packed again, in the order that they were added, all with the same date: the same sounds give the
same archive. Each is in memory only until it has been taken. There is no manifest that every game engine reads;
``pack.json`` says what any of theirs can be made of.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import msgspec
from msgspec import Struct

from audio_pool import __version__
from audio_pool.packs.names import slug
from audio_pool.results import SoundMetadata
from audio_pool.source_type import digital_source_type
from audio_pool.types import Label

__all__ = ["MANIFEST", "Archive", "Pack", "PackItem", "PackLicence", "PackLoop", "PackProvenance"]

MANIFEST = "pack.json"
_KIND, _VERSION = "pack", 1
_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a ZIP can say."""
_LOSSLESS = ("wav", "flac")
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))])
"""Names that no file of Windows may have."""


class PackLoop(Struct, frozen=True, kw_only=True):
    """Where a loop is, in frames: the first, and one past the last."""

    start: int
    end: int
    exact: bool
    """The file gives back the very frames that the loop has."""
    seam_score: float | None = None


class PackProvenance(Struct, frozen=True, kw_only=True):
    """Where a sound comes from."""

    generator: str
    engine: str
    implementation: str
    model: str
    model_revision: str
    digital_source_type: str
    """IPTC's word for it, which C2PA uses, too; "" of a sound that nobody here made."""
    created_at: float
    """Seconds since 1970."""
    sha256: str
    """Of the file."""


class PackItem(Struct, frozen=True, kw_only=True):
    """One sound of a pack."""

    id: str
    """Its name here."""
    files: tuple[str, ...]
    prompt: str
    format: str
    frames: int
    rate: int
    channels: int
    duration_s: float
    loop: PackLoop | None
    lufs: float | None
    dbtp: float | None
    category: str | None
    """As its label ``category`` says, e.g. of the Universal Category System."""
    tags: tuple[str, ...]
    labels: dict[str, Label]
    rating: int | None
    licence: str
    commercial_use: bool
    recipe: dict[str, Any]  # opaque: as its engine takes them
    provenance: PackProvenance


class PackLicence(Struct, frozen=True, kw_only=True):
    """What may be done with the sounds of one engine."""

    licence: str
    commercial_use: bool


class Pack(Struct, frozen=True, kw_only=True):
    """What ``pack.json`` says."""

    audio_pool: dict[str, str | int]
    name: str
    version: str
    licences: dict[str, PackLicence]
    """By engine."""
    items: tuple[PackItem, ...]
    missing: tuple[int, ...] = ()
    """Ids of sounds that were removed while the pack was made."""


class Archive:
    """One pack in the making: each call returns the bytes that have come to be."""

    def __init__(self, name: str, version: str = "1.0.0") -> None:
        self._name = name
        self._version = version
        self._window = _Window()
        self._zip = zipfile.ZipFile(self._window, "w", zipfile.ZIP_STORED)
        self._names: set[str] = set()
        self._items: list[PackItem] = []
        self._licences: dict[str, PackLicence] = {}

    def add(
        self,
        data: bytes,
        metadata: SoundMetadata,
        *,
        sha256: str,
        tags: tuple[str, ...] | None = None,
        rating: int | None = None,
    ) -> bytes:
        """Put a sound in.

        Args:
            metadata: of this very file.
            sha256: of the bytes, in hex.
            tags: that it has now; None: those of its metadata.
        """
        stem = self._name_for(metadata.prompt)
        file = f"{stem}.{metadata.format}"
        known = metadata if tags is None else msgspec.structs.replace(metadata, tags=tags)
        self._items.append(_item(stem, file, known, sha256, rating))
        self._licences[metadata.engine] = PackLicence(licence=metadata.licence, commercial_use=metadata.commercial_use)
        return self._put(file, data)

    def finish(self, missing: tuple[int, ...] = ()) -> bytes:
        """Put the manifest in, and the directory that ends the archive."""
        pack = Pack(
            audio_pool={"kind": _KIND, "version": _VERSION},
            name=self._name,
            version=self._version,
            licences=dict(sorted(self._licences.items())),
            items=tuple(self._items),
            missing=missing,
        )
        data = self._put(MANIFEST, msgspec.json.format(msgspec.json.encode(pack), indent=1) + b"\n")
        self._zip.close()
        return data + self._window.take()

    def _put(self, name: str, data: bytes) -> bytes:
        info = zipfile.ZipInfo(name, _DATE)
        info.external_attr = 0o644 << 16
        info.create_system = 3
        self._zip.writestr(info, data)
        return self._window.take()

    def _name_for(self, prompt: str) -> str:
        stem = slug(prompt)
        if stem in _DEVICES:
            stem = f"{stem}_sound"
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number:02d}"
        self._names.add(name)
        return name


def _item(stem: str, file: str, metadata: SoundMetadata, sha256: str, rating: int | None) -> PackItem:
    frames = round(metadata.duration_s * metadata.sample_rate)
    loop = None
    if metadata.is_loop:
        seam = None if metadata.loop is None else metadata.loop.seam_score
        loop = PackLoop(start=0, end=frames, exact=metadata.format in _LOSSLESS, seam_score=seam)
    category = metadata.labels.get("category")
    return PackItem(
        id=stem,
        files=(file,),
        prompt=metadata.prompt,
        format=metadata.format,
        frames=frames,
        rate=metadata.sample_rate,
        channels=metadata.channels,
        duration_s=metadata.duration_s,
        loop=loop,
        lufs=metadata.loudness_lufs,
        dbtp=metadata.true_peak_dbfs,
        category=category if isinstance(category, str) else None,
        tags=metadata.tags,
        labels=metadata.labels,
        rating=rating,
        licence=metadata.licence,
        commercial_use=metadata.commercial_use,
        recipe=_recipe(metadata),
        provenance=PackProvenance(
            generator=f"audio_pool {__version__}",
            engine=metadata.engine,
            implementation=metadata.implementation,
            model=metadata.model,
            model_revision=metadata.model_revision,
            digital_source_type=digital_source_type(metadata.implementation, metadata.model),
            created_at=metadata.generation_timestamp,
            sha256=sha256,
        ),
    )


def _recipe(metadata: SoundMetadata) -> dict[str, Any]:  # opaque: as its engine takes them
    """Return the fields of a request that asks for the same sound again."""
    asked = {
        "prompt": metadata.prompt,
        "negative_prompt": metadata.negative_prompt,
        "engine": metadata.engine,
        "seed": metadata.base_seed,
        "duration_s": metadata.requested_duration_s or None,
        "loop": metadata.is_loop,
        "steps": metadata.steps,
        "guidance_scale": metadata.guidance_scale,
        "candidates": metadata.candidates_requested,
        "voice": metadata.voice,
        "options": metadata.options,
    }
    return {name: value for name, value in asked.items() if value not in (None, "", {})}


class _Window(io.RawIOBase):
    """What ``zipfile`` writes to: the part that nobody has taken yet. It goes back within one member only."""

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0
        self._part = io.BytesIO()

    def __del__(self) -> None:
        """Stay open: an archive that was given up writes its end when it goes, and complains where it cannot."""

    def take(self) -> bytes:
        """Return what was written since, and forget it."""
        data = self._part.getvalue()
        self._taken += len(data)
        self._part = io.BytesIO()
        return data

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:  # opaque: any buffer
        return self._part.write(data)

    def tell(self) -> int:
        return self._taken + self._part.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        assert whence == io.SEEK_SET and offset >= self._taken, "a member that has been taken is not changed any more"
        self._part.seek(offset - self._taken)
        return offset
