"""What the store on one machine keeps, the shared one keeps as well: a table is not forgotten in one of them."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import audio_pool.cache.sqlite.migrations as local

SHARED = Path(local.__file__).parents[1] / "postgres" / "migrations.py"
OF_REPLICAS = {
    "provenance": "columns of entries", "tags": "of the metadata, and in marks", "labels": "of the metadata",
    "spaces": "of vectors", "changes": "the feed", "doomed": "of an earlier version", "sqlite_sequence": "SQLite's own",
    "entry_sums": "counted there", "folder_sums": "counted there", "prompt_sums": "counted there",
    "vector_sums": "counted there", "spread_sums": "counted there",
    "looked_folders": "of a head's own disk", "seen": "of a head's own disk",
}  # fmt: skip
"""Tables that a replica has alone, and why."""


def test_every_table_of_the_local_store_is_shared_or_said_to_be_a_replicas() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    local.migrate(db, "memory")
    here = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    db.close()
    there = set(re.findall(r"CREATE TABLE (\w+)", SHARED.read_text()))
    assert here - there == set(OF_REPLICAS)
    of_several = {"feed", "heads", "jobs", "job_heads", "job_sounds"}
    assert there - here == of_several, "jobs of one machine have a file of their own"
