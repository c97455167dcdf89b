"""Two heads are asked for many durable sounds while one after the other is killed: every job ends exactly once."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from pathlib import Path

from tests.cluster.served_heads import ServedHeads, asking
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioPoolError

CLIENTS, JOBS, KILLS = 3, 16, 4


class Counting:
    """A client that asks until it has an answer, whichever head gives it, and keeps book."""

    def __init__(self, number: int, live: list[Served]) -> None:
        self._draw = random.Random(number)
        self._number, self._live = number, live
        self.answers: dict[str, str] = {}
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        names = [f"client-{self._number}-{job}" for job in range(JOBS)]
        while names:
            with contextlib.suppress(AudioPoolError), asking(self._draw.choice(self._live)) as client:
                some = names[:4]
                asked = {
                    name: client.submit(f"take 0.05 {name}", durable=True, request_id=name, force=True) for name in some
                }
                for name, pending in asked.items():
                    self.answers[name] = pending.result(PATIENCE_S).path
                    names.remove(name)
            time.sleep(0.05)


def test_every_job_ends_once_whichever_head_is_killed(database: str, tmp_path: Path) -> None:
    draw = random.Random(19)
    with ServedHeads(database, tmp_path, lease_s=3.0) as heads:
        live = [heads.start("a").ready(), heads.start("b").ready()]
        heads.count_ends()
        clients = [Counting(number, live) for number in range(CLIENTS)]
        for _ in range(KILLS):
            time.sleep(draw.uniform(0.2, 2.0))
            which = draw.randrange(2)
            live[which].signal(signal.SIGKILL)
            live[which].wait()
            live[which] = heads.start("ab"[which]).ready()
        for client in clients:
            client.thread.join(2 * PATIENCE_S)
            assert not client.thread.is_alive()
        answers = {name: path for client in clients for name, path in client.answers.items()}
        assert len(answers) == CLIENTS * JOBS
        rows = dict(heads.rows("SELECT request_id, path FROM jobs WHERE state = 'done'"))
        assert rows == answers, "each client was given what is recorded"
        ends = heads.rows("SELECT request_id, count(*) FROM ends GROUP BY request_id")
        assert sorted(ends) == sorted((name, 1) for name in answers)
        assert all(Path(path).stat().st_size for path in rows.values())
        left = {str(path) for path in (tmp_path / "jobs" / "results").glob("*.*")} - set(rows.values())
        assert len(left) <= KILLS, "of a head that was killed between keeping a sound and recording it"
