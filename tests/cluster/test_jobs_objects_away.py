"""A durable request whose sound is made while the object store is away ends when that is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is not installed: make test-cluster")
pytest.importorskip("moto", reason="moto is not installed: make test-cluster")

import msgspec
from tests.support.object_server import KEYS, ObjectServer, served
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioClient


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with served() as server:
            yield server


def test_a_job_waits_for_the_object_store_and_says_so_once(
    server: ObjectServer, database: str, tmp_path: Path
) -> None:
    place = server.place()
    cache = {"store": database, "blobs": place.url, "objects": msgspec.to_builtins(place.settings)}
    with (
        Served(tmp_path / "s", cache=cache).ready() as head,
        AudioClient(head.endpoint, timeout_s=PATIENCE_S) as client,
    ):
        log = head.place / "cache" / "logs" / "server.log"

        def told() -> list[str]:
            return [line for line in log.read_text().splitlines() if "job_steps" in line]

        assert client.generate("a bell", durable=True).path is not None
        server.proxy.set("gone")
        pending = client.submit("a drum", durable=True, request_id="drum")
        eventually(told, "its sound cannot be stored")
        time.sleep(1.0)  # it is tried again meanwhile
        assert not pending.done()
        server.proxy.set("pass")
        result = pending.result(PATIENCE_S)
        assert result.path is not None and Path(result.path).is_file()
        assert client.job("drum").state == "done"
        (line,) = told()
        assert "job drum: " in line and " is not there" in line
