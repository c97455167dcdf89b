"""Heads whose clocks are a minute or a day off: what they write and remove is what a head whose clock is right does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from tests.cluster.heads import Heads, finds, keep, store_of
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.jobs.leases import put_out

_DAY_S = 86_400.0
_OFF_S = (60.0, -60.0, _DAY_S, -_DAY_S)
_HEAD = """
import json, os, sys, time
real, off = time.time, 0.0
time.time = lambda: real() + off  # before anything of the package is loaded
from pathlib import Path
from tests.cluster.heads import Heads, keep, store_of
from audio_pool.cache.judgements import Given
from audio_pool.cache.limits import Limits
from audio_pool.cache.usage import Usage
from audio_pool.library import SoundMarks
from audio_pool.presets import Preset

for line in sys.stdin:
    off = json.loads(line)
    with Heads(sys.argv[1], Path(sys.argv[2])) as heads:
        head = heads.open("off", limits=Limits(ttl_s=43_200.0))
        store, words = store_of(head), f"of {off:g}"
        entry = keep(head, words)
        head.usage.answered("exact", 1.0, entry.id)
        head.usage.write_down()
        store.marks.mark(entry.id, SoundMarks(rating=4))
        head.learn([Given("default", "asked " + words, words, "right", "feedback")])
        (preset,) = store.presets.set([Preset(id=words, type="prompt", content={"before": words})])
        head.eviction.work()
        (used,) = store.uses.of([entry.id]).values()
        goes = keep(head, words + " goes")
        head.remove([goes.id])
        gone = store.leaving.unlink_due().files
        recent = Usage(store.uses, head.now, grace_s=600.0)
        young = [one for one in store.uses.least("", None, 100) if not recent.is_recent(one)]
        taken = store.claims.take(words.encode())
        print(json.dumps({
            "entry": entry.id, "kept": entry.created_at, "used": used.last_used, "preset": preset.metadata.timestamp,
            "says": head.now(), "unlinked": gone, "taken": taken, "old": [one.entry_id for one in young],
        }), flush=True)
        sys.stdin.readline()  # what it has claimed is free when it is closed
"""


def test_heads_whose_clocks_differ_do_the_same(database: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _HEAD, database, str(tmp_path)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin and child.stdout
    with Heads(database, tmp_path) as heads, child:
        right = heads.open("right", grace_s=600.0)
        mine = keep(right, "by the right clock")
        old = keep(right, "too old")
        begun = time.time()
        for off in _OFF_S:
            _make_older(database, old.id or 0, 0.9 * _DAY_S)
            child.stdin.write(f"{json.dumps(off)}\n")
            child.stdin.flush()
            told = json.loads(child.stdout.readline())
            for what in ("kept", "used", "preset", "says"):
                assert begun - 1 <= told[what] <= time.time() + 1, f"{what} {off:g} s off is the database's time"
            assert told["unlinked"] == 0, "a grace is none the shorter"
            assert told["old"] == [], "what was just made or used is spared"
            assert told["taken"] and not right.store.claims.take(f"of {off:g}".encode())
            child.stdin.write("\n")
            child.stdin.flush()
            eventually(lambda told=told: right.store.entries.entry(told["entry"]), "this one has heard of it")
            (judged,) = (one for one in right.store.judgements.newest(10) if one.given.prompt == f"of {off:g}")
            assert begun - 1 <= judged.judged_at <= time.time() + 1
            assert finds(right, "by the right clock") == mine.id, "what is young is not evicted"
            eventually(lambda: finds(right, "too old") is None, "what is too old is evicted by whichever clock")
            old = keep(right, "too old")
        with psycopg.connect(database, options="-c search_path=audio_pool") as db:
            marked = db.execute("SELECT min(marked_at), max(marked_at) FROM marks").fetchone()
        assert marked is not None and begun - 1 <= marked[0] <= marked[1] <= time.time() + 1
        child.stdin.close()
        assert child.wait(PATIENCE_S) == 0


def _make_older(database: str, entry_id: int, by_s: float) -> None:
    with psycopg.connect(database, options="-c search_path=audio_pool") as db:
        db.execute("UPDATE entries SET created_at = created_at - %s WHERE id = %s", (by_s, entry_id))
        db.execute("UPDATE uses SET last_used = last_used - %s WHERE entry_id = %s", (by_s, entry_id))


def test_no_lease_lasts_for_longer_than_it_was_given_where_the_databases_own_clock_is_set_back(
    heads: Heads, database: str
) -> None:
    """Its host's is set right, or a standby whose clock is behind takes its place."""
    a, b = heads.open("a"), heads.open("b")
    assert a.store.claims.take(b"a sound") and not b.store.claims.take(b"a sound")
    dead = store_of(a).lease.id
    store_of(a).lease._left = True  # it beats no more
    with psycopg.connect(database, autocommit=True, options="-c search_path=audio_pool") as db:
        db.execute("UPDATE heads SET seen_at = seen_at + '1 day', due = due + '1 day' WHERE id = %s", (dead,))
        db.execute("UPDATE claims SET due = due + '1 day'")
        assert b.store.claims.take(b"a sound")
        db.execute("INSERT INTO job_heads VALUES ('dead', clock_timestamp() + interval '1 day')")
        db.execute("INSERT INTO job_heads VALUES ('lives', clock_timestamp() + interval '1 hour')")
        assert put_out(db, "audio_pool") == ["dead"]
