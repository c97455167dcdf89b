"""An audio sprite with its map as howler.js (version 2) takes it.

Owns: that map: ``{"src": [...], "sprite": {NAME: [start, duration, loop]}}``, in milliseconds.
Must not know: how sprites are laid out (audiosprite.py).
"""

from __future__ import annotations

import json
from pathlib import Path

from audio_pool.packs.exports import BuiltPack
from audio_pool.packs.exports.audiosprite import written_sprite
from audio_pool.packs.exports.plain import written_manifest

__all__ = ["export"]


def export(pack: BuiltPack, out: Path, *, guard: bool = False) -> list[Path]:
    """Write the sprite and ``NAME.json``. Raises InvalidRequest: it would be too long, or two names are alike."""
    laid, files = written_sprite(pack, out)
    sprite: dict[str, list[float | bool]] = {}
    for one in laid:
        sprite[one.name] = [round(one.start * 1000, 3), round((one.end - one.start) * 1000, 3)]
        if one.loop:
            sprite[one.name].append(True)
    path = out / f"{pack.name}.json"
    told = {"src": [file.name for file in files], "sprite": sprite}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return [*files, path, written_manifest(pack, out)]
