"""Counters and timings of a pool, for an exporter; silent by default.

Owns: the interface, its silent default, and that an exporter's fault stays its own.
Must not know: exporters (Prometheus, OpenTelemetry, a log): one is a subclass of Telemetry given to AudioPool.

Names that a pool emits:
    answers            counter, kind = result | error | cancelled | expired | busy
    hits               counter, cache_type = new_generation | exact | canonical | semantic | global | joined
    request_seconds    timing, kind
    tasks              counter, kind = generate | master | embed | render | echo | clap
    worker_deaths      counter, worker
"""

from __future__ import annotations

import logging

__all__ = ["GuardedTelemetry", "Telemetry"]

log = logging.getLogger(__name__)


class Telemetry:
    """Discards everything. Subclass it; its methods are called on the router's thread and must not block."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add ``value`` to the counter ``name``."""

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Record one duration under ``name``."""


class GuardedTelemetry(Telemetry):
    """Passes everything on to an exporter. One that raises costs its figure alone; its first fault is logged."""

    def __init__(self, exporter: Telemetry) -> None:
        self._exporter = exporter
        self._failed = False

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Pass a count on."""
        try:
            self._exporter.count(name, value, **labels)
        except Exception:
            self._note(name)

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Pass a timing on."""
        try:
            self._exporter.timing(name, seconds, **labels)
        except Exception:
            self._note(name)

    def _note(self, name: str) -> None:
        if not self._failed:
            self._failed = True
            log.exception("the telemetry exporter failed at %r; the pool goes on, further faults are not logged", name)
