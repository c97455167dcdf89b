"""A pytest plugin: every served pool keeps its rows and durable jobs in a real PostgreSQL, a schema for each place.

``python -m pytest -p tests.support.served_on_postgres -m "not sqlite" tests/process/test_durable_jobs.py`` runs the
very tests of a server's durable jobs against those that heads share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.postgres import PostgresServer, postgres_programs
from tests.support.served import Served

LEASE_S = 3.0


@pytest.fixture(scope="session", autouse=True)
def _served_on_postgres() -> Iterator[None]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    schemas: dict[Path, str] = {}
    begin = Served.__init__
    with PostgresServer(programs, options=("fsync=off",)) as server, pytest.MonkeyPatch.context() as patch:

        def started(self: Served, place: Path, *arguments: str, **sections: Any) -> None:  # Any: of a configuration
            schema = schemas.setdefault(place, f"served_{os.getpid()}_{len(schemas)}")
            store = {"store": server.url(), "store_schema": schema, "store_connect_s": 1.0}
            sections["cache"] = {**store, **sections.get("cache", {})}
            sections["jobs"] = {"lease_s": LEASE_S, **sections.get("jobs", {})}
            begin(self, place, *arguments, **sections)

        patch.setattr(Served, "__init__", started)
        yield
