"""Filling a cache ahead: every sound of a list asked for, several at a time, and what came of it.

Owns: ``warm``: how many are asked for at a time, what is asked again, when it is given up.
Must not know: the list's format (prompt_list.py), how a sound is made or found, the terminal.

What is there already is a hit and costs next to nothing, so a list that was interrupted is simply begun again.
"""

from __future__ import annotations

import collections
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol

from msgspec import Struct, structs

from audio_pool.errors import AudioPoolError, Busy, Disconnected, InvalidRequest, PoolClosed
from audio_pool.packs.prompt_list import PromptLine
from audio_pool.pending import Pending
from audio_pool.results import AudioResult

__all__ = ["Failed", "Warmed", "warm"]

_LOOK_S = 1.0
"""Between two calls of ``on_progress`` where nothing comes."""
_BUSY_TRIES = 100
_FAILURES_TOLD = 1000


class _Pool(Protocol):
    """An AudioPool or an AudioClient."""

    def submit(
        self, prompt: Any, *, events: bool = False, timeout_s: float | None = None, **fields: Any
    ) -> Pending: ...


class Failed(Struct, frozen=True, kw_only=True):
    """A sound that there is not."""

    line: int
    prompt: str
    code: str
    message: str


class Warmed(Struct, kw_only=True):
    """What came of a list, or has come so far."""

    made: int = 0
    there_already: int = 0
    not_kept: int = 0
    """Of those made: delivered, and not kept (not accepted, one too many of its prompt, a disk that is full)."""
    failed: int = 0
    generate_s: float = 0.0
    """Seconds of generating that it took."""
    failures: list[Failed] = []
    """The first thousand."""
    ended: str = ""
    """Why it did not come to its end; "": it did."""

    @property
    def done(self) -> int:
        return self.made + self.there_already + self.failed


class _Asked(Struct):
    line: PromptLine
    variant: int
    tries: int = 0


def warm(
    pool: _Pool,
    lines: Iterable[PromptLine],
    *,
    count: int = 1,
    at_once: int = 8,
    timeout_s: float = 600.0,
    on_progress: Callable[[Warmed], object] = lambda _: None,
) -> Warmed:
    """Ask for every sound of a list; an interrupt (Ctrl-C) cancels what is under way and ends it early.

    Args:
        pool: running, or a client of one that is.
        lines: read as they are needed.
        count: different sounds of each prompt.
        at_once: requests in flight.
        timeout_s: of each sound.
        on_progress: called with each answer, and about once a second.
    """
    warmed = Warmed(failures=[])
    waiting = _each(lines, count)
    again: collections.deque[_Asked] = collections.deque()
    flying: dict[Future[AudioResult], _Asked] = {}
    landed: queue.SimpleQueue[Future[AudioResult]] = queue.SimpleQueue()
    not_before = 0.0
    try:
        while not warmed.ended:
            while len(flying) < at_once and time.monotonic() >= not_before:
                asked = again.popleft() if again else next(waiting, None)
                if asked is None:
                    break
                pending = _submitted(pool, asked, timeout_s, warmed)
                if pending is not None:
                    flying[pending] = asked
                    pending.add_done_callback(landed.put)
            if not flying and not again:
                break
            try:
                # each request ends by its own timeout, so something always lands
                pause_s = max(0.0, not_before - time.monotonic()) or _LOOK_S
                future = landed.get(timeout=min(_LOOK_S, pause_s))
            except queue.Empty:
                on_progress(warmed)
                continue
            retry_after_s = _take(future, flying.pop(future), again, warmed)
            not_before = max(not_before, time.monotonic() + retry_after_s)
            on_progress(warmed)
    except KeyboardInterrupt:
        warmed.ended = "interrupted"
    finally:
        for left in flying:
            left.cancel()
    return warmed


def _each(lines: Iterable[PromptLine], count: int) -> Iterator[_Asked]:
    for line in lines:
        for variant in range(1, count + 1):
            yield _Asked(line, variant if count > 1 else 0)
            if isinstance(line.request, InvalidRequest):
                break


def _submitted(pool: _Pool, asked: _Asked, timeout_s: float, warmed: Warmed) -> Pending | None:
    request = asked.line.request
    try:
        if isinstance(request, InvalidRequest):
            raise request
        if asked.variant:
            request = structs.replace(request, variant=asked.variant)
        return pool.submit(request, timeout_s=timeout_s)
    except AudioPoolError as exc:
        _fail(asked, exc, warmed)
        return None


def _take(
    future: Future[AudioResult], asked: _Asked, again: collections.deque[_Asked], warmed: Warmed
) -> float:
    """Count what a request came to; return how many seconds to wait before the next, for a pool that is full."""
    try:
        metadata = future.result(0).metadata
    except Busy as exc:
        asked.tries += 1
        if asked.tries < _BUSY_TRIES:
            again.append(asked)
            return (exc.retry_after_ms or 1000) / 1000
        _fail(asked, exc, warmed)
    except AudioPoolError as exc:
        _fail(asked, exc, warmed)
    else:
        if metadata.cached or metadata.cache_type == "joined":
            warmed.there_already += 1
        else:
            warmed.made += 1
            warmed.not_kept += metadata.entry_id is None
            warmed.generate_s += metadata.timings_ms.generate / 1000
    return 0.0


def _fail(asked: _Asked, exc: AudioPoolError, warmed: Warmed) -> None:
    warmed.failed += 1
    if isinstance(exc, (Disconnected, PoolClosed)):  # whatever comes next would fail the same way
        warmed.ended = exc.message
    if len(warmed.failures) < _FAILURES_TOLD:
        line = asked.line
        warmed.failures.append(Failed(line=line.number, prompt=line.prompt, code=exc.code, message=exc.message))
