"""A client's connection: uvicorn's, that does not wait for ever and takes no endless head.

Owns: how long a request's head may take and how large it may be; the end of a connection that takes nothing, and of
one whose answer would not end.
Must not know: what is asked, bodies (bodies.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from audio_pool.gateway.http_request import ENDLESS

__all__ = ["Connection", "connections_within"]

_MAX_HEAD_BYTES = 64 << 10
_MAX_FIELDS = 100
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(HttpToolsProtocol):
    """One connection. Its bounds are set by ``connections_within``."""

    most = 4096
    """At a time; a further one is turned away, and those that are there are served: uvicorn would refuse them all."""
    receive_timeout_s = 30.0
    """A head must be whole within this, counted from the connection or from its first byte."""
    send_timeout_s = 120.0
    """A client that has taken no byte of an answer for so long has gone, whatever its system says."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._before_head = True
        """No head is whole: there was no request yet, or the last one's body has ended."""
        self._head_bytes = 0
        self._fields = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(_FULL)
        else:
            self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._before_head:
            self._time_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._before_head and self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > _MAX_FIELDS:
            raise ValueError("too many header fields")  # the parser ends; send_400_response says which end
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > _MAX_HEAD_BYTES:
            self._fields = _MAX_FIELDS + 1
            raise ValueError("the head is too large")
        self._before_head, self._head_bytes, self._fields = False, 0, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._before_head = True

    def send_400_response(self, msg: str) -> None:
        if self._fields > _MAX_FIELDS:
            self._refuse(_TOO_LARGE)
        elif not self.transport.is_closing():
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(self.send_timeout_s, self._look_whether_it_takes)

    def resume_writing(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Close it when what is under way has ended: at once, where that has no end."""
        if self.cycle is not None and self.cycle.scope.get("state", {}).get(ENDLESS):
            self.transport.close()
        super().shutdown()

    def _look_whether_it_takes(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._send_timer = self.loop.call_later(self.send_timeout_s, self._look_whether_it_takes)

    def _time_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.receive_timeout_s, self._refuse, _TOO_SLOW)

    def _refuse(self, answer: bytes) -> None:
        """End the connection; say why unless an answer is under way."""
        self._stop_timers()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._send_timer = None


def connections_within(receive_timeout_s: float, send_timeout_s: float, most: int) -> type[Connection]:
    """Return the class of connections with these bounds: uvicorn makes them itself."""
    limits = {"receive_timeout_s": receive_timeout_s, "send_timeout_s": send_timeout_s, "most": most}
    return type("Connection", (Connection,), limits)
