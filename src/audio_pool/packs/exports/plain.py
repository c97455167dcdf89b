"""A folder of sounds and ``pack.json``, from which any other export can be made.

Owns: that file.
Must not know: other targets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from audio_pool.packs.exports import BuiltPack, copied
from audio_pool.packs.pack_lock import LockedFile
from audio_pool.source_type import digital_source_type

__all__ = ["MANIFEST", "export", "manifest_of", "written_manifest"]

MANIFEST = "pack.json"
_LOSSLESS = ("wav", "flac")
Json = dict[str, Any]  # opaque: as it is written


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write the sounds, and what is known of them."""
    return [*(copied(pack, one, out) for one in pack.files), written_manifest(pack, out)]


def written_manifest(pack: BuiltPack, out: Path) -> Path:
    """Write what is known of the sounds beside them."""
    path = out / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest_of(pack), order="sorted"), indent=1) + b"\n")
    return path


def manifest_of(pack: BuiltPack) -> Json:
    """Return what ``pack.json`` says."""
    licences = {one.engine: {"licence": one.licence, "commercial_use": one.commercial_use} for one in pack.files}
    return {
        "audio_pool": {"kind": "pack", "version": 1},
        "name": pack.name,
        "version": pack.version,
        "licences": licences,
        "items": [
            {"id": item, "class": files[0].class_, "prompt": files[0].asked.get("prompt", ""),
             "tags": files[0].asked.get("tags", []), "files": [_file(one) for one in files]}
            for item, files in pack.variants()
        ],
    }  # fmt: skip


def _file(one: LockedFile) -> Json:
    loop = None
    if one.is_loop:
        loop = {"start": 0, "end": one.frames, "exact": one.format in _LOSSLESS, "seam_score": one.seam_score}
    return {
        "file": one.file,
        "variant": one.variant,
        "format": one.format,
        "frames": one.frames,
        "rate": one.sample_rate,
        "channels": one.channels,
        "loop": loop,
        "lufs": one.loudness_lufs,
        "dbtp": one.true_peak_dbfs,
        "sha256": one.sha256,
        "recipe": one.recipe,
        "seed": one.seed,
        "provenance": {
            "engine": one.engine,
            "model": one.model,
            "model_revision": one.model_revision,
            "licence": one.licence,
            "digital_source_type": digital_source_type(one.implementation, one.model),
        },
    }
