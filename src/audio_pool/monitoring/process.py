"""A small HTTP server for Prometheus and for probes, beside a pool: ``/metrics``, ``/readyz``, ``/livez``.

Owns: the server's threads, their bounds, and how often the pool is asked.
Must not know: the pool's inside (it is a client), what the metrics are called (exposition.py).
"""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import os
import socket
import threading
import time
from http import HTTPStatus
from pathlib import Path

from audio_pool.api import Health, PoolStatus
from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError, InvalidConfig
from audio_pool.monitoring.exposition import exposition

__all__ = ["MetricsServer", "PoolAsked", "parse_bind"]

log = logging.getLogger(__name__)

_ANSWER_S = 3.0
"""A pool that does not say within this what it is doing is taken for dead by probes."""
_FRESH_S = 0.5
"""An answer serves everybody who asks so soon after it: scrapes and probes cost the pool two questions a second."""
_SLOW_S = 5.0
_MOST_CONNECTIONS = 32


def parse_bind(bind: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises InvalidConfig."""
    host, colon, port = bind.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise InvalidConfig(f"metrics: given {bind!r}, allowed is HOST:PORT, e.g. 127.0.0.1:9464")
    return host.strip("[]"), int(port)


class PoolAsked:
    """Asks a pool what it is doing, once for everybody who wants to know at about the same time."""

    def __init__(self, connect: str | None, keys: str | Path | None = None) -> None:
        self._client = AudioClient(connect, keys=keys)
        self._lock = threading.Lock()
        self._asked_at = 0.0
        self._told: tuple[PoolStatus | None, Health | None] = None, None

    def told(self) -> tuple[PoolStatus | None, Health | None]:
        """Return status and health; None where the pool does not answer."""
        with self._lock:
            if time.monotonic() >= self._asked_at + _FRESH_S:
                self._told = self._ask()
                self._asked_at = time.monotonic()
            return self._told

    def _ask(self) -> tuple[PoolStatus | None, Health | None]:
        try:
            return self._client.status(numbers=True, timeout_s=_ANSWER_S), self._client.health(timeout_s=_ANSWER_S)
        except AudioPoolError as exc:
            log.info("the pool does not say what it is doing: %s", exc)
            return None, None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class MetricsServer(http.server.ThreadingHTTPServer):
    """Answers until ``shutdown``; each connection has a thread for as long as one exchange takes."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, bind: str, pool: PoolAsked) -> None:
        """Raises InvalidConfig: the address is none, or cannot be listened at."""
        host, port = parse_bind(bind)
        self.pool = pool
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Exchange)
        except OSError as exc:
            raise InvalidConfig(f"metrics: cannot listen at {bind!r}: {exc.strerror or exc}") from None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, as the library does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: socket.socket, client_address: str) -> None:  # type: ignore[override]
        """Have a connection answered; beyond so many at a time it is closed."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: str) -> None:  # type: ignore[override]
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that goes away in the middle is no trouble of ours."""
        log.debug("an exchange with %s ended early", client_address, exc_info=True)

    def serve_while_parent_lives(self, parent: int) -> None:
        """Answer until ``shutdown``, or until the process that started this one is gone."""
        watch = threading.Thread(target=self._end_with, args=(parent,), name="audio-pool-parent", daemon=True)
        watch.start()
        self.serve_forever(poll_interval=0.2)

    def _end_with(self, parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        self.shutdown()


class _Exchange(http.server.BaseHTTPRequestHandler):
    """One request and its answer."""

    server: MetricsServer
    timeout = _SLOW_S
    server_version = "audio-pool"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of three paths."""
        path = self.path.partition("?")[0]
        if path not in ("/metrics", "/readyz", "/livez"):
            self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics, /readyz and /livez\n", "text/plain")
            return
        status, health = self.server.pool.told()
        if path == "/metrics":
            body, content_type = exposition(self.headers.get("accept", ""), status, health)
            self._answer(HTTPStatus.OK, body, content_type)
            return
        reasons = ["the pool does not answer"]
        if health is not None:
            down = health.state == "down"
            reasons = list(health.blockers) if path == "/readyz" or down else []
        told = json.dumps({"ok": not reasons, "state": health.state if health else "down", "reasons": reasons})
        answer = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        self._answer(answer, told.encode() + b"\n", "application/json")

    def do_HEAD(self) -> None:
        """Answer as GET, without the body."""
        self.do_GET()

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("cache-control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line for each scrape would be most of a log."""
