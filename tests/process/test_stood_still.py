"""A server that is stopped for a while takes none of its workers for silent when it goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient

LIMITS = {"heartbeat_s": 0.2, "missed_heartbeats": 4}


def test_what_was_made_while_the_server_stood_still_is_delivered_by_the_same_worker(tmp_path: Path) -> None:
    with (
        Served(tmp_path, limits=LIMITS).ready() as server,
        AudioClient(server.endpoint, timeout_s=PATIENCE_S) as client,
    ):
        pending = client.submit(f"hold {tmp_path / 'gate'}")
        eventually(server.diary, "it is being made")
        before = server.workers()["w"].pid
        server.signal(signal.SIGSTOP)
        time.sleep(1.5)  # about twice as long as a worker may be silent
        server.signal(signal.SIGCONT)
        (tmp_path / "gate").touch()
        assert pending.result(PATIENCE_S).path is not None
        assert len(server.diary()) == 1 and server.workers()["w"].pid == before
        assert client.status().workers["w"].incarnation == 1
