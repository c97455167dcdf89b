"""Replies on their way out through one ROUTER: encoded, sent, parked for slow clients, dropped for vanished ones.

Owns: Outbox, and SocketSink, which turns one request's replies into messages.
Must not know: the scheduler, the store.
"""

from __future__ import annotations

import collections
import logging

from msgspec import UNSET, Struct

from audio_pool.errors import Busy
from audio_pool.pool.replies import Reply
from audio_pool.results import Accepted, Chunk, Failure, Progress
from audio_pool.tasks import Called
from audio_pool.transport import packing
from audio_pool.transport.client_messages import BodyReply, ErrorReply, ReplyHead, SoundReply
from audio_pool.transport.sender import Sender
from audio_pool.transport.sockets import Channel, MessageTracker, SendResult

__all__ = ["Outbox", "SocketSink"]

log = logging.getLogger(__name__)

_LARGE_BYTES = 1 << 16
_MOST_LARGE_BYTES = 16 << 20
"""Of one client in zmq's hands; a single larger file goes alone."""

Envelope = tuple[bytes, ...]
"""A client's identity, and the empty delimiter if it sent one."""


class SocketSink(Struct, frozen=True, kw_only=True):
    """A client behind the ROUTER."""

    request_id: str
    envelope: Envelope
    outbox: Outbox
    sender: Sender | None = None
    """Who asked; None: whoever has the identity."""

    def finish(self, reply: Reply) -> None:
        """Send the final reply."""
        frames = [packing.pack(self._message(reply))]
        if reply.data is not None:
            frames.append(reply.data)
        if not self.outbox.send(self.envelope, frames, sender=self.sender) and reply.data is not None:
            # no room for the file: the client is told, and may ask again once it reads
            busy = Busy("this client takes files more slowly than it asks for them", retry_after_ms=1000)
            self.finish(Reply(kind="busy", failure=Failure.of(busy)))

    def _message(self, reply: Reply) -> ReplyHead:
        kind, request_id, failure = reply.kind, self.request_id, reply.failure
        if failure is not None:
            wait_ms = failure.retry_after_ms if kind == "busy" else UNSET
            return ErrorReply(type=kind, request_id=request_id, error=failure, retry_after_ms=wait_ms)
        if reply.metadata is not None:
            samples = reply.samples or UNSET
            return SoundReply(
                type=kind, request_id=request_id, path=reply.path, metadata=reply.metadata, samples=samples
            )
        body = reply.body.body if isinstance(reply.body, Called) else reply.body
        return BodyReply(type=kind, request_id=request_id, body=body)

    def notify(self, body: Accepted | Progress) -> None:
        """Send an event, unless the client is slow."""
        kind = "accepted" if isinstance(body, Accepted) else "progress"
        message = BodyReply(type=kind, request_id=self.request_id, body=body)
        self.outbox.send(self.envelope, [packing.pack(message)], droppable=True, sender=self.sender)


    def take_chunk(self, chunk: Chunk) -> bool:
        """Send a part of the sound, unless the client is slow."""
        if not self.outbox.has_room(self.envelope[0], len(chunk.data)):
            return False
        message = BodyReply(type="chunk", request_id=self.request_id, body=chunk.head)
        return self.outbox.send(self.envelope, [packing.pack(message), chunk.data], sender=self.sender)


class Outbox:
    """Replies on their way out through one ROUTER.

    What a client is slow to take is parked: ``parked_bytes`` for all clients, and no client more than is
    left for the others. Large frames count until zmq has let go of them, as its own queue is bounded in
    messages, and a thousand files are gigabytes.
    """

    def __init__(self, channel: Channel, parked_bytes: int) -> None:
        self._channel = channel
        self._room = parked_bytes
        self._parked: dict[bytes, collections.deque[tuple[Envelope, list[bytes], Sender | None]]] = {}
        self._held: collections.Counter[bytes] = collections.Counter()
        """Bytes parked, by client."""
        self._large: dict[bytes, collections.deque[tuple[MessageTracker, int]]] = {}
        """Large frames that zmq still holds, by client."""
        self.counts: collections.Counter[str] = collections.Counter()

    def send(
        self, envelope: Envelope, frames: list[bytes], *, droppable: bool = False, sender: Sender | None = None
    ) -> bool:
        """Send, or park for a slow client; events to a slow client are dropped.

        Args:
            sender: whom the message is for; None: whoever has the identity.

        Returns:
            False where there was no room: the reply is dropped, and counted.
        """
        identity = envelope[0]
        # order within one client is kept
        sent = SendResult.SLOW if identity in self._parked else self._pass_on(envelope, frames, sender)
        if sent is SendResult.SENT:
            return True
        if sent is SendResult.GONE:
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
        self._parked.setdefault(identity, collections.deque()).append((envelope, frames, sender))
        return True

    def has_room(self, identity: bytes, size: int) -> bool:
        """Return True where a client has taken what it was sent before, or nearly all."""
        return identity not in self._parked and self._held_by_zmq(identity) + size <= _MOST_LARGE_BYTES

    def _pass_on(self, envelope: Envelope, frames: list[bytes], sender: Sender | None) -> SendResult:
        """Send to a client; it is slow, too, where zmq holds enough of its large frames."""
        identity = envelope[0]
        if sender is not None and sender.chose_its_id and sender.gone:
            return SendResult.GONE  # another connection may have its routing id by now
        size = len(frames[-1])
        if size < _LARGE_BYTES:
            return self._channel.send_to(identity, [*envelope[1:], *frames])
        held = self._held_by_zmq(identity)
        if held and held + size > _MOST_LARGE_BYTES:
            return SendResult.SLOW
        sent = self._channel.send_large_to(identity, [*envelope[1:], *frames])
        if isinstance(sent, SendResult):
            return sent
        self._large.setdefault(identity, collections.deque()).append((sent, size))
        return SendResult.SENT

    def _held_by_zmq(self, identity: bytes) -> int:
        for client in list(self._large):
            waiting = self._large[client]
            while waiting and waiting[0][0].done:
                waiting.popleft()
            if not waiting:
                del self._large[client]
        return sum(size for _, size in self._large.get(identity, ()))

    def flush(self) -> None:
        """Try the parked replies again."""
        for identity in list(self._parked):
            waiting = self._parked[identity]
            while waiting:
                envelope, frames, sender = waiting[0]
                sent = self._pass_on(envelope, frames, sender)
                if sent is SendResult.SLOW:
                    break
                self.counts["replies_to_vanished"] += sent is SendResult.GONE
                waiting.popleft()
                self._room += _size(frames)
                self._held[identity] -= _size(frames)
            if not waiting:
                del self._parked[identity], self._held[identity]

    @property
    def from_req(self) -> bool:
        """True if the message being answered came from a REQ socket; only determined where it asks for events."""
        return self._channel.from_req

    @property
    def parked(self) -> bool:
        """True while replies wait for slow clients."""
        return bool(self._parked)


def _size(frames: list[bytes]) -> int:
    """Return the bytes that a parked reply takes: small ones are mostly what Python adds to them."""
    return sum(len(frame) for frame in frames) + 512
