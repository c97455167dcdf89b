"""Clients that mean ill, or are broken: each gets an answer or an end within bounds, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from tests.http.conftest import Gateway, Pool, running
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.connection import connections_within

SOUND = {"prompt": "a door shuts", "duration_s": 0.2}
BODY = json.dumps(SOUND).encode()
MAX_BODY = 64 << 10


@pytest.fixture(scope="module")
def strict(pool: Pool) -> Iterator[Gateway]:
    """A gateway with narrow bounds."""
    config = f"[http]\nmax_body_bytes = {MAX_BODY}\nmax_duration_s = 5.0\n"
    gateway = Gateway(pool.place, pool.endpoint, config=config, name="strict")
    with running(gateway):
        yield gateway


@pytest.fixture(scope="module")
def hasty(pool: Pool) -> Iterator[Gateway]:
    """A gateway that waits for nobody."""
    gateway = Gateway(pool.place, pool.endpoint, config="[http]\nreceive_timeout_s = 1.0\n", name="hasty")
    with running(gateway):
        yield gateway


@pytest.fixture(scope="module")
def client(strict: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=strict.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def nobody_else_notices(request: pytest.FixtureRequest, client: httpx.Client) -> Iterator[None]:
    yield
    assert client.post("/v1/sounds", json=SOUND, headers={"accept": "audio/*"}).status_code == 200


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, gateway: Gateway) -> None:
        self.host = gateway.url.removeprefix("http://")
        host, _, port = self.host.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)

    def send(self, text: str | bytes) -> Raw:
        try:
            self.socket.sendall(text.encode() if isinstance(text, str) else text)
        except OSError:
            pass  # it has been closed already, which the answer shows
        return self

    def head(self, *fields: str, method: str = "POST", path: str = "/v1/sounds") -> Raw:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *fields]
        return self.send("\r\n".join(lines) + "\r\n\r\n")

    def answer(self) -> bytes:
        """Everything until the server closes the connection."""
        found = b""
        try:
            while more := self.socket.recv(1 << 16):
                found += more
        except ConnectionResetError:
            pass
        self.socket.close()
        return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_a_head_that_does_not_end_is_not_waited_for(hasty: Gateway) -> None:
    silent, slow = Raw(hasty), Raw(hasty).send("POST /v1/sounds HTTP/1.1\r\nHost: a")
    blank = Raw(hasty).send("\r\n")
    assert [status(one.answer()) for one in (silent, slow, blank)] == [408, 408, 408]


def test_a_head_that_trickles_has_no_more_time_than_one_that_stands(hasty: Gateway) -> None:
    raw = Raw(hasty)
    raw.socket.settimeout(0.05)
    sent, found = 0, b""
    while not found:
        raw.send(b"a" if sent else b"GET /health HTTP/1.1\r\nx: ")
        sent += 1
        assert sent < 2000
        try:
            found = raw.socket.recv(100)
        except TimeoutError:
            continue
        break
    assert status(found) == 408
    raw.socket.close()


def test_a_body_that_does_not_come_is_not_waited_for(hasty: Gateway) -> None:
    none = Raw(hasty).head("Content-Length: 1000")
    part = Raw(hasty).head("Content-Length: 1000").send(BODY)
    chunks = Raw(hasty).head("Transfer-Encoding: chunked").send(b"3\r\n{}\r\n")
    form = Raw(hasty).head("Content-Type: multipart/form-data; boundary=b", "Content-Length: 1000").send(b"--b\r\n")
    for raw in (none, part, form):
        answer = raw.answer()
        assert status(answer) == 408 and b"too_slow" in answer and b"connection: close" in answer
    assert status(chunks.answer()) in (400, 408)


@pytest.mark.parametrize(
    "head",
    [
        "x: " + "a" * 100_000,
        "\r\n".join(f"x-{number}: y" for number in range(200)),
        "\r\n".join(f"x-{number}: {'y' * 2000}" for number in range(60)),
    ],
    ids=["one long field", "many fields", "many long fields"],
)
def test_a_flood_of_header_fields_is_refused(strict: Gateway, head: str) -> None:
    assert status(Raw(strict).head(head, method="GET", path="/health").answer()) in (400, 431)


def test_a_head_without_an_end_takes_no_memory(strict: Gateway) -> None:
    raw = Raw(strict).send("GET /health HTTP/1.1\r\nx: ")
    for _ in range(64):
        raw.send(b"a" * (1 << 16))
    assert status(raw.answer()) in (0, 400, 431)  # 0: what was still on its way has reset the connection
    assert status(Raw(strict).send("GET /" + "a" * 100_000 + " HTTP/1.1\r\n").answer()) in (0, 400, 431)


def test_a_body_that_is_too_large_is_refused_by_its_length_or_as_it_comes(strict: Gateway) -> None:
    told = Raw(strict).head(f"Content-Length: {1 << 40}").answer()
    assert status(told) == 413 and b"too_large" in told
    chunked = Raw(strict).head("Transfer-Encoding: chunked")
    for _ in range(8):
        chunked.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    assert status(chunked.answer()) == 413
    form = Raw(strict).head("Content-Type: multipart/form-data; boundary=b", f"Content-Length: {MAX_BODY + 1}")
    assert status(form.answer()) == 413


def test_bodies_without_a_length_are_read(client: httpx.Client) -> None:
    answer = client.post("/v1/sounds", content=iter([BODY[:5], BODY[5:]]), headers={"accept": "audio/*"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"prompt": NaN}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'"rain"', "application/json", 400),
        (b"null", "application/json", 400),
        (b'{"prompt": "\\ud800"}', "application/json", 400),
        (b'{"prompt": 3}', "application/json", 422),
        (b'{"prompt": "rain", "duration_s": 1e400}', "application/json", 400),
        (b'{"prompt": "rain", "duration_s": 6}', "application/json", 422),
        (b'{"prompt": "rain", "output_path": "/tmp/x.wav"}', "application/json", 403),
        (b'{"prompt": "rain", "init_audio": "/etc/passwd"}', "application/json", 403),
        (b'{"prompt": "rain", "engine": "nothing"}', "application/json", 422),
        (b"prompt=rain", "application/x-www-form-urlencoded", 400),
        (b"prompt=rain", "multipart/form-data", 400),
        (b"prompt=rain", "multipart/form-data; boundary=", 400),
        (b"rain", "text/plain", 400),
        (b"rain", "not a media type", 400),
    ],
)
def test_nonsense_is_told_what_is_wrong_with_it(client: httpx.Client, content: bytes, kind: str, code: int) -> None:
    answer = client.post("/v1/sounds", content=content, headers={"content-type": kind})
    assert answer.status_code == code, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == code and problem["detail"] and problem["request_id"]


def test_other_methods_and_addresses_are_problems_too(client: httpx.Client) -> None:
    assert client.put("/v1/sounds").status_code == 405
    for path in ("/nothing", "/v1/jobs", "/..%2f..%2fetc/passwd", "/%00", "/v1/sounds/" + "a" * 5000):
        answer = client.get(path)
        assert answer.status_code in (400, 404, 405, 422), path
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.post("/v1/sounds", json=SOUND, headers={"accept": "text/html"}).status_code == 406


def test_pipelined_requests_are_answered_in_turn(strict: Gateway) -> None:
    raw = Raw(strict)
    for _ in range(20):
        raw.head(method="GET", path="/health")
    found = raw.head("Connection: close", method="GET", path="/health").answer()
    assert found.count(b"HTTP/1.1 200") == 21


def test_who_takes_nothing_of_an_answer_is_let_go() -> None:
    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(20):
            await send({"type": "http.response.body", "body": b" " * (1 << 20), "more_body": number < 19})

    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        kind = connections_within(receive_timeout_s=PATIENCE_S, send_timeout_s=0.2, most=10)
        server = uvicorn.Server(uvicorn.Config(large, http=kind, ws="none", lifespan="off", log_config=None))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            while not server.server_state.connections:
                await asyncio.sleep(0.01)
            while server.server_state.connections:
                await asyncio.sleep(0.01)
        client.close()
        server.should_exit = True
        await serving

    asyncio.run(run())


def test_a_connection_too_many_is_turned_away_and_the_others_are_served(pool: Pool) -> None:
    gateway = Gateway(pool.place, pool.endpoint, config="[http]\nmax_connections = 2\n", name="narrow")
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        assert client.get("/health").status_code == 200
        idle = Raw(gateway)
        answer = eventually(lambda: found if status(found := Raw(gateway).answer()) == 503 else b"", "it is full")
        assert b"retry-after: 2" in answer
        assert client.get("/health").status_code == 200
        idle.socket.close()
        eventually(
            lambda: status(Raw(gateway).head("Connection: close", method="GET", path="/health").answer()) == 200,
            "there is room again",
        )


def test_two_hundred_clients_wait_at_once(client: httpx.Client, strict: Gateway) -> None:
    async def ask_all() -> list[Any]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(
            base_url=strict.url, timeout=PATIENCE_S, trust_env=False, limits=limits
        ) as clients:
            asked = (
                clients.post(
                    "/v1/sounds",
                    json={"prompt": f"bell {number % 10}", "duration_s": 0.2},
                    headers={"accept": "audio/*"},
                )
                for number in range(200)
            )
            return list(await asyncio.gather(*asked))

    answers = asyncio.run(ask_all())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 10  # who asks for the same gets the same
