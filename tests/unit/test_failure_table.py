"""The table of failures in docs/cluster.md: each row names a test that does it, and there is one of that name."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_FOLDERS = (_ROOT / "tests" / "cluster", _ROOT / "tests" / "process")


def _rows() -> list[list[str]]:
    text = (_ROOT / "docs" / "cluster.md").read_text()
    table = text.partition("## What happens when")[2]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] not in ("failure", "---")]


def test_each_failure_names_tests_that_there_are() -> None:
    rows = _rows()
    assert len(rows) > 25
    for row in rows:
        assert len(row) == 5, row
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row[-1])
        assert named, row
        for file, test in named:
            texts = [path.read_text() for folder in _FOLDERS if (path := folder / f"{file}.py").exists()]
            assert any(f"\ndef {test}(" in text for text in texts), f"{file}::{test}"
