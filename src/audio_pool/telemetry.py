"""Counters, timings and spans, for whoever wants to watch a pool; nothing until somebody does.

Owns: what can be told, and the silent default.
Must not know: exporters (Prometheus, OpenTelemetry, a log): one is a subclass of Telemetry given to AudioPool.

Names that a pool tells:
    answers            counter, kind = result | error | cancelled | expired | busy
    hits               counter, cache_type = new_generation | exact | canonical | semantic | global | joined
    request_seconds    timing, kind
    jobs               counter, kind = make | finish | embed | render | echo | clap
    worker_deaths      counter, worker
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

__all__ = ["Telemetry"]


class Telemetry:
    """Hears and forgets. Subclass it; its methods are called on the router's thread and must not wait."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """``value`` more of ``name``."""

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Something of that name took so long."""

    @contextlib.contextmanager
    def span(self, name: str, **labels: str) -> Iterator[None]:
        """Times what happens within."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timing(name, time.perf_counter() - started, **labels)
