"""``audio-pool serve`` with a clock in the router's loop: ``python -m benchmarks._probed_server FILE serve ...``.

When it ends it writes to FILE, as JSON, how many steps the loop has made and the longest of them: microseconds of the
router's thread's processor time, so that a busy machine does not count, and of wall time. A step is one message, event,
posted call or timer, with all that follows from it; what came before the first answered request does not count.
"""

from __future__ import annotations

import functools
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audio_pool.cli import main
from audio_pool.pool.executor import Executor
from audio_pool.pool.inbox import Inbox
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.router import Router
from audio_pool.scheduler import events
from audio_pool.server.zmq_frontend import ZmqFrontEnd

KEPT = 20
KINDS = ("generate", "echo", "health", "status", "explain")


class Probe:
    """The longest steps so far. Used by the router's thread alone."""

    def __init__(self) -> None:
        self.longest: list[tuple[float, float, str]] = []
        self.steps = 0
        self.begun = False
        self._inside = False
        self._collected = ""
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if self._inside and phase == "stop":
            self._collected = f", and a collection of generation {info['generation']}"

    def timed(self, work: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
        """Return ``work`` with a clock; inside another step it counts as part of that."""

        @functools.wraps(work)
        def step(*given: Any, **named: Any) -> Any:
            if self._inside or not self.begun:
                return work(*given, **named)
            self._inside, self._collected = True, ""
            cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
            try:
                return work(*given, **named)
            finally:
                took = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
                self._inside = False
                self.steps += 1
                self.longest.append((took[0] / 1e3, took[1] / 1e3, what(*given) + self._collected))
                if len(self.longest) > 50 * KEPT:
                    self._cut()

        return step

    def _cut(self) -> None:
        self.longest.sort(reverse=True)
        del self.longest[KEPT:]

    def write(self, file: Path) -> None:
        """Write what was found."""
        self._cut()
        file.write_text(json.dumps({"steps": self.steps, "longest": self.longest}))


def install(probe: Probe) -> None:
    """Have every step of the router's loop timed."""
    post, call_at, finish = Inbox.post, Router.call_at, RequestTable.finish

    def posting(inbox: Inbox, item: Any) -> None:
        is_call = callable(item) and not isinstance(item, events.Event)
        post(inbox, probe.timed(item, lambda: f"posted {item.__qualname__}") if is_call else item)

    def calling(router: Router, when: float, call: Callable[[], None]) -> None:
        call_at(router, when, probe.timed(call, lambda: f"timer {getattr(call, '__qualname__', call)}"))

    def finishing(table: RequestTable, *given: Any) -> None:
        finish(table, *given)
        probe.begun = True

    Inbox.post, Router.call_at, RequestTable.finish = posting, calling, finishing  # type: ignore[method-assign]
    Router.feed = probe.timed(Router.feed, lambda _, event: type(event).__name__)  # type: ignore[method-assign]
    Executor.take_in = probe.timed(  # type: ignore[method-assign]
        Executor.take_in, lambda _, received: f"taking in {type(received.event).__name__}"
    )
    ZmqFrontEnd.on_message = probe.timed(  # type: ignore[method-assign]
        ZmqFrontEnd.on_message, lambda _, frames: next((k for k in KINDS if k.encode() in frames[-1]), "message")
    )


if __name__ == "__main__":
    file, *arguments = sys.argv[1:]
    probe = Probe()
    install(probe)
    try:
        main(arguments)
    finally:
        probe.write(Path(file))
