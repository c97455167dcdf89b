"""Rows of measurements in a file, one JSON object a line: written as they come, so that a run that is cut loses none.

A row is known by its key; what is there already, by the same machine, is not measured again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

KEY = ("engine", "setting", "dtype", "quantization", "what", "batch", "tiny", "machine")


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in KEY)


class Rows:
    """The rows of one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "rows.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            text = self.path.read_text()
            for line in text.splitlines():
                try:
                    self.rows.append(json.loads(line))
                except ValueError:  # the last one of a run that was cut while it wrote
                    continue
            if text and not text.endswith("\n"):
                with self.path.open("a") as file:
                    file.write("\n")

    def find(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The last measured row of this key; one that failed is none."""
        wanted = key_of(row)
        found = [one for one in self.rows if key_of(one) == wanted and "error" not in one]
        return found[-1] if found else None

    def add(self, row: dict[str, Any]) -> None:
        """Write a row; it is on the disk when this returns."""
        with self.path.open("a") as file:
            file.write(json.dumps(row, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)
