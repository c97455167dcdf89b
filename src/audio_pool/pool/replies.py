"""Final replies and where they go.

Owns: Final, and the sinks that take a request's replies and events.
Must not know: the schedule, sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from audio_pool.errors import AudioPoolError

__all__ = ["Caller", "Final", "HostCaller"]

@dataclass(frozen=True, kw_only=True)
class Final:
    """The one final reply: ``kind`` is its type on the wire."""

    kind: str
    path: str | None = None
    metadata: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    error: AudioPoolError | None = None
    data: bytes | None = None


class Caller(Protocol):
    """One request's asker."""

    @property
    def request_id(self) -> str: ...

    def finish(self, final: Final) -> None: ...

    def notify(self, kind: str, body: dict[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class HostCaller:
    """A caller in this process; the callbacks run on the router's thread and must not wait."""

    request_id: str
    on_final: Callable[[Final], None]
    on_event: Callable[[str, dict[str, Any]], None] | None = None

    def finish(self, final: Final) -> None:
        self.on_final(final)

    def notify(self, kind: str, body: dict[str, Any]) -> None:
        if self.on_event is not None:
            self.on_event(kind, body)
