"""A flood beside a polite client, through real sockets and with a real worker."""

from __future__ import annotations

from pathlib import Path

from tests.support.asker import Asker
from tests.support.served import Served

FLOOD, POLITE = 60, 4


def test_a_flood_leaves_a_polite_client_its_turn_and_is_turned_away_beyond_its_share(tmp_path: Path) -> None:
    queue = {"max_requests": 100, "max_requests_per_client": FLOOD}
    with (
        Served(tmp_path / "s", queue=queue).ready() as server,
        Asker(server.endpoint) as flood,
        Asker(server.endpoint) as polite,
    ):
        for number in range(FLOOD + 10):
            flood.generate(f"flood-{number}", f"tone number {number}", force=True)
        for number in range(POLITE):
            polite.generate(f"polite-{number}", f"tone of another kind {number}", force=True)
            reply = polite.final(f"polite-{number}")
            assert reply["type"] == "result", reply
        answers = polite.ask("status")["answers"]
        assert answers["busy"] == 10, "what is beyond its share, at once"
        # before each of its own: what the worker holds already, and the flood's turns
        assert answers["result"] <= POLITE * 5 < FLOOD
        full = flood.final(f"flood-{FLOOD}")["error"]
        assert full["code"] == "busy" and full["retry_after_ms"] >= 10
        assert "your share of the queue is full" in full["message"]
