"""Plain files beside sounds: JSON read whatever it holds, and any file put into its place as a whole.

Owns: ``json_in``, ``json_at``, ``write_json``, ``replacing``.
Must not know: what the files say.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["OLD_ENCODING", "Json", "json_at", "json_in", "replacing", "write_json"]

Json = dict[str, Any]  # opaque: comes from anywhere; whoever reads it checks it field by field
OLD_ENCODING = "cp1252"
"""Of text that is no UTF-8: tables and listings of Windows programs."""
_LARGEST = 8 << 20


def json_in(data: bytes) -> Any:  # opaque: as Json
    """Return what JSON in UTF-8, UTF-16 or, where it is neither, of a Windows program says. Raises ValueError."""
    try:
        return json.loads(data)
    except UnicodeDecodeError:
        return json.loads(data.decode(OLD_ENCODING, errors="replace"))


def json_at(path: Path) -> Json | None:
    """Return the object that a file holds; None where there is none, or it cannot be read."""
    try:
        if path.is_file() and path.stat().st_size <= _LARGEST:  # a pipe would be waited for
            found = json_in(path.read_bytes())
            return found if isinstance(found, dict) else None
    except (OSError, ValueError, RecursionError):
        pass
    return None


def write_json(path: Path, value: Mapping[str, Any]) -> bytes:
    """Write a file as a whole; return its content."""
    data = (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
    with replacing(path) as part:
        part.write_bytes(data)
    return data


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write, which takes the target's place where something was written and nothing was raised."""
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        yield part
        if part.exists():
            os.replace(part, target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
