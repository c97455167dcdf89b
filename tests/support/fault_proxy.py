"""A TCP proxy before a server that can be made slow, silent, absent or faulty, while clients go on.

Modes: pass; slow (each answer waits); hold (answers wait until another mode is set); cut (nothing passes either way
until another mode is set, and nobody is told: connections stay, new ones are taken); hang (nothing comes back); gone
(connections are refused); error (HTTP 500); truncate (an HTTP answer ends in the middle of its body). Beside any of
them: objects that are lost (HTTP 404 for GET and HEAD of what has this in its path).
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from typing import Literal

Mode = Literal["pass", "slow", "hold", "cut", "hang", "gone", "error", "truncate"]

_BLOCK = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class FaultProxy:
    """Listens on ``address``; ``set`` changes its mode for connections that are open, too.

    A host that begins with a slash is the folder of a PostgreSQL socket, as libpq has it.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.mode: Mode = "pass"
        self.delay_s = 0.3
        self.lost: set[str] = set()
        self.requests = 0
        self.asked: list[str] = []
        """The first line of each, e.g. ``GET /bucket/key HTTP/1.1``."""
        self.held = 0
        """Answers that wait, since ``hold`` was set."""
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._released = threading.Event()
        self._listener: socket.socket | None = self._listen(0)
        self.address: tuple[str, int] = self._listener.getsockname()

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def set(self, mode: Mode, *, delay_s: float = 0.3) -> None:
        """Change the mode; what is under way in another one is broken off."""
        waits, self.mode, self.delay_s = self.mode in ("hold", "cut"), mode, delay_s
        if mode in ("hold", "cut"):
            self._released.clear()
            self.held = 0
        else:
            self._released.set()
        if not waits and mode != "cut":
            self._break_off()
        if mode == "gone" and self._listener is not None:
            self._stop_listening()
        elif mode != "gone" and self._listener is None:
            self._listener = self._listen(self.address[1])

    def close(self) -> None:
        self._closed = True
        self._released.set()
        if self._listener is not None:
            self._stop_listening()
        self._break_off()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        assert listener is not None
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        listener.close()

    def _break_off(self) -> None:
        with self._lock:
            live, self._live = self._live, set()
        for one in live:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._live.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self.mode == "hang":
                while client.recv(_BLOCK):
                    pass
                return
            if self.mode == "error":
                while self._read_request(client):
                    client.sendall(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops")
                return
            if self.mode == "cut":
                self._released.wait()
            with self._connect() as server:
                server.settimeout(None)
                with self._lock:
                    self._live.add(server)
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
                self._forward(client, server)

    def _connect(self) -> socket.socket:
        host, port = self._target
        if not host.startswith("/"):
            return socket.create_connection(self._target, 5.0)
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(_BLOCK):
            first = data.split(b"\r\n", 1)[0]
            if first.startswith((b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ")):
                self.requests += 1
                self.asked.append(first.decode(errors="replace"))
                if first.startswith((b"GET ", b"HEAD ")) and any(one.encode() in first for one in self.lost):
                    client.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
            if self.mode == "cut":
                self._released.wait()
            server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_BLOCK):
                if self.mode in ("hold", "cut"):
                    with self._lock:
                        self.held += 1
                    self._released.wait()
                if self.mode == "slow":
                    time.sleep(self.delay_s)
                if self.mode == "truncate":
                    head, gap, body = data.partition(b"\r\n\r\n")
                    client.sendall(head + gap + body[: len(body) // 2])
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    @staticmethod
    def _read_request(client: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = client.recv(_BLOCK)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        left = (int(found[1]) if found else 0) - len(body)
        while left > 0:
            more = client.recv(_BLOCK)
            if not more:
                return False
            left -= len(more)
        return True
