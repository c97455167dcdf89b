"""One front end's requests in flight, by connection and the client's own name for each.

Owns: that a connection uses a name once at a time, how a request is found by it, and whose it is or was.
Must not know: sockets, messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from audio_pool.errors import InvalidRequest
from audio_pool.pool.caller import Caller
from audio_pool.pool.intake import Intake
from audio_pool.pool.replies import Reply, ReplySink, UnheardSink
from audio_pool.pool.sent_audio import Frames
from audio_pool.results import Accepted, Chunk, Progress

__all__ = ["LiveRequests"]

_MOST_ANSWERED = 10_000
"""Answered requests of which it is remembered whose they were."""


class _Live(Struct):
    """A request in flight."""

    owner: str
    number: int = 0
    """The pool's; 0 while it is taken in."""


class LiveRequests:
    """Router's thread only."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._live: dict[tuple[str, str], _Live] = {}
        """By connection and request_id."""
        self._answered: dict[tuple[str, str], None] = {}
        """By owner and request_id, the oldest first."""

    def take_in(
        self,
        caller: Caller,
        fields: Mapping[str, Any],  # opaque until the intake has parsed it: a client's words
        sink: ReplySink,
        *,
        events_wanted: bool,
        size_bytes: int,
        sent: Frames = (),
        known: str = "",
        better: Callable[[str], ReplySink] | None = None,
    ) -> None:
        """Take a request for a sound in.

        Args:
            sent: the sound to start from, where it came with the request.
            known: a file that the caller has already.
            better: gives a sink under another name for a better sound than the first one; None: nobody hears of it.

        Raises:
            InvalidRequest: the connection has a request of that name in flight.
            AudioPoolError: the pool does not take it.
        """
        key = caller.connection, sink.request_id
        if key in self._live:
            raise InvalidRequest(f"request_id {sink.request_id!r} is in flight already; every request needs its own")
        live = self._live[key] = _Live(caller.owner)
        tracked = _TrackedSink(sink, self, key)
        try:
            live.number = self._intake.submit_fields(
                fields,
                tracked,
                events_wanted=events_wanted,
                size_bytes=size_bytes,
                caller=caller,
                sent=sent,
                known=known,
                upgraded=lambda request_id, number: self._better(caller, request_id, number, better),
            )
        except BaseException:
            self._live.pop(key, None)
            raise

    def _better(
        self, caller: Caller, request_id: str, number: int, better: Callable[[str], ReplySink] | None
    ) -> ReplySink:
        """Return the sink of a better sound, which can be cancelled by its own name from now on."""
        key = caller.connection, request_id
        self._live[key] = _Live(caller.owner, number)
        return _TrackedSink(UnheardSink(request_id) if better is None else better(request_id), self, key)

    def number_of(self, caller: Caller, request_id: str) -> int:
        """Return the number of a caller's own request: of this connection, else of the same owner; 0: there is none."""
        own = self._live.get((caller.connection, request_id))
        if own is not None:
            return own.number
        if caller.owner == caller.connection:
            return 0
        others = (live for (_, name), live in self._live.items() if name == request_id and live.owner == caller.owner)
        return next((live.number for live in others), 0)

    def was_asked_by(self, caller: Caller, request_id: str) -> bool:
        """Return whether the caller's owner has asked for this, lately or just now."""
        return (caller.owner, request_id) in self._answered or self.number_of(caller, request_id) != 0

    def of_connection(self, caller: Caller) -> list[int]:
        """Return the numbers of a connection's requests."""
        return [live.number for (connection, _), live in self._live.items() if connection == caller.connection]

    def end(self, key: tuple[str, str]) -> None:
        """Note that a request is answered."""
        live = self._live.pop(key, None)
        if live is not None:
            if len(self._answered) >= _MOST_ANSWERED:
                del self._answered[next(iter(self._answered))]
            self._answered[live.owner, key[1]] = None


class _TrackedSink:
    """A sink that takes itself off the list of requests in flight when it is answered."""

    def __init__(self, sink: ReplySink, live: LiveRequests, key: tuple[str, str]) -> None:
        self.request_id = sink.request_id
        self._sink, self._live, self._key = sink, live, key

    def finish(self, reply: Reply) -> None:
        self._live.end(self._key)
        self._sink.finish(reply)

    def notify(self, body: Accepted | Progress) -> None:
        self._sink.notify(body)

    def take_chunk(self, chunk: Chunk) -> bool:
        return self._sink.take_chunk(chunk)
