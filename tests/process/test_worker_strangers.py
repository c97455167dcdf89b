"""Another process of the same user on the workers' socket of a running pool: it gets no task, and nobody notices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool import AudioPool

HELLO = {"type": "hello", "incarnation": 1, "protocol": 2, "pid": 0}
BEAT = {"type": "heartbeat", "incarnation": 1}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[AudioPool]:
    package = bench_package(tmp_path / "package")
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)])) as pool:
        yield pool


def sockets_of(endpoint: str, name: str, secret: str | None) -> list[zmq.Socket[bytes]]:
    """The three sockets of a worker, as somebody makes them who has read our sources."""
    sockets = []
    for thread in ("control", "generate", "aux"):
        one: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        one.setsockopt(zmq.LINGER, 0)
        one.setsockopt(zmq.IDENTITY, ":".join([name, "1", thread, *([] if secret is None else [secret])]).encode())
        one.connect(endpoint)
        sockets.append(one)
    return sockets


@pytest.mark.parametrize("secret", [None, "", "0" * 32])
def test_a_stranger_under_a_workers_name_gets_no_task(pool: AudioPool, secret: str | None) -> None:
    worker = worker_processes()["bench"]
    endpoint = next(argument for argument in worker.cmdline() if argument.startswith("ipc://"))
    strangers = sockets_of(endpoint, "bench", secret)
    for one in strangers:
        one.send(msgpack.packb(HELLO))
        one.send(msgpack.packb(BEAT))
        one.send(msgpack.packb({"type": "ready", "incarnation": 1, "engines": {}}))
    eventually(lambda: pool.status()["strangers_refused"] == 9, "all of it is refused and counted")
    for number in range(5):
        result = pool.generate(f"tone number {number}", timeout_s=PATIENCE_S)
        assert result.metadata["engine_details"]["pid"] == worker.pid
    assert all(one.poll(0) == 0 for one in strangers), "a stranger was sent something"
    assert pool.status()["workers"]["bench"]["incarnation"] == 1
    for one in strangers:
        one.close()


def test_the_secret_is_where_others_cannot_read_it(pool: AudioPool) -> None:
    """Neither on the command line nor in the environment, which every process of the user can read."""
    worker = worker_processes()["bench"]
    secret = pool._parts.router._link.expect("bench", 1)  # type: ignore[union-attr]
    readable = b"\0".join(Path(f"/proc/{worker.pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
    assert len(secret) == 32 and secret.encode() not in readable
    assert not (pool.config.cache_dir / "logs").exists() or secret not in "".join(
        file.read_text() for file in (pool.config.cache_dir / "logs").iterdir()
    )


def test_who_has_stolen_the_secret_is_not_the_process_that_was_started(pool: AudioPool) -> None:
    worker = worker_processes()["bench"]
    endpoint = next(argument for argument in worker.cmdline() if argument.startswith("ipc://"))
    secret = pool._parts.router._link.expect("bench", 1)  # type: ignore[union-attr]
    thieves = sockets_of(endpoint, "bench", secret)
    for one in thieves:
        one.send(msgpack.packb(HELLO))
    result = pool.generate("tone", timeout_s=PATIENCE_S)
    assert result.metadata["engine_details"]["pid"] == worker.pid != os.getpid()
    assert all(one.poll(0) == 0 for one in thieves)
    for one in thieves:
        one.close()
