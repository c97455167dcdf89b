"""Traces of answered requests, on their way to a process that makes OpenTelemetry's spans of them.

Owns: what is told of a request, the queue, the thread that writes, that process.
Must not know: spans, OpenTelemetry (monitoring/spans.py).

The router's thread appends to a bounded queue, and that is all it pays. Nothing of this exists unless the standard
variables ask for traces (tracing.py).
"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import msgspec

from audio_pool.pool.replies import Reply
from audio_pool.pool.requests import OpenRequest
from audio_pool.trace_record import TraceRecord
from audio_pool.tracing import captures_prompts, tracing_on

__all__ = ["SpanFeed", "span_feed"]

log = logging.getLogger(__name__)

_MOST_WAITING = 4096
_GATHER_S = 0.1
_AGAIN_S = 5.0
"""Between two starts of a process that ends by itself."""
_END_S = 5.0
_LONGEST_PROMPT = 100


def span_feed(environment: Mapping[str, str], rest: contextlib.ExitStack) -> SpanFeed | None:
    """Return where traces go; None where the standard variables do not ask for any, or nothing could send them.

    Args:
        rest: gets what ends it.
    """
    if not tracing_on(environment):
        return None
    if not all(importlib.util.find_spec(name) for name in ("opentelemetry", "opentelemetry.sdk")):
        log.warning("OTEL_* variables ask for traces, OpenTelemetry is not installed: pip install 'audio-pool[otel]'")
        return None
    feed = SpanFeed(prompts=captures_prompts(environment))
    rest.callback(feed.close)
    return feed


class SpanFeed:
    """A ``requests.Traces``."""

    def __init__(self, *, prompts: bool, command: Sequence[str] | None = None) -> None:
        """
        Args:
            prompts: the beginning of what was asked for may be told.
            command: of the process; None: our own.
        """
        self._prompts = prompts
        self._command = command or [sys.executable, "-m", "audio_pool.monitoring.spans"]
        self._waiting: collections.deque[tuple[OpenRequest, Reply, str, float]] = collections.deque()
        self._dropped = 0
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0
        self._thread = threading.Thread(target=self._run, name="audio-pool-traces", daemon=True)
        self._thread.start()

    def note(self, answered: OpenRequest, reply: Reply, status: str) -> None:
        """Take a request that was answered. Router's thread."""
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append((answered, reply, status, time.monotonic()))

    def close(self) -> None:
        """Write what waits, and let the process send it."""
        self._over.set()
        self._thread.join(_END_S)
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.wait(_GATHER_S):
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        if self._dropped:
            log.warning("%d traces were dropped: there were more than can be told", self._dropped)
            self._dropped = 0
        process = self._running() if self._waiting else None
        if process is None or process.stdin is None:
            return
        epoch_s = time.time() - time.monotonic()
        while self._waiting:
            try:
                data = msgspec.msgpack.encode(self._record(*self._waiting.popleft(), epoch_s))
            except Exception:
                log.exception("a trace could not be told")
                continue
            try:
                process.stdin.write(len(data).to_bytes(4, "big") + data)
                process.stdin.flush()
            except OSError:
                log.warning("the process that sends traces has ended; it is started again in %g s", _AGAIN_S)
                process.kill()
                process.wait()
                self._process = None
                return

    def _running(self) -> subprocess.Popen[bytes] | None:
        if self._process is None and time.monotonic() >= self._next_start:
            self._next_start = time.monotonic() + _AGAIN_S
            try:
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            except OSError as exc:
                log.error("traces cannot be sent: %s", exc)
        return self._process

    def _record(
        self, answered: OpenRequest, reply: Reply, status: str, ended: float, epoch_s: float
    ) -> TraceRecord:
        request, recipe, metadata = answered.sound.request, answered.sound.recipe, reply.metadata
        record = TraceRecord(
            traceparent=answered.trace,
            epoch_s=epoch_s,
            opened=answered.opened,
            ended=ended,
            request_id=answered.sink.request_id,
            status=status,
            engine=recipe.engine,
            error="" if reply.failure is None else reply.failure.code,
            model=recipe.model,
            prompt=recipe.prompt[:_LONGEST_PROMPT] if self._prompts else "",
            seed=request.seed,
            steps=recipe.steps,
            duration_s=recipe.duration_s,
            candidates=recipe.candidates,
            marks=answered.marks,
        )
        if metadata is None:
            return record
        times = metadata.timings_ms
        return msgspec.structs.replace(
            record,
            model=metadata.model,
            cache=metadata.cache_type,
            entry=metadata.entry_id,
            seed=metadata.seed,
            worker=metadata.worker.id,
            device=metadata.worker.device,
            lookup_ms=times.lookup,
            generate_ms=times.generate,
            score_ms=times.score,
            master_ms=times.master,
        )
