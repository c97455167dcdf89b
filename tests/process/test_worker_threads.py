"""The order in which a worker does what waits for it: a worker's own loop on threads, its router played here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from audio_pool.transport import packing, worker_messages
from audio_pool.transport.sockets import Channel, Poller, router
from audio_pool.types import Rendition
from audio_pool.worker.process import Worker

DEADLINE_S = 60.0
RENDITION = Rendition(format="wav", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)


class SlowWorkshop:
    """Masters nothing, and takes as long about it as it is told to."""

    device = "cpu"

    def __init__(self) -> None:
        self.infos: dict[str, Any] = {}
        self.at_work, self.go_on = threading.Event(), threading.Event()

    def load(self, load: worker_messages.Load) -> None: ...

    def render(self, task: worker_messages.RenderTask) -> dict[str, Any]:
        self.at_work.set()
        assert self.go_on.wait(DEADLINE_S)
        return {}

    def embed(self, task: worker_messages.EmbedTask) -> dict[str, Any]:
        return {"vectors": {}}


class Desk:
    """A router's half of the conversation. What it sends over inproc is there when ``send`` returns."""

    def __init__(self, name: str) -> None:
        self._channel: Channel = router(f"inproc://{name}")
        self._poller = Poller()
        self._poller.add(self._channel, "worker")
        self.worker = Worker(f"inproc://{name}", "w", 1)
        self.shop = SlowWorkshop()
        self.worker.workshop = self.shop  # type: ignore[assignment]
        self.codes: list[int] = []
        self.thread = threading.Thread(target=lambda: self.codes.append(self.worker.run()))
        self.thread.start()

    def hear(self, kind: type[Any]) -> tuple[str, Any]:
        """The next message of a kind, and the lane that said it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self._poller.wait(1.0)
            while (frames := self._channel.receive()) is not None:
                message = worker_messages.from_worker(frames[1])
                if isinstance(message, kind):
                    return frames[0].decode().rpartition(":")[2], message
        raise AssertionError(f"no {kind.__name__}")

    def send(self, lane: str, message: Any) -> None:
        assert self._channel.send_to(f"w:1:{lane}".encode(), [packing.pack(message)])

    def job(self, number: int, task: worker_messages.Task) -> None:
        self.send("quick", worker_messages.Job(job=number, attempt=1, incarnation=1, task=task))

    def ready(self) -> None:
        self.hear(worker_messages.Hello)
        self.send("control", worker_messages.Load(engines={}, roles=["master", "embed"], heartbeat_s=10.0))
        while self.hear(worker_messages.Beat)[0] != "quick":  # a lane can be sent to once it has spoken
            pass

    def close(self) -> None:
        self.shop.go_on.set()
        self.worker.stopping.set()
        for waker in (self.worker.waker, self.worker.make_waker, self.worker.quick_waker):
            waker.wake()
        self.thread.join(DEADLINE_S)
        self._channel.close()
        assert not self.thread.is_alive()


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(request.node.name)
    yield desk
    desk.close()


def render() -> worker_messages.RenderTask:
    return worker_messages.RenderTask(master="/m", out="/o", rendition=RENDITION, loop=False, comment="")


def test_look_ups_overtake_what_takes_long_and_a_stop_waits_for_all(desk: Desk) -> None:
    desk.ready()
    desk.job(1, render())
    assert desk.shop.at_work.wait(DEADLINE_S)
    desk.job(2, render())
    desk.job(3, worker_messages.EmbedTask(engines=["words"], text="rain"))
    desk.job(4, worker_messages.EchoTask(payload=b""))
    desk.job(5, worker_messages.EmbedTask(engines=["words"], text="wind"))
    desk.send("control", worker_messages.Stop())
    assert desk.worker.stopping.wait(DEADLINE_S)
    desk.shop.go_on.set()
    assert [desk.hear(worker_messages.Done)[1].job for _ in range(5)] == [1, 3, 5, 2, 4]
    desk.thread.join(DEADLINE_S)
    assert desk.codes == [0]
