"""A pytest plugin: whatever opens a cache directory gets a store on a real PostgreSQL in the place of SQLite.

``python -m pytest -p tests.support.on_postgres -m "not sqlite" tests/unit/test_store.py`` runs the very tests of the
store on one machine against the shared one. Each directory has a schema of its own, which it finds again when it is
opened again. Tests of SQLite's own are marked ``sqlite``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import job_journals
from tests.support.postgres import PostgresServer, postgres_programs

from audio_pool.cache import opening
from audio_pool.cache.postgres.database import PostgresDatabase
from audio_pool.cache.postgres.store import PostgresStore
from audio_pool.cache.shared import SharedStore
from audio_pool.jobs.postgres import PostgresJournal


@pytest.fixture(scope="session")
def _server() -> Iterator[PostgresServer]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    with PostgresServer(programs, options=("fsync=off",)) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _on_postgres(_server: PostgresServer) -> Iterator[None]:
    schemas: dict[str, str] = {}

    def opened(directory: Path | str, **how: Any) -> PostgresStore:  # Any: as SqliteStore takes them
        place = os.path.realpath(directory)
        schema = schemas.setdefault(place, f"s{os.getpid()}_{next(_numbers)}")
        return PostgresStore(directory, SharedStore(url=_server.url(), schema=schema), **how)

    def journal(place: Path) -> PostgresJournal:
        schema = schemas.setdefault(os.path.realpath(place), f"j{os.getpid()}_{next(_numbers)}")
        database = PostgresDatabase(SharedStore(url=_server.url(), schema=schema))
        found = PostgresJournal(database, f"head {next(_numbers)}", 60.0)
        found.close = database.close  # type: ignore[method-assign]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "SqliteStore", opened)
        patch.setattr(job_journals, "open_journal", journal)
        yield


_numbers = iter(range(1, 1_000_000))
