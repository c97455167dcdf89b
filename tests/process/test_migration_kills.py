"""An older cache whose upgrade is killed midway: whoever opens it next goes on where it was."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.cache_sounds import ids_in
from tests.support.old_cache import OldCache

from audio_pool.cache.sqlite import migrations
from audio_pool.cache.sqlite.rows import made_columns
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.cache.verify import verify

X = np.eye(4, dtype=np.float32)[0]

_KILLED = """
import os, signal, sys
from audio_pool.cache.sqlite import migrations
from audio_pool.cache.sqlite.store import SqliteStore

directory, where, call = sys.argv[1], sys.argv[2], int(sys.argv[3])
migrations._FILLED_AT_ONCE = 4
calls = 0
def counted(*args, **kwargs):
    global calls
    calls += 1
    if calls == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)
function = getattr(migrations, where)
setattr(migrations, where, counted)
SqliteStore(directory)
"""


@pytest.mark.parametrize(
    ("where", "call", "version", "filled"), [("made_columns", 11, 2, 8), ("_take_steps", 3, 6, 20)]
)
def test_what_was_brought_up_to_date_before_a_kill_is_not_done_again(
    tmp_path: Path, where: str, call: int, version: int, filled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = OldCache(tmp_path / "cache")
    kept = {old.put(f"sound {number}", X, seed=number) for number in range(20)}
    snapshot = old.directory / "index" / "minilm-000000000000.index"
    snapshot.write_bytes(b"APVIX of the old groups")
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(old.directory), where, str(call)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with contextlib.closing(sqlite3.connect(old.directory / "cache.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("SELECT count(*) FROM entries WHERE implementation <> ''").fetchone() == (filled,)
        made = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'entries_%'")}
        assert ("entries_file" in made) == (version == 6)
    again: list[str] = []
    monkeypatch.setattr(migrations, "made_columns", lambda one: again.append("filled") or made_columns(one))
    store = SqliteStore(old.directory)
    assert len(again) == 20 - filled and not snapshot.exists()
    assert ids_in(store) == kept and verify(store).problems == []
    store.close()
