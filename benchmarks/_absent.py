"""What a benchmark needs and is not there: said in one line, and no failure."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Absent", "postgres_folder"]


class Absent(Exception):
    """What is missing, and what would bring it."""


def postgres_folder() -> Path:
    """Return the folder of PostgreSQL's programs. Raises Absent."""
    try:
        from tests.support.postgres import postgres_programs
    except ModuleNotFoundError as error:
        raise Absent(f"{error.name} is not installed: make bench-cluster brings it") from None
    found = postgres_programs()
    if found is None:
        raise Absent("there is no PostgreSQL: apt-get install postgresql, or AUDIO_POOL_POSTGRES=FOLDER")
    return found
