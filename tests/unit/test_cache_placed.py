"""The database behind the cache can be exchanged: no other module knows SQL."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import audio_pool.cache

CACHE = Path(audio_pool.cache.__file__).parent
DATABASES = {"sqlite", "postgres"}
OUTSIDE = sorted(path for path in CACHE.rglob("*.py") if not DATABASES & {*path.relative_to(CACHE).parts})
SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET|CREATE\s+(TABLE|INDEX)|PRAGMA\s)",
    re.DOTALL,
)


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.name)
def test_sql_stands_in_its_own_folder_alone(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert "sqlite3" not in set(imported(tree))
    assert [text for text in texts(tree) if SQL.search(text)] == []


def test_the_pattern_finds_sql_where_there_is_some() -> None:
    found = {
        path.name
        for path in (CACHE / "sqlite").glob("*.py")
        if any(SQL.search(text) for text in texts(ast.parse(path.read_text())))
    }
    assert found >= {"entries.py", "migrations.py", "renditions.py", "vectors.py", "changes.py", "inventory.py"}


def test_only_those_who_open_a_cache_name_the_implementation() -> None:
    naming = {
        path.name
        for path in OUTSIDE
        if any(module.startswith("audio_pool.cache.sqlite") for module in imported(ast.parse(path.read_text())))
    }
    assert naming == {"opening.py", "sound_cache.py", "warming.py"}
