"""A whole answer from memory, for the route that is asked most.

Owns: Answer, an ASGI application that says what it is given and nothing else.
Must not know: routes; ranges and conditions (audio_response.py).

The framework's own Response goes through cookies, encoders and header objects of its own, which takes longer than
all the rest of a hit's way here.
"""

from __future__ import annotations

import weakref

from audio_pool.gateway.audio_response import Header, Message, Receive, Send

__all__ = ["Answer"]


_LARGE = 1 << 20
"""More than a connection takes at once from who does not read."""
_HEAD = 4096


class _Body:
    """A large body for as long as it is on its way to somebody."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data


_IN_USE: weakref.WeakValueDictionary[tuple[int, bytes], _Body] = weakref.WeakValueDictionary()
"""By size and beginning. Many slow clients that asked for the same sound are sent from the same bytes."""


def _in_use(data: bytes) -> _Body:
    key = len(data), data[:_HEAD]
    known = _IN_USE.get(key)
    if known is not None and known.data == data:
        return known
    found = _IN_USE[key] = _Body(data)
    return found


class Answer:
    """One answer.

    Args:
        headers: names in lower case, no control characters.
    """

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, body: bytes, headers: list[Header], status: int = 200) -> None:
        self._body = _in_use(body) if len(body) > _LARGE else body
        self._headers = [*headers, (b"content-length", b"%d" % len(body))]
        self._status = status

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        if isinstance(self._body, bytes):
            await send({"type": "http.response.body", "body": self._body, "more_body": False})
            return
        await send({"type": "http.response.body", "body": self._body.data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})  # when there is room behind it
