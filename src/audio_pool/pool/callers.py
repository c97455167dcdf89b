"""Who asked, and how they hear of it: clients behind sockets and callers within this process.

Owns: turning answers into messages, parking replies for slow clients, dropping those of vanished ones.
Must not know: the schedule, the store.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from audio_pool import wire
from audio_pool.channel import Channel
from audio_pool.errors import AudioPoolError

__all__ = ["Caller", "Final", "HostCaller", "Outbox", "SocketCaller"]

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, kw_only=True)
class SocketCaller:
    """A client behind the ROUTER. ``envelope``: its identity, and the empty delimiter if it sent one."""

    request_id: str
    envelope: tuple[bytes, ...]
    outbox: Outbox

    def finish(self, final: Final) -> None:
        message: dict[str, Any] = {"v": wire.PROTOCOL_VERSION, "type": final.kind, "request_id": self.request_id}
        if final.path is not None:
            message["path"] = final.path
        if final.metadata is not None:
            message["metadata"] = final.metadata
        if final.body is not None:
            message["body"] = final.body
        if final.error is not None:
            message["error"] = wire.error_body(final.error)
            if final.kind == "busy":
                message["retry_after_ms"] = message["error"].get("retry_after_ms", 1000)
        frames = [wire.pack(message)]
        if final.data is not None:
            frames.append(final.data)
        self.outbox.send(self.envelope, frames)

    def notify(self, kind: str, body: dict[str, Any]) -> None:
        message = {"v": wire.PROTOCOL_VERSION, "type": kind, "request_id": self.request_id, "body": body}
        self.outbox.send(self.envelope, [wire.pack(message)], droppable=True)


class Outbox:
    """Replies on their way out through one ROUTER."""

    def __init__(self, channel: Channel, parked_bytes: int) -> None:
        self._channel = channel
        self._room = parked_bytes
        self._parked: dict[bytes, collections.deque[tuple[tuple[bytes, ...], list[bytes]]]] = {}
        self.counts: collections.Counter[str] = collections.Counter()

    def send(self, envelope: tuple[bytes, ...], frames: list[bytes], *, droppable: bool = False) -> None:
        """Sends, or parks for a slow client; events to a slow client are dropped."""
        if envelope[0] in self._parked:
            sent: bool | None = False  # order within one client is kept
        else:
            sent = self._channel.send_to(envelope[0], [*envelope[1:], *frames])
        if sent:
            return
        if sent is None:
            self.counts["replies_to_vanished"] += not droppable
            return
        size = sum(len(frame) for frame in frames)
        if droppable or size > self._room:
            self.counts["events_dropped" if droppable else "replies_dropped"] += 1
            if not droppable:
                log.warning("a slow client's replies outgrew the room for parked ones; one is dropped")
            return
        self._room -= size
        self.counts["replies_parked"] += 1
        self._parked.setdefault(envelope[0], collections.deque()).append((envelope, frames))

    def flush(self) -> None:
        """Tries the parked replies again."""
        for identity in list(self._parked):
            waiting = self._parked[identity]
            while waiting:
                envelope, frames = waiting[0]
                sent = self._channel.send_to(identity, [*envelope[1:], *frames])
                if sent is False:
                    break
                self.counts["replies_to_vanished"] += sent is None
                waiting.popleft()
                self._room += sum(len(frame) for frame in frames)
            if not waiting:
                del self._parked[identity]

    @property
    def parked(self) -> bool:
        return bool(self._parked)
