"""Presets as a file: written to be read by people, taken in as a whole or not at all.

Owns: the format of ``presets.json``.
Must not know: where presets are kept, who may set them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from audio_pool.cache.presets import KeptPresets
from audio_pool.errors import InvalidRequest, NotFound
from audio_pool.presets import MAX_AT_ONCE, MAX_PRESETS, Preset, checked_preset
from audio_pool.replacement import replacing

__all__ = ["NAME", "read_presets", "take_presets", "tree_of", "write_kept", "write_presets"]

NAME = "presets.json"
_LARGEST_BYTES = 128 << 20


def tree_of(presets: Iterable[Preset]) -> dict[str, Any]:  # JSON
    """Return what a file of presets says."""
    return {"presets": [msgspec.to_builtins(preset) for preset in presets]}


def read_presets(path: Path) -> list[Preset]:
    """Return the presets of a file, every one checked.

    Raises:
        NotFound: there is no such file. InvalidRequest: it is none of presets; which of them is wrong, and why.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InvalidRequest(f"{path}: is larger than any file of presets")
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError, RecursionError) as exc:
        raise InvalidRequest(f"{path}: cannot be read as JSON: {exc}") from None
    fields: Any = tree.get("presets") if isinstance(tree, dict) else None
    if not isinstance(fields, list) or len(fields) > MAX_PRESETS:
        raise InvalidRequest(f'{path}: allowed is {{"presets": [...]}} with up to {MAX_PRESETS:,} presets')
    return [_checked(path, number, one) for number, one in enumerate(fields)]


def _checked(path: Path, number: int, fields: Any) -> Preset:
    try:
        return checked_preset(fields)
    except InvalidRequest as exc:
        raise InvalidRequest(f"{path}: presets[{number}]: {exc.message}") from None


def write_presets(path: Path, presets: Sequence[Preset]) -> None:
    """Write a file, in the place of what is there. Raises OSError, StorageError."""
    folder = os.open(path.parent, os.O_DIRECTORY)
    try:
        with replacing(folder, path.name, str(path)) as file:
            file.write(json.dumps(tree_of(presets), ensure_ascii=False, indent=2).encode() + b"\n")
    finally:
        os.close(folder)


def write_kept(folder: Path, kept: KeptPresets) -> None:
    """Write all that are kept into an export's folder; nothing where there are none. Raises OSError."""
    found: list[Preset] = []
    while page := kept.page(type=None, suiting=(), after=found[-1].id if found else "", limit=MAX_AT_ONCE):
        found += page
    if found:
        write_presets(folder / NAME, found)
    else:
        (folder / NAME).unlink(missing_ok=True)


def take_presets(folder: Path, kept: KeptPresets) -> None:
    """Keep those of an export that has some, but for what is kept here under their ids.

    Raises:
        InvalidRequest: its file is none of presets. StorageError: none was taken.
    """
    if (folder / NAME).exists():
        kept.restore(read_presets(folder / NAME))

