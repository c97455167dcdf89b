"""Two heads are asked for many durable sounds while they are killed, frozen and cut off: every job ends once."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from pathlib import Path

from tests.cluster.served_heads import ServedHeads, asking, freeze, thaw, through
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres import PostgresServer
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioPoolError

CLIENTS, JOBS = 3, 24
MISHAPS = ["kill", "kill", "freeze", "cut"]


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


def test_every_job_ends_once_whatever_happens_to_its_head(
    database: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    draw = random.Random(19)
    with ServedHeads(database, tmp_path, lease_s=3.0) as heads:
        proxies = [
            heads.enter_context(contextlib.closing(FaultProxy(str(postgres.place), postgres.port))) for _ in "ab"
        ]
        urls = [through(proxy, database) for proxy in proxies]
        live = [heads.start(name, url=url) for name, url in zip("ab", urls, strict=True)]
        for head in live:
            head.ready()
        heads.count_ends()
        clients = [Counting(number, live) for number in range(CLIENTS)]
        for what in draw.sample(MISHAPS, len(MISHAPS)):
            time.sleep(draw.uniform(0.2, 1.0))
            which = draw.randrange(2)
            if what == "kill":
                live[which].signal(signal.SIGKILL)
                live[which].wait()
                live[which] = heads.start("ab"[which], url=urls[which]).ready()
            elif what == "freeze":
                freeze(live[which])
                time.sleep(5.0)
                thaw(live[which])
            else:
                proxies[which].set("cut")
                time.sleep(5.0)
                proxies[which].set("pass")
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

        def left() -> set[str]:
            return {str(path) for path in (tmp_path / "jobs" / "results").glob("*.*")} - set(rows.values())

        eventually(lambda: len(left()) <= MISHAPS.count("kill"), "of heads that were killed before they recorded it")
