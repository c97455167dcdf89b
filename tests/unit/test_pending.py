"""Pending: one handle for callers that block, poll or await; no wait is for ever and nothing is lost."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from audio_pool.errors import AudioPoolError, Cancelled, QualityError, Timeout
from audio_pool.pending import Pending
from audio_pool.results import Accepted, AudioResult, Event, Progress, SoundMetadata

PATIENCE_S = 20.0
RESULT = AudioResult(request_id="r", path="/x.wav", metadata=SoundMetadata(prompt="rain"))
ACCEPTED = Event(request_id="r", type="accepted", body=Accepted())
HALF = Event(request_id="r", type="progress", body=Progress(stage="generate", fraction=0.5))


def pending(on_cancel: Callable[[], object] = lambda: None, **options: Any) -> Pending:
    return Pending("r", on_cancel, **options)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture(scope="module", autouse=True)
def _only_what_is_new_is_collected() -> None:
    """Libraries that other files have loaded would cost seconds at each look."""
    gc.collect()
    gc.freeze()


def run(scenario: Callable[[], Awaitable[None]]) -> list[dict[str, Any]]:
    """What asyncio complains about to its loop's exception handler."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scenario()
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(watched(), PATIENCE_S))
    gc.collect()
    return complaints


def test_the_result_is_a_futures() -> None:
    one = pending()
    assert not one.done()
    one.on_result(RESULT)
    assert one.done() and one.result() is RESULT and one.result(0.0) is RESULT and one.exception() is None
    done, _ = concurrent.futures.wait([one], timeout=0)
    assert done == {one}


def test_an_error_is_raised_by_every_way_of_asking() -> None:
    one = pending()
    one.on_error(QualityError("all noise"))
    for ask in (one.result, one.wait, lambda: asyncio.run(one.wait_async())):
        with pytest.raises(QualityError, match="all noise"):
            ask()


def test_a_wait_that_ends_without_a_result_is_a_timeout_and_the_request_goes_on() -> None:
    cancels: list[int] = []
    one = pending(lambda: cancels.append(1))
    with pytest.raises(Timeout, match="request r: no result within 0 s"):
        one.result(0.0)
    with pytest.raises(Timeout, match="request r: no event within 0 s"):
        next(one.events(0.0))
    assert not cancels
    one.on_result(RESULT)
    assert one.result() is RESULT


def test_the_owners_patience_bounds_waits_that_name_no_limit() -> None:
    one = pending(patience_s=0.0)
    with pytest.raises(Timeout, match="the time that a request may take"):
        one.result()
    with pytest.raises(Timeout):
        list(one.events())


def test_events_come_in_order_and_end_with_the_request() -> None:
    one = pending()
    one.on_event(ACCEPTED)
    events = one.events(PATIENCE_S)
    assert next(events) == ACCEPTED
    owner = in_thread(lambda: (one.on_event(HALF), one.on_result(RESULT)))
    assert list(events) == [HALF]
    assert list(events) == list(one.events()) == []
    owner.join(PATIENCE_S)


def test_events_may_be_awaited() -> None:
    one, seen = pending(), []

    async def scenario() -> None:
        owner = in_thread(lambda: (one.on_event(ACCEPTED), one.on_event(HALF), one.on_result(RESULT)))
        async for event in one.events(PATIENCE_S):
            seen.append(event)
        assert await one is RESULT
        assert [event async for event in one.events()] == []
        owner.join(PATIENCE_S)

    assert run(scenario) == []
    assert seen == [ACCEPTED, HALF]


def test_an_awaited_event_that_does_not_come_is_a_timeout() -> None:
    async def scenario() -> None:
        with pytest.raises(Timeout, match="no event within 0 s"):
            async for _ in pending().events(0.0):
                pass

    assert run(scenario) == []


def test_cancel_asks_the_owner_once_and_not_after_the_end() -> None:
    cancels: list[int] = []
    one = pending(lambda: cancels.append(1))
    assert one.cancel() and one.cancel() and cancels == [1]
    one.on_error(Cancelled("cancelled by its caller"))
    assert not one.cancel() and not one.cancelled()
    with pytest.raises(Cancelled):
        one.result()


