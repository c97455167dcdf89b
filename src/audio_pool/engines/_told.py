"""What the small files of a model in diffusers' layout say of it, before anything is loaded.

Owns: reading one.
Must not know: what any of it means to an engine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["part_config"]


def part_config(directory: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    """Return a part's configuration; empty where there is none. Raises ValueError, OSError: it cannot be read."""
    file = directory / part / name
    found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{file} is no mapping")
    return found
