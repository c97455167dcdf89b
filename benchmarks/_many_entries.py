"""A cache of very many entries in little time: some are kept by the store's own code, others are copies of their rows.

A copy has another id, file, hash and another identity of its recipe, so that it stands in every index and is found by
nobody; the sums that SQLite's triggers keep are theirs, too. The registry of what was made has no copies.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

__all__ = ["multiply_postgres", "multiply_sqlite"]

_DIGESTS = ("identity", "family", "text_key", "canonical_key", "sha256")
_FILE = "substr(file, 1, 9) || {copy} || '-' || substr(file, 10)"


def _columns(names: list[str], digest: str, copy: str, stride: int) -> dict[str, str]:
    """Return what stands in each column of a copy."""
    told = {"id": f"id + {copy} * {stride}", "entry_id": f"entry_id + {copy} * {stride}"}
    told |= {"file": _FILE.format(copy=copy), **{name: digest.format(name=name, copy=copy) for name in _DIGESTS}}
    return {name: told.get(name, name) for name in names}


def _copied(table: str, columns: dict[str, str], copies: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {table}, {copies}"


def multiply_sqlite(file: Path, times: int) -> None:
    """Have each entry ``times`` times."""

    def digest(data: bytes, copy: int) -> bytes:
        return hashlib.sha256(data + str(copy).encode()).digest()[: len(data)]

    db = sqlite3.connect(file, timeout=60.0)
    db.create_function("copied", 2, digest, deterministic=True)
    counted = f"SELECT 1 UNION ALL SELECT c + 1 FROM n WHERE c < {times - 1}"
    numbers = f"(WITH RECURSIVE n (c) AS ({counted}) SELECT c FROM n)"
    (stride,) = db.execute("SELECT max(id) FROM entries").fetchone()
    with db:
        for table in ("entries", "provenance", "vectors", "uses"):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            db.execute(_copied(table, _columns(names, "copied({name}, {copy})", "c", stride), numbers))
    db.execute("ANALYZE")
    db.close()


def multiply_postgres(url: str, schema: str, times: int) -> None:
    """Do likewise in a database; a replica of it is multiplied by itself."""
    import psycopg

    digest = "substring(sha256({name} || convert_to({copy}::text, 'UTF8')) FROM 1 FOR length({name}))"
    with psycopg.connect(url, options=f"-c search_path={schema}") as db:
        (stride,) = db.execute("SELECT max(id) FROM entries").fetchone() or (0,)
        for table in ("entries", "vectors", "uses"):
            found = db.execute(
                "SELECT column_name FROM information_schema.columns WHERE (table_schema, table_name) = (%s, %s) "
                "AND is_generated = 'NEVER'",
                (schema, table),
            ).fetchall()
            columns = _columns([name for (name,) in found], digest, "c", stride)
            db.execute(_copied(table, columns, f"generate_series(1, {times - 1}) AS copies (c)"))
        db.execute("SELECT setval(pg_get_serial_sequence('entries', 'id'), (SELECT max(id) FROM entries))")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("ANALYZE")
