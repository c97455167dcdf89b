"""The manifest of an export: of which cache it is, whether it is complete, what was measured of its encoders.

Owns: ``manifest.json``.
Must not know: the sounds of an export, and how they are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from audio_pool.cache.calibration import Measured
from audio_pool.cache.store import Store
from audio_pool.errors import InvalidRequest
from audio_pool.exchange.plain_files import json_at, write_json

__all__ = ["ExportFormat", "begin", "complete", "take_calibrations"]

ExportFormat = Literal["flac", "wav"]
_NAME = "manifest.json"
_KIND, _VERSION = "cache export", 1


def begin(place: Path, store_id: str, format: ExportFormat) -> None:
    """Say what is being made in a directory. Raises InvalidRequest where it holds something else."""
    path, head = place / _NAME, _head(store_id, format)
    if not path.exists():
        if any(place.iterdir()):
            raise InvalidRequest(f"{place} is not empty and holds no export", hint="name another directory")
    else:
        found = json_at(path) or {}
        if any(found.get(name) != head[name] for name in ("audio_pool", "store")):
            raise InvalidRequest(f"{place} holds something else than an export of this cache", hint="name another one")
        if found.get("format") != format:
            raise InvalidRequest(
                f"{place} holds an export as {found.get('format')}, given is {format}", hint="name another directory"
            )
    write_json(path, {**head, "complete": False})


def complete(place: Path, store: Store, format: ExportFormat, told: dict[str, Any]) -> None:
    """Say that an export is complete.

    Args:
        told: JSON, as documented in docs/manager.md.
    """
    measured = msgspec.to_builtins(store.calibrations.all())
    write_json(place / _NAME, {**_head(store.store_id, format), "complete": True, **told, "calibrations": measured})


def take_calibrations(store: Store, directory: Path) -> None:
    """Take over what an export says was measured of encoders; what was measured here stays."""
    found = json_at(directory / _NAME)
    mark = found.get("audio_pool") if found else None
    if not found or not isinstance(mark, dict) or mark.get("kind") != _KIND:
        return
    told = found.get("calibrations")
    for one in told if isinstance(told, list) else ():
        try:
            measured = msgspec.convert(one, Measured)
        except msgspec.ValidationError:
            continue
        if store.calibrations.at_070(measured.space) is None:
            store.calibrations.keep(measured)


def _head(store_id: str, format: ExportFormat) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    return {"audio_pool": {"kind": _KIND, "version": _VERSION}, "store": store_id, "format": format}
