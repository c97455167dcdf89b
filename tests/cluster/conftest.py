"""One real PostgreSQL server for a whole run of these tests; a test takes an empty database of it.

Of one process of the run, that is: with pytest-xdist each has its own. ``AUDIO_POOL_POSTGRES`` names the folder of its
programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.heads import Heads
from tests.support.postgres import PostgresServer, postgres_programs

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this run; who stops it starts it again."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    with PostgresServer(programs) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    with postgres.database(f"test_{next(_numbers)}") as url:
        yield url


@pytest.fixture
def heads(database: str, tmp_path: Path) -> Iterator[Heads]:
    """Opens heads on that database: ``heads.open("a")``."""
    with Heads(database, tmp_path) as heads:
        yield heads
