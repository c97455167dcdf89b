"""Heads that are killed at whatever moment, many times: what was acknowledged is so, and nothing else is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from tests.cluster.heads import Heads, store_of
from tests.support.waiting import PATIENCE_S, eventually

_ROUNDS = 16
_HEADS = """
import os, sys
from pathlib import Path
from tests.cluster.heads import Heads, keep

for line in sys.stdin:  # a head for each, of a process that has loaded everything already
    if os.fork():
        os.wait()
        print("ended", flush=True)
        continue
    with Heads(sys.argv[1], Path(sys.argv[2])) as heads:
        head = heads.open("killed", max_per_prompt=10_000)
        print("pid", os.getpid(), flush=True)
        for seed in range(100_000):
            entry = keep(head, f"flood {line.strip()}", seed)
            print("kept", entry.id, flush=True)
            if seed % 3 == 2:
                print("removing", entry.id, flush=True)
                head.remove([entry.id])
                print("removed", entry.id, flush=True)
"""


def test_heads_that_are_killed_while_they_keep_and_remove_lose_and_leave_nothing(
    database: str, tmp_path: Path
) -> None:
    root, dice = Path(__file__).parents[2], random.Random(7)
    told: dict[str, set[int]] = {"kept": set(), "removing": set(), "removed": set()}
    source = subprocess.Popen(
        [sys.executable, "-c", _HEADS, database, str(tmp_path)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert source.stdin and source.stdout
    with Heads(database, tmp_path) as heads, source:
        other = heads.open("other", max_per_prompt=10_000)
        for number in range(_ROUNDS):
            source.stdin.write(f"{number}\n")
            source.stdin.flush()
            pid = int(source.stdout.readline().split()[1])
            for _ in range(dice.randrange(8)):
                what, entry = source.stdout.readline().split()
                told[what].add(int(entry))
            time.sleep(dice.random() * 0.05)
            os.kill(pid, signal.SIGKILL)
            while (line := source.stdout.readline()) != "ended\n":
                what, entry = line.split()
                told[what].add(int(entry))
        source.stdin.close()
        assert source.wait(PATIENCE_S) == 0
        with psycopg.connect(database, options="-c search_path=audio_pool") as db:
            rows = {row[0]: (row[1], row[2]) for row in db.execute("SELECT id, file, size_bytes FROM entries")}
        named = {file for file, _ in rows.values()}
        assert len(told["kept"]) > _ROUNDS and told["removed"]
        assert told["kept"] - told["removing"] <= rows.keys(), "what was acknowledged is kept"
        assert not told["removed"] & rows.keys(), "what was removed stays away"
        eventually(lambda: store_of(other)._replica.known().keys() == rows.keys(), "the other head knows the same")
        again = heads.open("killed")
        files = set(again.store.blobs.files())
        assert named <= files, "each has its file"
        assert files == named | again.store.leaving.files(), "what was put into place without a row is swept away"
        for file, size in rows.values():
            assert os.path.getsize(again.store.blobs.path_of(file)) == size, "and each is whole"
