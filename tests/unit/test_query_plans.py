"""Look-ups and kept sums search by what tells entries apart, never through a whole namespace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.cache_sounds import sound

from audio_pool.cache.settings import settings_of
from audio_pool.cache.sqlite.rows import FITS, ROW
from audio_pool.cache.sqlite.store import SqliteStore


@pytest.mark.parametrize(
    ("column", "index"),
    [("text_key", "entries_text"), ("canonical_key", "entries_canonical"), ("family", "entries_family")],
)
def test_a_look_up_searches_by_its_key(tmp_path: Path, column: str, index: str) -> None:
    store = SqliteStore(tmp_path / "cache")
    values = dict.fromkeys(re.findall(r":(\w+)", FITS), 1) | {"key": b"x"}
    look_up = f"SELECT {ROW} FROM entries WHERE {column} = :key AND {FITS}"
    (step,) = store.database.query(f"EXPLAIN QUERY PLAN {look_up}", values)
    store.close()
    assert f"USING INDEX {index} ({column}=?)" in step[3]


def test_the_sum_of_prompts_is_kept_by_the_text(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "cache")
    triggers = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'sum_entry_%'"
    asked = {
        found.replace("NEW.", ":").replace("OLD.", ":")
        for (sql,) in store.database.query(triggers)
        for found in re.findall(r"SELECT 1 FROM entries WHERE [^)]*", sql)
    }
    assert len(asked) == 1
    for sql in asked:
        values = {"text_key": b"x", "namespace": "default", "id": 1}
        (step,) = store.database.query(f"EXPLAIN QUERY PLAN {sql}", values)
        assert "USING INDEX entries_text (text_key=?)" in step[3]
    store.close()


def test_keeping_a_sound_looks_at_its_variants_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "cache")
    made = sound(store.blobs.incoming)
    asked: list[tuple[str, object]] = []
    real = store.database.query

    def watched(sql: str, values: Any = ()) -> list[Any]:
        asked.append((sql, values))
        return real(sql, values)

    monkeypatch.setattr(store.database, "query", watched)
    store.entries.variants(made.recipe.prompt, settings_of(made.recipe, made.metadata), 0.2)
    ((sql, values),) = asked
    (step,) = real(f"EXPLAIN QUERY PLAN {sql}", values)
    store.close()
    assert "USING INDEX entries_text (text_key=?)" in step[3]
