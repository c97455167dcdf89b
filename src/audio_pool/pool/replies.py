"""Final replies, and the sinks that take a request's reply and events.

Owns: Reply, the ReplySink protocol, and LocalSink for callers within this process.
Must not know: the scheduler, sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from audio_pool.results import Accepted, Chunk, Failure, Progress, RawSamples, SoundMetadata
from audio_pool.scheduler.actions import ReplyKind
from audio_pool.tasks import Called

__all__ = ["Body", "LocalSink", "Reply", "ReplySink", "UnheardSink"]

Body = Called | Struct
"""The answer to a question: echo's or CLAP's called body, or a report of api.py."""


class Reply(Struct, frozen=True, kw_only=True):
    """The one final reply to a request; ``kind`` is its type on the wire."""

    kind: ReplyKind
    path: str | None = None
    metadata: SoundMetadata | None = None
    body: Body | None = None
    failure: Failure | None = None
    data: bytes | None = None
    """The encoded file, for delivery inline; the samples, for delivery raw."""
    samples: RawSamples | None = None
    """What these samples are."""


class ReplySink(Protocol):
    """Takes what one request comes to. Called on the router's thread; must not wait."""

    @property
    def request_id(self) -> str:
        """The caller's name for the request."""
        ...

    def finish(self, reply: Reply) -> None:
        """Take the final reply."""
        ...

    def notify(self, body: Accepted | Progress) -> None:
        """Take an event."""
        ...

    def take_chunk(self, chunk: Chunk) -> bool:
        """Take a part of the sound; False: there is no room for it now, and it is not taken."""
        ...


class LocalSink(Struct, frozen=True, kw_only=True):
    """A caller in this process."""

    request_id: str
    on_reply: Callable[[Reply], None]
    on_event: Callable[[Accepted | Progress | Chunk], None] | None = None

    def finish(self, reply: Reply) -> None:
        """Pass the final reply on."""
        self.on_reply(reply)

    def notify(self, body: Accepted | Progress) -> None:
        """Pass an event on, where the caller wants events."""
        if self.on_event is not None:
            self.on_event(body)

    def take_chunk(self, chunk: Chunk) -> bool:
        """Pass a part of the sound on: what the caller has not looked at yet is in its own memory."""
        if self.on_event is not None:
            self.on_event(chunk)
        return True


class UnheardSink(Struct, frozen=True):
    """Nobody hears of this request."""

    request_id: str

    def finish(self, reply: Reply) -> None:
        """Drop it."""

    def notify(self, body: Accepted | Progress) -> None:
        """Drop it."""

    def take_chunk(self, chunk: Chunk) -> bool:
        """Drop it."""
        return True
