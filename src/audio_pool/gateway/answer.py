"""A whole answer from memory, for the route that is asked most.

Owns: Answer, an ASGI application that says what it is given and nothing else.
Must not know: routes; ranges and conditions (audio_response.py).

The framework's own Response goes through cookies, encoders and header objects of its own, which takes longer than
all the rest of a hit's way here.
"""

from __future__ import annotations

from audio_pool.gateway.audio_response import Header, Message, Receive, Send

__all__ = ["Answer"]


class Answer:
    """One answer.

    Args:
        headers: names in lower case, no control characters.
    """

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, body: bytes, headers: list[Header], status: int = 200) -> None:
        self._body = body
        self._headers = [*headers, (b"content-length", b"%d" % len(body))]
        self._status = status

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
