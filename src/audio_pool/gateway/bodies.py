"""Requests' bodies: each within its time, and all of them together within what memory is meant for them.

Owns: Bodies, the account of what is being read.
Must not know: what bodies say; the size of a single one, which the framework bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from litestar.types import Receive, ReceiveMessage

from audio_pool.errors import Busy
from audio_pool.gateway.problems import TooSlow

__all__ = ["Bodies", "Body"]

_BUSY_MS = 2000


class Bodies:
    """What is held of all bodies.

    Args:
        max_bytes: of all of them together.
        within_s: a body must be there within this.
    """

    def __init__(self, max_bytes: int, within_s: float) -> None:
        self.max_bytes = max_bytes
        self.within_s = within_s
        self.held_bytes = 0


class Body:
    """One request's body on its way in."""

    def __init__(self, bodies: Bodies, receive: Receive, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._bodies = bodies
        self._receive = receive
        self._held_bytes = 0
        self._until: float | None = None
        self.unread = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
            for name, value in headers
        )
        """Some of it has not been read."""

    async def receive(self) -> ReceiveMessage:
        """Do as the server's own, for as long as there is time and room.

        Raises:
            TooSlow: it has not come in time.
            Busy: all bodies together are too large.
        """
        if not self.unread:
            return await self._receive()
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + self._bodies.within_s
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(f"the body: not there within {self._bodies.within_s:g} s (http.receive_timeout_s)") from None
        if message["type"] == "http.request":
            size = len(message["body"])
            self._held_bytes += size
            self._bodies.held_bytes += size
            if self._bodies.held_bytes > self._bodies.max_bytes:
                raise Busy("too much is being sent at once", hint="ask again", retry_after_ms=_BUSY_MS)
            self.unread = message["more_body"]
        return message

    def close(self) -> None:
        """Its request has ended."""
        self._bodies.held_bytes -= self._held_bytes
        self._held_bytes = 0
