"""One front end's requests in flight, by client and the client's own name for each.

Owns: that a client uses a name once at a time, and how a request is found by it.
Must not know: sockets, messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audio_pool.errors import InvalidRequest
from audio_pool.pool.intake import Intake
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.results import Accepted, Progress

__all__ = ["LiveRequests"]


class LiveRequests:
    """Router's thread only."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._numbers: dict[tuple[bytes, str], int] = {}
        """(client, request_id) -> the pool's number; 0 while it is taken in."""

    def take_in(
        self,
        client: bytes,
        fields: Mapping[str, Any],  # opaque until the intake has parsed it: a client's words
        sink: ReplySink,
        *,
        events_wanted: bool,
        size_bytes: int,
        identity: str = "",
    ) -> None:
        """Take a request for a sound in.

        Args:
            client: the connection, to which ``request_id`` is bound.
            identity: whose share it counts against; empty: nobody's own.

        Raises:
            InvalidRequest: the client has a request of that name in flight.
            AudioPoolError: the pool does not take it.
        """
        key = client, sink.request_id
        if key in self._numbers:
            raise InvalidRequest(f"request_id {sink.request_id!r} is in flight already; every request needs its own")
        self._numbers[key] = 0
        tracked = _TrackedSink(sink, self._numbers, key)
        try:
            number = self._intake.submit_fields(
                fields, tracked, events_wanted=events_wanted, size_bytes=size_bytes, client=identity
            )
        except BaseException:
            self._numbers.pop(key, None)
            raise
        if key in self._numbers:  # a hit has been answered already
            self._numbers[key] = number

    def number_of(self, client: bytes, request_id: str) -> int:
        """Return the number of a client's request; 0 where it has none of that name."""
        return self._numbers.get((client, request_id), 0)

    def of_client(self, client: bytes) -> list[int]:
        """Return the numbers of a client's requests."""
        return [number for (owner, _), number in self._numbers.items() if owner == client]


class _TrackedSink:
    """A sink that takes itself off the list of requests in flight when it is answered."""

    def __init__(self, sink: ReplySink, numbers: dict[tuple[bytes, str], int], key: tuple[bytes, str]) -> None:
        self.request_id = sink.request_id
        self._sink, self._numbers, self._key = sink, numbers, key

    def finish(self, reply: Reply) -> None:
        self._numbers.pop(self._key, None)
        self._sink.finish(reply)

    def notify(self, body: Accepted | Progress) -> None:
        self._sink.notify(body)
