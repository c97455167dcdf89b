"""What being watched costs a hit: counted, scraped, traced; processor time of the server's own process.

Servers that differ in this alone are asked in turns, a thousand hits at a time, so that a busy machine is as busy for
each of them.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import statistics
import tempfile
import threading
import timeit
import urllib.request
from collections.abc import Iterator
from typing import Any

import zmq
from benchmarks import routing

from audio_pool.pool.tally import Tally
from audio_pool.results import SoundMetadata

ROUNDS, HITS = 20, 1000
_TEXT = '[cache]\nencoder = "off"\n[[workers]]\nname = "w"\nengines = ["procedural"]\n'
_SCRAPED = _TEXT + '[server]\nmetrics_bind = "127.0.0.1:9479"\n'


def rows() -> list[dict[str, Any]]:
    """Processor time of a hit in each of the cases."""
    tally, hit = Tally(), SoundMetadata(cache_type="exact")
    count_us = min(timeit.repeat(lambda: tally.answered("e", "result", 0.0003, hit), number=20_000, repeat=5)) / 0.02
    found: list[dict[str, Any]] = [
        {"what": "counting one hit", "value": round(count_us, 2), "unit": "us", "against": "reach 1 us"}
    ]
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(_sink())
        cases = {
            "counted": _Case(stack, {}, _TEXT, []),
            "not counted": _Case(stack, {}, _TEXT, ["benchmarks._uncounted_server"]),
            "scraped every second": _Case(stack, {}, _SCRAPED, []),
            "traced": _Case(stack, {"OTEL_EXPORTER_OTLP_ENDPOINT": sink}, _TEXT, []),
        }
        stack.enter_context(_scrapes("http://127.0.0.1:9479/metrics"))
        for _ in range(ROUNDS):
            for case in cases.values():
                case.ask(HITS)
    plain = cases["not counted"].per_hit_us
    for name, case in cases.items():
        found.append(
            {"what": f"a hit, {name}", "value": round(case.per_hit_us, 1), "unit": "us",
             "against": f"{case.per_hit_us / plain:.3f} of one that is not counted"}
        )  # fmt: skip
    return found


class _Case:
    """One server, and what its hits have cost."""

    def __init__(self, stack: contextlib.ExitStack, variables: dict[str, str], text: str, module: list[str]) -> None:
        place = stack.enter_context(tempfile.TemporaryDirectory())
        kept = dict(os.environ)
        os.environ.update(variables)
        try:
            self._server = routing._Server(place, text=text, module=module)
        finally:
            os.environ.clear()
            os.environ.update(kept)
        stack.enter_context(self._server)
        self._client: zmq.Socket[bytes] = self._server.client()
        self._costs: list[float] = []
        routing._once(self._client, routing._generate())
        self.ask(HITS)
        self._costs.clear()

    def ask(self, hits: int) -> None:
        before = self._server.cpu_s()
        for _ in range(hits):
            routing._once(self._client, routing._generate())
        self._costs.append((self._server.cpu_s() - before) / hits * 1e6)

    @property
    def per_hit_us(self) -> float:
        """The cheapest quarter's median: what the machine did beside it only adds."""
        return statistics.median(sorted(self._costs)[: max(1, len(self._costs) // 4)])


@contextlib.contextmanager
def _sink() -> Iterator[str]:
    """A collector that throws everything away."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@contextlib.contextmanager
def _scrapes(url: str) -> Iterator[None]:
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(1.0):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    for row in rows():
        print(row)
