"""Both clients with the addresses of several servers, some of which die, hang up, or are not there."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client import heads
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError, Cancelled, Disconnected
from audio_pool.results import AudioResult
from audio_pool.transport.sockets import router

SCRIPT = Path(__file__).with_name("scripted_server.py")


class Server:
    """The scripted server as a process, on TCP."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "tcp://127.0.0.1:*"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    servers = [Server(), Server()]
    yield servers
    for server in servers:
        server.kill()


class HangsUp:
    """Takes connections and ends each at once."""

    def __init__(self) -> None:
        self.taken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)


def outcomes(kind: str, addresses: list[str], prompts: list[str], when_sent: Any) -> list[Any]:
    """What all of the prompts came to, asked for at once; ``when_sent`` is called once they are under way."""
    if kind == "blocking":
        with AudioClient(addresses, order="given", timeout_s=PATIENCE_S) as client:
            pendings = [client.submit(prompt) for prompt in prompts]
            pendings[len(pendings) // 4].result()
            when_sent()
            return [pending.exception(PATIENCE_S) or pending.result() for pending in pendings]

    async def run() -> list[Any]:
        async with AsyncAudioClient(addresses, order="given", timeout_s=PATIENCE_S) as client:
            pendings = [client.submit(prompt) for prompt in prompts]
            await pendings[len(pendings) // 4]
            when_sent()
            return await asyncio.gather(*pendings, return_exceptions=True)

    return asyncio.run(run())


@pytest.mark.parametrize("kind", ["blocking", "awaiting"])
def test_what_a_server_had_when_it_died_the_next_answers_more_than_zmq_takes_at_once(
    servers: list[Server], kind: str
) -> None:
    prompts = [f"sound {number}" for number in range(3000)]
    ends = outcomes(kind, [server.address for server in servers], prompts, servers[0].kill)
    assert [end.metadata.prompt for end in ends if isinstance(end, AudioResult)] == prompts


def test_what_is_held_when_its_server_dies_is_asked_of_the_next_or_ends_as_its_caller_wanted(
    servers: list[Server],
) -> None:
    with AudioClient([server.address for server in servers], order="given") as client:
        held, given_up = client.submit("silence", events=True), client.submit("silence")
        eventually(lambda: client.status().clients["held"] == 2, "both are held")
        assert next(held.events()).type == "accepted"
        servers[0].kill()
        with AudioClient(servers[1].address) as other:
            eventually(lambda: other.status().clients["held"] == 2, "both are held by the next")
        assert next(held.events()).type == "accepted", "its events begin anew"
        given_up.cancel()
        with pytest.raises(Cancelled):
            given_up.result(PATIENCE_S)
        assert not held.done() and client.address == servers[1].address
        servers[1].kill()
        held.cancel()
        with pytest.raises(Cancelled):  # at once: nobody has it
            held.result(PATIENCE_S)


def test_a_server_that_hangs_up_is_passed_over_and_not_asked_in_a_tight_loop(servers: list[Server]) -> None:
    hangs_up = HangsUp()
    try:
        # zmq takes the first for no address
        with AudioClient(["tcp://*:5", hangs_up.address, servers[0].address], order="given") as client:
            assert client.health(timeout_s=PATIENCE_S).state == "ready"
            assert client.address == servers[0].address
        with AudioClient([hangs_up.address, "ipc:///nowhere/s"]) as client:
            with pytest.raises(Disconnected):
                client.health(timeout_s=0.5)
            before, descriptors = hangs_up.taken, len(os.listdir("/proc/self/fd"))
            with pytest.raises(Disconnected) as raised:
                client.health(timeout_s=3.0)
            assert "ipc:///nowhere/s: no connection" in raised.value.message
            assert 1 <= hangs_up.taken - before <= 20
            assert len(os.listdir("/proc/self/fd")) < descriptors + 20, "no socket is left behind"
    finally:
        hangs_up.close()


def test_a_server_that_hangs_is_left_though_zmq_goes_on_answering_for_it(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "PROBE_S", 0.2)
    monkeypatch.setattr(heads, "SILENT_S", 1.0)
    hung = router("tcp://127.0.0.1:*")  # greets, and nobody reads
    try:
        with AudioClient([hung.endpoint, servers[0].address], order="given", timeout_s=PATIENCE_S) as client:
            assert client.generate("rain").metadata.prompt == "rain"
            assert client.address == servers[0].address
            held = client.submit("silence")
            eventually(lambda: client.status().clients["held"] == 1, "it is held")
            time.sleep(1.5)
            assert not held.done() and client.address == servers[0].address, "who says that it lives may take long"
        asked = set()
        while (frames := hung.receive()) is not None:
            asked.add(msgpack.unpackb(frames[1])["type"])
        assert asked == {"generate", "health"}
    finally:
        hung.close()


def test_a_closed_client_ends_what_it_has_and_leaves_its_servers(servers: list[Server]) -> None:
    client = AudioClient([server.address for server in servers])
    held = client.submit("silence")
    eventually(lambda: client.status().clients["held"] == 1, "it is held")
    begun = time.monotonic()
    client.close()
    assert isinstance(held.exception(PATIENCE_S), AudioPoolError) and time.monotonic() - begun < PATIENCE_S / 2
    with pytest.raises(AudioPoolError, match="closed"):
        client.health()


def test_a_callback_may_ask_again(servers: list[Server]) -> None:
    async def run() -> list[AudioResult]:
        async with AsyncAudioClient([server.address for server in servers]) as client:
            further: list[Any] = []
            first = client.submit("rain")
            first.add_done_callback(lambda done: further.append(client.submit("wind")))
            found = [await first]
            while not further:
                await asyncio.sleep(0.01)
            return [*found, await further[0]]

    assert [one.metadata.prompt for one in asyncio.run(run())] == ["rain", "wind"]
