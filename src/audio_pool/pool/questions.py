"""Questions that callers in this process put to the router's thread, and wait for.

Owns: ``on_router``, ``answer_of``: that no thread waits for itself, and that every wait ends.
Must not know: what is asked.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotAnswered
from typing import TypeVar

import msgspec

from audio_pool.errors import AudioPoolError, PoolClosed, Timeout
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.pool.router import Router
from audio_pool.results import Failure

__all__ = ["QUESTION_TIMEOUT_S", "answer_of", "on_router"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=msgspec.Struct)
QUESTION_TIMEOUT_S = 10.0


def on_router(router: Router, ask: Callable[[], T], timeout_s: float = QUESTION_TIMEOUT_S) -> T:
    """Return the answer to a question that only the router's thread may ask."""
    if threading.get_ident() == router.thread_id:  # a Pending's done callback asks
        return ask()
    answer: Future[T] = Future()

    def put() -> None:
        try:
            answer.set_result(ask())
        except BaseException as exc:
            answer.set_exception(exc)

    router.post(put)
    return _awaited(router, answer, timeout_s)


def answer_of(
    router: Router,
    answered_by: type[Answer],
    order: Callable[[LocalSink], object],  # opaque: what it returns is dropped
    timeout_s: float,
) -> tuple[Answer, bytes | None]:
    """Return the body, and the bytes, of the reply to a question that is answered later.

    Args:
        order: asks it; on the router's thread.
    """
    if threading.get_ident() == router.thread_id:
        raise AudioPoolError(
            "this thread would wait for itself: it is the one that delivers",
            hint="ask in another thread than the one that calls a Pending's done callbacks",
        )
    answer: Future[tuple[msgspec.Struct, bytes | None]] = Future()

    def finish(reply: Reply) -> None:
        if reply.body is not None:
            answer.set_result((reply.body, reply.data))
        else:
            answer.set_exception((reply.failure or Failure()).error())

    def put() -> None:
        try:
            order(LocalSink(request_id=secrets.token_hex(8), on_reply=finish))
        except BaseException as exc:
            answer.set_exception(exc)

    router.post(put)
    body, data = _awaited(router, answer, timeout_s)
    assert isinstance(body, answered_by), "every question has one kind of answer"
    return body, data


def _awaited(router: Router, answer: Future[T], timeout_s: float) -> T:
    try:
        return answer.result(min(timeout_s, threading.TIMEOUT_MAX))
    except NotAnswered:
        if router.failure is not None:
            raise PoolClosed(f"the pool has failed: {router.failure}") from router.failure
        raise Timeout(f"the router did not answer within {timeout_s:g} s") from None
