"""Requests that the clerk has to see first: whatever becomes of it, their callers get one answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.cache.sqlite.store import SqliteStore
from audio_pool.config import load_config
from audio_pool.engine_info import EngineInfo
from audio_pool.errors import InvalidRequest
from audio_pool.pool.executor import PoolHands
from audio_pool.pool.replies import Caller, Final, HostCaller
from audio_pool.server.zmq_frontend import Reception
from audio_pool.transport import packing
from audio_pool.types import AudioRequest

INFO = EngineInfo(
    name="stage", role="generator", model="stage", licence="MIT", commercial_use=True, sample_rate=44_100,
    channels=2, longest_s=600.0, init_audio=True,
)  # fmt: skip


class Desk:
    """A router and a clerk that do what they are told when they are told to."""

    def __init__(self) -> None:
        self.callers: dict[int, Caller] = {}
        self.orders: list[Callable[[], None]] = []

    def order(self, errand: Callable[[], None]) -> None:
        self.orders.append(errand)

    def post(self, what: Callable[[], None]) -> None:
        what()

    def finish(self, ticket: int, final: Final) -> None:
        self.callers.pop(ticket).finish(final)


class Outbox:
    from_req = False

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, envelope: tuple[bytes, ...], frames: list[bytes], *, droppable: bool = False) -> bool:
        self.sent.append(packing.unpack(frames[0]))
        return True


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def hands(desk: Desk, tmp_path: Path) -> PoolHands:
    config = load_config({"defaults": {"engine": "stage"}, "cache": {"dir": str(tmp_path / "cache")}}, environment={})
    unused: Any = None
    return PoolHands(
        config, desk, cache=desk, arena=unused, factory=unused, clerk=desk, processes={}, loads={},  # type: ignore[arg-type]
        infos={"stage": INFO}, encoders=(), incoming=tmp_path, delivery=unused,
    )  # fmt: skip


def test_an_engine_that_turns_out_to_make_less_while_a_file_is_read(
    hands: PoolHands, desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "start.wav").write_bytes(b"RIFF")
    request = AudioRequest(prompt="rain", duration_s=60.0, init_audio=str(tmp_path / "start.wav"))
    finals: list[Final] = []
    hands.submit(request, HostCaller(request_id="r", on_final=finals.append))
    hands.infos["stage"] = msgspec.structs.replace(INFO, longest_s=30.0)  # as its worker says when it is ready
    for errand in desk.orders:
        errand()
    (final,) = finals
    assert isinstance(final.error, InvalidRequest) and "given 60" in str(final.error)


def ask_for_stats(hands: PoolHands) -> Outbox:
    outbox = Outbox()
    message = packing.pack({"v": 1, "type": "cache_stats", "request_id": "s"})
    Reception(hands)([b"client", message], outbox)  # type: ignore[arg-type]
    return outbox


def test_statistics_come_from_the_clerk_and_are_awaited_by_the_router(
    hands: PoolHands, desk: Desk, tmp_path: Path
) -> None:
    SqliteStore(tmp_path / "cache").close()
    outbox = ask_for_stats(hands)
    assert outbox.sent == [] and len(desk.callers) == 1, "or a pool that stops now would leave it unanswered"
    desk.orders[0]()
    (reply,) = outbox.sent
    assert reply["type"] == "result" and reply["body"]["total_items"] == 0 and not desk.callers


def test_a_bug_in_the_statistics_is_an_answer_too(
    hands: PoolHands, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteStore(tmp_path / "cache").close()
    monkeypatch.setattr(AudioSemanticCache, "get_cache_stats", lambda self: {}["a bug"])
    outbox = ask_for_stats(hands)
    desk.orders[0]()
    (reply,) = outbox.sent
    assert (reply["type"], reply["error"]["code"]) == ("error", "internal")
