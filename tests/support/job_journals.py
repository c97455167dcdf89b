"""Journals of durable jobs: SQLite's, or with ``-p tests.support.on_postgres`` one on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audio_pool.jobs.journal import Journal
from audio_pool.jobs.sqlite import SqliteJournal

open_journal: Callable[[Path], Journal] = SqliteJournal
"""Opens what is kept at a place, for one process after the other."""


def opened(place: Path) -> Journal:
    """Open it as whichever implementation is being tried; what was left unfinished is not taken up."""
    return open_journal(place)
