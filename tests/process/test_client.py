"""Both clients against a server process: every kind of answer, and a server that dies, hangs or is not there."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from audio_pool.api import Cancellation
from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.client.client import AudioClient
from audio_pool.client.progress import ProgressBar
from audio_pool.errors import (
    AudioPoolError,
    BadMessage,
    Busy,
    Cancelled,
    Disconnected,
    InvalidRequest,
    PoolClosed,
    QualityError,
    Refused,
    Timeout,
)
from audio_pool.results import Event
from audio_pool.transport.keys import create_keys
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

SCRIPT = Path(__file__).with_name("scripted_server.py")
DEADLINE_S = 20.0


class Server:
    """The scripted server as a process."""

    def __init__(self, endpoint: str, keys: str = "") -> None:
        arguments = [endpoint, keys] if keys else [endpoint]
        self.process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(f"ipc://{tmp_path}/s")
    yield server
    server.kill()


class Awaited:
    """AsyncAudioClient behind AudioClient's shape, so that one set of tests holds both."""

    def __init__(self, endpoint: str, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = AsyncAudioClient(endpoint, **options)

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            return await getattr(self.client, name)(*args, **options)

        return lambda *args, **options: self.loop.run_until_complete(call(*args, **options))

    def generate_many(self, prompts: list[str]) -> list[Any]:
        async def all_of_them() -> list[Any]:
            pendings = [self.client.submit(prompt) for prompt in prompts]
            return await asyncio.gather(*pendings)

        return self.loop.run_until_complete(all_of_them())

    def events_of(self, prompt: str) -> tuple[list[Event], Any]:
        async def listen() -> tuple[list[Event], Any]:
            pending = self.client.submit(prompt, events=True)
            events = [event async for event in pending.events()]
            assert [event async for event in pending.events()] == []
            return events, await pending

        return self.loop.run_until_complete(listen())

    def cancelled(self, prompt: str) -> AudioPoolError:
        async def cancel() -> AudioPoolError:
            pending = self.client.submit(prompt)
            pending.cancel()
            with pytest.raises(AudioPoolError) as raised:
                await pending
            return raised.value

        return self.loop.run_until_complete(cancel())

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


class Blocking(AudioClient):
    def generate_many(self, prompts: list[str]) -> list[Any]:
        return [pending.result() for pending in [self.submit(prompt) for prompt in prompts]]

    def events_of(self, prompt: str) -> tuple[list[Event], Any]:
        pending = self.submit(prompt, events=True)
        events = list(pending.events())
        assert list(pending.events()) == []
        return events, pending.result()

    def cancelled(self, prompt: str) -> AudioPoolError:
        pending = self.submit(prompt)
        pending.cancel()
        with pytest.raises(AudioPoolError) as raised:
            pending.result()
        return raised.value


@pytest.fixture(params=[Blocking, Awaited])
def connect(request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = []

    def open_one(endpoint: str, **options: Any) -> Any:
        opened.append(request.param(endpoint, **options))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


def test_a_result_by_path_and_inline(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    result = client.generate("rain", duration_s=2, loop=True)
    assert (result.path, result.metadata["prompt"], result.data) == ("/sounds/x.wav", "rain", None)
    assert client.generate("rain", delivery="inline").data == b"rainrainrain"
    assert client.generate(parse(AudioRequest, {"prompt": "wind"})).metadata["prompt"] == "wind"
    assert client.health().state == "ready"


def test_many_requests_in_flight_each_get_their_own_answer(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    prompts = [f"sound {number}" for number in range(300)]
    assert [result.metadata["prompt"] for result in client.generate_many(prompts)] == prompts


def test_events_come_in_order_and_end(server: Server, connect: Any) -> None:
    events, result = connect(server.endpoint).events_of("rain")
    assert [event.type for event in events] == ["accepted"] + ["progress"] * 4
    assert [event.body.get("done") for event in events[1:]] == [1, 2, 3, 4]
    assert result.path == "/sounds/x.wav"


def test_errors_arrive_as_their_own_class(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    with pytest.raises(QualityError, match="all noise") as quality:
        client.generate("quality")
    assert (quality.value.hint, quality.value.retryable) == ("other words", True)
    with pytest.raises(Busy) as busy:
        client.generate("busy")
    assert busy.value.retry_after_ms == 1234
    with pytest.raises(BadMessage, match="metadata"):
        client.generate("half a result")


def test_bad_input_is_refused_before_anything_is_sent(connect: Any, tmp_path: Path) -> None:
    client = connect(f"ipc://{tmp_path}/nobody")
    with pytest.raises(InvalidRequest, match="duration_s"):
        client.generate("rain", duration_secs=2)
    with pytest.raises(InvalidRequest, match="timeout_s"):
        client.generate("rain", timeout_s=0)
    with pytest.raises(InvalidRequest, match="verdict"):
        client.feedback("r", "meh")


def test_nonsense_from_the_server_disturbs_no_answer(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    assert client.generate("nonsense", timeout_s=DEADLINE_S).path == "/sounds/x.wav"
    assert client.generate("twice", timeout_s=DEADLINE_S).path == "/sounds/x.wav"
    assert client.health().state == "ready"


def test_cancel_ends_it_on_the_server_too(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    assert isinstance(client.cancelled("silence"), Cancelled)
    assert client.status().clients["held"] == 0
    assert client.cancel("of-nobody") == Cancellation(target="of-nobody", cancelled=False)


def test_a_timeout_is_an_error_and_cancels_the_work(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    client.health()
    with pytest.raises(Timeout, match=r"within 0\.2 s"):
        client.generate("silence", timeout_s=0.2)
    assert client.status().clients == {"cancels": 1, "held": 0}


def test_a_server_that_dies_is_an_error_at_once_and_its_successor_is_found(
    server: Server, connect: Any
) -> None:
    client = connect(server.endpoint)
    client.health()
    start = time.monotonic()
    with pytest.raises(Disconnected, match="went away"):
        client.generate("die", timeout_s=DEADLINE_S)
    assert time.monotonic() - start < DEADLINE_S / 2, "the timeout was waited for"
    server.kill()
    successor = Server(server.endpoint)
    try:
        assert client.generate("rain", timeout_s=DEADLINE_S).path == "/sounds/x.wav"
    finally:
        successor.kill()


def test_no_server_at_all_is_an_error_that_says_so(connect: Any, tmp_path: Path) -> None:
    with pytest.raises(Disconnected, match="no server reached"):
        connect(f"ipc://{tmp_path}/nobody").generate("rain", timeout_s=0.3)


def test_a_server_that_comes_late_is_waited_for(connect: Any, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/late"
    started: list[Server] = []
    starter = threading.Timer(0.3, lambda: started.append(Server(endpoint)))
    starter.start()
    try:
        assert connect(endpoint).generate("rain", timeout_s=DEADLINE_S).path == "/sounds/x.wav"
    finally:
        starter.join(DEADLINE_S)
        started[0].kill()


def test_keys_let_in_and_turn_away(connect: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    create_keys(keys, "client")
    create_keys(keys, "thief")
    (keys / "allowed_clients" / "thief.key").unlink()
    (tmp_path / "thief").mkdir()
    for name in ("server.key", "thief.key_secret"):
        (tmp_path / "thief" / name.replace("thief", "client")).write_bytes((keys / name).read_bytes())
    server = Server("tcp://127.0.0.1:*", str(keys))
    try:
        assert connect(server.endpoint, keys=keys).generate("rain", timeout_s=DEADLINE_S).path == "/sounds/x.wav"
        with pytest.raises(Refused, match="turned this client's key away"):
            connect(server.endpoint, keys=tmp_path / "thief").generate("rain", timeout_s=DEADLINE_S)
        with pytest.raises(Disconnected, match="no server reached"):
            connect(server.endpoint).generate("rain", timeout_s=0.5)
    finally:
        server.kill()


def test_closing_ends_what_is_in_flight(server: Server) -> None:
    client = AudioClient(server.endpoint)
    pending = client.submit("silence")
    client.health()
    client.close()
    with pytest.raises(PoolClosed):
        pending.result()
    with pytest.raises(PoolClosed):
        client.submit("rain")
    client.close()

    async def awaiting() -> None:
        async with AsyncAudioClient(server.endpoint) as other:
            left = other.submit("silence")
            await other.health()
        with pytest.raises(PoolClosed):
            await left
        with pytest.raises(PoolClosed):
            await other.generate("rain")

    asyncio.run(awaiting())


def test_one_client_serves_many_threads(server: Server) -> None:
    found: dict[int, str] = {}
    with AudioClient(server.endpoint) as client:

        def work(number: int) -> None:
            found[number] = client.generate(f"sound {number}", timeout_s=DEADLINE_S).metadata["prompt"]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert found == {number: f"sound {number}" for number in range(16)}


def test_a_cancelled_task_cancels_its_request(server: Server) -> None:
    async def scenario() -> None:
        async with AsyncAudioClient(server.endpoint) as client:
            task = asyncio.create_task(client.generate("silence"))
            while not (await client.status()).clients["held"]:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(DEADLINE_S):
                while (await client.status()).clients["held"]:
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_callback_may_ask_again(server: Server) -> None:
    """It runs in the thread that delivers, in the middle of taking replies in."""
    chain: list[Future[Any]] = [Future() for _ in range(5)]

    def follow(client: Any, number: int) -> None:
        pending = client.submit(f"sound {number}", timeout_s=DEADLINE_S)
        pending.add_done_callback(lambda done: chain[number].set_result(done.result().metadata.prompt))
        if number + 1 < len(chain):
            pending.add_done_callback(lambda _: follow(client, number + 1))

    def check() -> None:
        assert [link.result(DEADLINE_S) for link in chain] == [f"sound {number}" for number in range(5)]

    with AudioClient(server.endpoint) as client:
        follow(client, 0)
        check()

    async def awaiting() -> None:
        async with AsyncAudioClient(server.endpoint) as other:
            follow(other, 0)
            await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, chain)), DEADLINE_S)

    chain = [Future() for _ in range(5)]
    asyncio.run(awaiting())
    check()


def test_blocking_where_the_answer_is_delivered_is_an_error_and_not_for_ever(server: Server) -> None:
    async def scenario() -> None:
        async with AsyncAudioClient(server.endpoint) as client:
            pending = client.submit("silence")
            with pytest.raises(AudioPoolError, match="wait for itself"):
                pending.result()
            pending.cancel()
            with pytest.raises(Cancelled):
                await pending
            with pytest.raises(Cancelled):
                pending.result()

    asyncio.run(scenario())


def test_an_awaiting_clients_request_may_be_cancelled_from_any_thread(server: Server) -> None:
    async def scenario() -> None:
        async with AsyncAudioClient(server.endpoint) as client:
            pending = client.submit("silence", timeout_s=DEADLINE_S)
            assert await asyncio.to_thread(pending.cancel)
            with pytest.raises(Cancelled):
                await pending

    asyncio.run(scenario())


def test_an_interrupted_listener_cancels_its_request(server: Server) -> None:
    with AudioClient(server.endpoint) as client:

        def interrupt(event: Event) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.generate("silence", on_event=interrupt)
        assert client.status().clients["held"] == 0


POOL = """
import sys
from audio_pool import AudioPool
settings = {"cache": {"dir": sys.argv[2], "encoder": "off"}, "server": {"bind": sys.argv[1]}}
with AudioPool.from_config(settings, serve=True) as pool:
    print(pool.endpoint, flush=True)
    sys.stdin.read()
"""


def test_a_served_pool_that_is_killed_at_work_is_an_error_at_once(connect: Any, tmp_path: Path) -> None:
    served = subprocess.Popen(
        [sys.executable, "-c", POOL, f"ipc://{tmp_path}/s", str(tmp_path / "cache")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        client = connect(served.stdout.readline().strip())
        result = client.generate("rain", duration_s=0.5, delivery="inline", timeout_s=DEADLINE_S)
        assert result.data[:4] == b"RIFF"
        assert result.data == Path(result.path).read_bytes()
        assert client.echo(b"\0\xff")["payload"] == b"\0\xff"
        assert client.status().cache_types == {"new_generation": 1}
        killer = threading.Timer(0.3, served.kill)
        killer.start()
        start = time.monotonic()
        with pytest.raises(Disconnected, match="went away"):
            client.generate("a storm that takes a while", duration_s=600, timeout_s=10 * DEADLINE_S)
        assert time.monotonic() - start < DEADLINE_S
        killer.join()
    finally:
        served.kill()
        served.wait(DEADLINE_S)
        served.stdin.close()
        served.stdout.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_bar_draws_on_terminals_only(server: Server, connect: Any) -> None:
    client = connect(server.endpoint)
    screen, file = Terminal(), io.StringIO()
    for stream in (screen, file):
        with ProgressBar(stream, width=8) as bar:
            client.generate("rain", on_event=bar)
    drawn = screen.getvalue().split("\r")
    assert drawn[-1] == "[########] 100% generate\n"
    assert "[####....]  50% generate" in drawn
    assert file.getvalue() == ""
