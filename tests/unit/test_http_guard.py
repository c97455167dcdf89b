"""Which Host and Origin are a gateway's own."""

from __future__ import annotations

import asyncio

import pytest
from litestar.types import HTTPScope, Receive, Scope, Send

from audio_pool.config import HttpConfig
from audio_pool.gateway.guard import Guard


def let_in(settings: HttpConfig, ports: tuple[int, ...], **headers: str) -> bool:
    """Whether a request with these headers reaches what lies behind the guard."""
    reached: list[bool] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(True)

    async def receive() -> object:
        raise AssertionError("nothing is read")

    async def send(message: object) -> None:
        """Nobody looks."""

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: HTTPScope = {"type": "http", "headers": given, "method": "GET", "path": "/"}  # type: ignore[typeddict-item]
    asyncio.run(Guard(behind, settings, ports)(scope, receive, send))  # type: ignore[arg-type]
    return bool(reached)


OWN = HttpConfig(bind="127.0.0.1:8080")


@pytest.mark.parametrize(
    ("settings", "ports", "headers", "allowed"),
    [
        (OWN, (8080,), {"host": "127.0.0.1:8080"}, True),
        (OWN, (8080,), {"host": "LocalHost:8080"}, True),
        (OWN, (8080,), {"host": "[::1]:8080", "origin": "http://[::1]:8080"}, True),
        (OWN, (8080,), {"host": "127.0.0.1"}, False),
        (OWN, (8080,), {"host": "127.0.0.1:81"}, False),
        (OWN, (8080,), {}, False),
        (OWN, (8080,), {"host": "127.0.0.1:8080", "origin": "null"}, False),
        (OWN, (8080,), {"host": "127.0.0.1:8080", "origin": "https://127.0.0.1:8080"}, False),
        (OWN, (8080,), {"host": "127.0.0.1:8080", "sec_fetch_site": "cross-site"}, False),
        (OWN, (8080,), {"host": "127.0.0.1:8080", "sec_fetch_site": "same-origin"}, True),
        (HttpConfig(bind="127.0.0.2:80"), (80,), {"host": "127.0.0.2"}, True),
        (HttpConfig(bind="127.0.0.1:80"), (80,), {"host": "localhost", "origin": "http://localhost"}, True),
        (
            HttpConfig(bind="127.0.0.1:443", tls_certificate="c", tls_key="k"),
            (443,),
            {"host": "localhost", "origin": "https://localhost"},
            True,
        ),
        (HttpConfig(bind="127.0.0.1:8080", hosts=["Sounds.example"]), (8080,), {"host": "sounds.example"}, True),
        (
            HttpConfig(bind="127.0.0.1:8080", hosts=["sounds.example"]),
            (8080,),
            {"host": "sounds.example", "origin": "https://sounds.example"},
            True,
        ),
        (
            HttpConfig(bind="127.0.0.1:8080", cors_origins=["https://tool.example"]),
            (8080,),
            {"host": "127.0.0.1:8080", "origin": "https://tool.example", "sec_fetch_site": "cross-site"},
            True,
        ),
        (HttpConfig(bind="127.0.0.1:8080", keys_file="k"), (8080,), {"host": "anything", "origin": "any"}, True),
    ],
)
def test_who_is_let_in(
    settings: HttpConfig, ports: tuple[int, ...], headers: dict[str, str], allowed: bool
) -> None:
    assert let_in(settings, ports, **headers) == allowed
