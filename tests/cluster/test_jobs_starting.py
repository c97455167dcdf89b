"""Durable jobs of a head that died, at one whose further worker is still on its way."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.cluster.served_heads import ServedHeads, asking
from tests.cluster.test_jobs_heads import in_state
from tests.support.waiting import eventually


def test_what_a_dead_head_had_waits_for_no_worker_that_is_added(database: str, tmp_path: Path) -> None:
    gate, hold = tmp_path / "gate", tmp_path / "hold"
    gate.touch()
    with ServedHeads(database, tmp_path / "heads", lease_s=3.0, engines={"stage": {"gate": str(gate)}}) as heads:
        a, b = heads.start("a"), heads.start("b")
        a.ready(), b.ready()
        gate.unlink()
        with asking(a) as one, asking(b) as other:
            other.workers.add("late", like="w")
            eventually(lambda: other.health().state == "starting", "a worker is on its way")
            one.submit(f"hold {hold} left", durable=True, request_id="left")
            in_state(one, "left", "running")
            a.signal(signal.SIGKILL)
            a.wait()
            hold.touch()
            in_state(other, "left", "done")
            assert other.health().state == "starting"
        gate.touch()
