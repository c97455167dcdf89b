"""Who asked, and how they hear of it: clients behind sockets and callers within this process.

Owns: turning answers into messages, parking replies for slow clients, dropping those of vanished ones.
Must not know: the schedule, the store.
"""

from __future__ import annotations

import collections
import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from audio_pool.errors import Busy
from audio_pool.pool.replies import Final
from audio_pool.results import Failure
from audio_pool.transport import packing
from audio_pool.transport.client_messages import PROTOCOL_VERSION
from audio_pool.transport.sockets import Channel, MessageTracker

__all__ = ["Outbox", "SocketCaller"]

log = logging.getLogger(__name__)

_LARGE_BYTES = 1 << 16
_MOST_LARGE_BYTES = 16 << 20
"""Of one client in zmq's hands; a single larger file goes alone."""








@dataclass(frozen=True, kw_only=True)
class SocketCaller:
    """A client behind the ROUTER. ``envelope``: its identity, and the empty delimiter if it sent one."""

    request_id: str
    envelope: tuple[bytes, ...]
    outbox: Outbox

    def finish(self, final: Final) -> None:
        message: dict[str, Any] = {"v": PROTOCOL_VERSION, "type": final.kind, "request_id": self.request_id}
        if final.path is not None:
            message["path"] = final.path
        if final.metadata is not None:
            message["metadata"] = final.metadata
        if final.body is not None:
            message["body"] = final.body
        if final.error is not None:
            message["error"] = msgspec.to_builtins(Failure.of(final.error))
            if final.kind == "busy":
                message["retry_after_ms"] = message["error"].get("retry_after_ms", 1000)
        frames = [packing.pack(message)]
        if final.data is not None:
            frames.append(final.data)
        if not self.outbox.send(self.envelope, frames) and final.data is not None:
            # no room for the file: the client is told, and may ask again once it reads
            error = Busy("this client takes files more slowly than it asks for them", retry_after_ms=1000)
            self.finish(Final(kind="busy", error=error))

    def notify(self, kind: str, body: dict[str, Any]) -> None:
        message = {"v": PROTOCOL_VERSION, "type": kind, "request_id": self.request_id, "body": body}
        self.outbox.send(self.envelope, [packing.pack(message)], droppable=True)


class Outbox:
    """Replies on their way out through one ROUTER.

    What a client is slow to take is parked: ``parked_bytes`` for all clients, and no client more than is
    left for the others. Large frames count until zmq has let go of them, as its own queue is bounded in
    messages, and a thousand files are gigabytes.
    """

    def __init__(self, channel: Channel, parked_bytes: int) -> None:
        self._channel = channel
        self._room = parked_bytes
        self._parked: dict[bytes, collections.deque[tuple[tuple[bytes, ...], list[bytes]]]] = {}
        self._held: collections.Counter[bytes] = collections.Counter()
        """Bytes parked, by client."""
        self._large: dict[bytes, collections.deque[tuple[MessageTracker, int]]] = {}
        """Large frames that zmq still holds, by client."""
        self.counts: collections.Counter[str] = collections.Counter()

    def send(self, envelope: tuple[bytes, ...], frames: list[bytes], *, droppable: bool = False) -> bool:
        """Sends, or parks for a slow client; events to a slow client are dropped.

        Returns:
            False where there was no room: the reply is dropped, and counted.
        """
        identity = envelope[0]
        # order within one client is kept
        sent = False if identity in self._parked else self._pass_on(envelope, frames)
        if sent:
            return True
        if sent is None:
            self.counts["replies_to_vanished"] += not droppable
            return True
        size = _size(frames)
        wanted = (self._held[identity] + size) * (2 if size > _LARGE_BYTES else 1)  # files leave room for words
        if droppable or wanted > self._room:
            self.counts["events_dropped" if droppable else "replies_dropped"] += 1
            if not droppable:
                log.debug("a slow client's replies outgrew the room for parked ones; one is dropped")
            return droppable
        self._room -= size
        self._held[identity] += size
        self.counts["replies_parked"] += 1
        self._parked.setdefault(identity, collections.deque()).append((envelope, frames))
        return True

    def _pass_on(self, envelope: tuple[bytes, ...], frames: list[bytes]) -> bool | None:
        """As ``Channel.send_to``; False, too, where zmq holds enough of this client's large frames."""
        identity = envelope[0]
        size = len(frames[-1])
        if size < _LARGE_BYTES:
            return self._channel.send_to(identity, [*envelope[1:], *frames])
        held = self._held_by_zmq(identity)
        if held and held + size > _MOST_LARGE_BYTES:
            return False
        sent = self._channel.send_large_to(identity, [*envelope[1:], *frames])
        if isinstance(sent, bool) or sent is None:
            return sent
        self._large.setdefault(identity, collections.deque()).append((sent, size))
        return True

    def _held_by_zmq(self, identity: bytes) -> int:
        for client in list(self._large):
            waiting = self._large[client]
            while waiting and waiting[0][0].done:
                waiting.popleft()
            if not waiting:
                del self._large[client]
        return sum(size for _, size in self._large.get(identity, ()))

    def flush(self) -> None:
        """Tries the parked replies again."""
        for identity in list(self._parked):
            waiting = self._parked[identity]
            while waiting:
                envelope, frames = waiting[0]
                sent = self._pass_on(envelope, frames)
                if sent is False:
                    break
                self.counts["replies_to_vanished"] += sent is None
                waiting.popleft()
                self._room += _size(frames)
                self._held[identity] -= _size(frames)
            if not waiting:
                del self._parked[identity], self._held[identity]

    @property
    def from_req(self) -> bool:
        """Whether the message that is being answered came from a REQ; told only where it asks for events."""
        return self._channel.from_req

    @property
    def parked(self) -> bool:
        return bool(self._parked)


def _size(frames: list[bytes]) -> int:
    """Bytes that a parked reply takes: small ones are mostly what Python adds to them."""
    return sum(len(frame) for frame in frames) + 512
