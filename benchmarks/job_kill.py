"""kill -9 of the server at random moments: no durable job is lost, none made twice once its result was recorded.

    python -m benchmarks.job_kill [KILLS]          # 30 where not given

One client with ``resume=True`` keeps asking for sounds of a few tens of milliseconds, durable, each under its own
id; the server is killed after a random time (from before the first request is taken in to long after the last is
done) and started again at the same place, KILLS times. In the end: every job has one result, the one that its
caller got; what the journal called done after a kill is still that file; nothing is left pending.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audio_pool.client.client import AudioClient
from audio_pool.errors import NotFound
from audio_pool.jobs.record import JobRecord
from audio_pool.jobs.sqlite import SqliteJournal
from audio_pool.pending import Pending

_JOBS_A_ROUND = 8
_READY_S = 120.0


class Server:
    """``audio-pool serve`` with the engine ``mock``, at one place."""

    def __init__(self, place: Path) -> None:
        self.endpoint = f"ipc://{place}/s"
        command = [sys.executable, "-m", "audio_pool.cli", "serve", "--bind", self.endpoint]
        command += ["--cache-dir", str(place / "cache")]
        env = {**os.environ, "AUDIO_POOL_CACHE_ENCODER": "off", "AUDIO_POOL_DEFAULTS_ENGINE": "mock"}
        with (place / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env)

    def ready(self) -> Server:
        """Once it says that it is."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready"):
                return self
        raise RuntimeError("the server ended; see its stderr")

    def kill(self) -> None:
        """At once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_READY_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


def records(place: Path) -> dict[str, JobRecord]:
    """Every job in the journal of a server that does not run."""
    try:
        journal = SqliteJournal(place / "cache" / "jobs", read_only=True)
    except NotFound:
        return {}
    try:
        states = ("pending", "running", "done", "failed", "cancelled", "expired")
        return {one.request_id: one for owner in journal.owners() for one in journal.newest(owner, states, 1 << 30)}
    finally:
        journal.close()


def run(kills: int, seed: int = 1) -> dict[str, int]:
    """Do it; return what was counted. Raises AssertionError where something was lost, or made twice."""
    draw, counts = random.Random(seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        server = Server(place).ready()
        pending: dict[str, Pending] = {}
        done: dict[str, str | None] = {}
        numbers = itertools.count()
        with AudioClient(server.endpoint, timeout_s=600.0, resume=True) as client:
            for _ in range(kills):
                for number in itertools.islice(numbers, _JOBS_A_ROUND):
                    name = f"job-{number}"
                    words = f"a sound with the number {number}"
                    pending[name] = client.submit(words, duration_s=1.0, force=True, durable=True, request_id=name)
                time.sleep(draw.choice((0.0, 0.003, 0.01, 0.05, 0.2, 0.5)) * draw.random() * 2)
                server.kill()
                left = records(place)
                counts.update(f"{one.state} at a kill" for one in left.values() if one.request_id not in done)
                counts["unknown at a kill"] += len(pending.keys() - left.keys())
                for name, path in done.items():
                    assert left[name].path == path, f"{name} was done, and was made again"
                done |= {name: one.path for name, one in left.items() if one.state == "done"}
                server = Server(place)
                if draw.random() < 0.8:  # else it is killed while it starts
                    server.ready()
            server.kill()
            server = Server(place).ready()
            paths = {name: one.result(600.0).path for name, one in pending.items()}
            reports = {name: client.job(name) for name in pending}
            open_jobs = client.jobs(["pending", "running", "failed"]).jobs
        server.kill()
        lost = [name for name, path in paths.items() if reports[name].path != path or not Path(path).exists()]
        assert not lost and not open_jobs, (lost, open_jobs)
        assert all(paths[name] == path for name, path in done.items())
        counts["kills"], counts["jobs"], counts["done"] = kills, len(pending), len(paths)
    return dict(counts)


if __name__ == "__main__":
    started = time.monotonic()
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    print(json.dumps({**found, "seconds": round(time.monotonic() - started)}, indent=2))