@pytest.mark.parametrize("final", ["error", "result", "none"])
def test_cancelling_the_task_that_awaits_cancels_the_request_and_nothing_is_reported_lost(final: str) -> None:
    cancels: list[int] = []
    one = pending(lambda: cancels.append(1))

    async def scenario() -> None:
        async def caller() -> AudioResult:
            return await one

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancels == [1]
        if final == "error":
            one.on_error(Cancelled("cancelled by its caller"))
        elif final == "result":
            one.on_result(RESULT)

    assert run(scenario) == []


def test_a_task_cancelled_just_when_the_request_fails_leaves_nothing_lost() -> None:
    one = pending()

    async def scenario() -> None:
        async def caller() -> AudioResult:
            return await one

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        one.on_error(QualityError("all noise"))
        asyncio.get_running_loop().call_soon(task.cancel)  # after the exception was set, before the task runs
        with pytest.raises((asyncio.CancelledError, QualityError)):
            await task
        del task

    assert run(scenario) == []


def test_a_request_that_fails_unread_is_not_reported() -> None:
    async def scenario() -> None:
        one = pending()
        one.on_error(QualityError("all noise"))

    assert run(scenario) == []


def test_several_may_await_and_be_gathered() -> None:
    async def scenario() -> None:
        requests = [pending() for _ in range(5)]
        owner = in_thread(lambda: [one.on_result(RESULT) for one in requests])
        assert await asyncio.gather(*requests) == [RESULT] * 5
        assert await asyncio.wait_for(requests[0], PATIENCE_S) is RESULT
        owner.join(PATIENCE_S)

    assert run(scenario) == []


def test_whoever_stops_waiting_cancels() -> None:
    cancels: list[int] = []
    one = pending(lambda: cancels.append(1))
    with pytest.raises(Timeout, match=r"no sound within 0\.01 s"):
        one.wait(0.01)
    assert cancels == [1]

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    other = pending(lambda: cancels.append(2))
    other.on_event(ACCEPTED)
    with pytest.raises(KeyboardInterrupt):
        other.wait(on_event=interrupted)
    assert cancels == [1, 2]


def test_whoever_stops_waiting_in_asyncio_cancels() -> None:
    cancels: list[int] = []
    one = pending(lambda: cancels.append(1))

    async def scenario() -> None:
        with pytest.raises(Timeout, match=r"no sound within 0\.01 s"):
            await one.wait_async(0.01)

    assert run(scenario) == []
    assert cancels == [1]


def test_waiting_passes_events_on_and_gives_the_result() -> None:
    for ask in (
        lambda one, see: one.wait(PATIENCE_S, see),
        lambda one, see: asyncio.run(one.wait_async(PATIENCE_S, see)),
    ):
        one, seen = pending(), []
        one.on_event(ACCEPTED)
        owner = in_thread(lambda one=one: (one.on_event(HALF), one.on_result(RESULT)))
        assert ask(one, seen.append) is RESULT
        assert seen == [ACCEPTED, HALF]
        owner.join(PATIENCE_S)


def test_the_thread_that_delivers_is_refused_a_wait_for_itself() -> None:
    one = pending(delivered_by=threading.get_ident())
    for wait in (one.result, one.events().__next__):
        with pytest.raises(AudioPoolError, match="would wait for itself") as refused:
            wait()
        assert "await pending" in refused.value.hint
    one.on_event(ACCEPTED)
    assert next(one.events()) == ACCEPTED
    one.on_result(RESULT)
    assert one.result() is RESULT


@pytest.mark.parametrize("end", [lambda one: one.on_result(RESULT), lambda one: one.on_error(Cancelled("late"))])
def test_its_owner_is_not_troubled_by_a_future_that_somebody_else_ended(end: Callable[[Pending], None]) -> None:
    one = pending()
    one.set_result(RESULT)
    end(one)
    assert one.result() is RESULT and list(one.events()) == []


@pytest.mark.parametrize("limit", [float("inf"), 1e300])
def test_a_wait_may_be_without_an_end(limit: float) -> None:
    one = pending(patience_s=limit)
    owner = threading.Timer(0.05, one.on_result, [RESULT])  # by then there is somebody who waits
    owner.start()
    assert one.wait(limit) is RESULT and list(one.events(limit)) == []
    owner.join(PATIENCE_S)
