"""Counters and timings of a pool, for an exporter; silent by default.

Owns: the interface and its silent default.
Must not know: exporters (Prometheus, OpenTelemetry, a log): one is a subclass of Telemetry given to AudioPool.

Names that a pool emits:
    answers            counter, kind = result | error | cancelled | expired | busy
    hits               counter, cache_type = new_generation | exact | canonical | semantic | global | joined
    request_seconds    timing, kind
    tasks              counter, kind = generate | master | embed | render | echo | clap
    worker_deaths      counter, worker
"""

from __future__ import annotations

__all__ = ["Telemetry"]


class Telemetry:
    """Discards everything. Subclass it; its methods are called on the router's thread and must not block."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add ``value`` to the counter ``name``."""

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Record one duration under ``name``."""
