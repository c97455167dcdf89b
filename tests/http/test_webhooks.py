"""Webhooks: signed as a known SDK verifies, repeated until taken, and never sent where they may not go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Gateway, Pool, running
from tests.support.receiver import Receiver
from tests.support.waiting import PATIENCE_S

from audio_pool.config import HttpConfig
from audio_pool.errors import InvalidConfig, InvalidRequest, Refused
from audio_pool.gateway import webhooks as module
from audio_pool.gateway.outside import Outside, is_public
from audio_pool.gateway.webhooks import Webhooks, read_secret


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def settings(tmp_path: Path, **fields: Any) -> HttpConfig:
    known = {"webhook_hosts": ["*"], "webhook_private": True, "webhook_secret_file": str(tmp_path / "secret")}
    return HttpConfig(**{**known, **fields})


# -- through a gateway -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("w")


@pytest.fixture(scope="module")
def http(pool: Pool, place: Path) -> Iterator[httpx.Client]:
    config = f'[http]\nwebhook_hosts = ["127.0.0.1"]\nwebhook_private = true\nwebhook_secret_file = "{place}/secret"\n'
    gateway = Gateway(place, pool.endpoint, config=config)
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def test_what_is_posted_passes_the_checks_of_a_known_sdk(http: httpx.Client, place: Path, receiver: Receiver) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(api_key="x", webhook_secret=(place / "secret").read_text().strip())
    asked = {"prompt": "rain", "duration_s": 0.5}
    receiver.answers = [500]
    job = http.post("/v1/sounds", params={"webhook": receiver.url}, json=asked, headers={"prefer": "respond-async"})
    assert job.status_code == 202, job.text
    refused, body = receiver.take()
    headers, again = receiver.take()  # two seconds later
    assert again == body and headers["webhook-id"] == refused["webhook-id"]
    client.webhooks.verify_signature(again, headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(again + b" ", headers)
    event = json.loads(again)
    assert event["type"] == "job.done" and event["data"]["id"] == job.json()["id"]
    assert event["data"]["sound"]["metadata"]["prompt"] == "rain"
    assert str(place) not in again.decode() and headers["content-type"] == "application/json"

    sound = http.post("/v1/sounds", params={"webhook": receiver.url}, json=asked)
    assert sound.status_code == 200
    event = json.loads(receiver.take()[1])
    assert event["type"] == "sound.done" and event["data"] == sound.json()


def test_a_batch_is_told_of_once_it_has_ended(http: httpx.Client, receiver: Receiver) -> None:
    body = {"items": ["rain", {"prompt": "wind", "engine": "nobody"}], "defaults": {"duration_s": 0.5}}
    answer = http.post("/v1/batches", params={"webhook": receiver.url}, json=body)
    assert answer.status_code == 422 and "nobody" in answer.text
    body["items"] = ["rain", "a distant horn"]
    answer = http.post("/v1/batches", params={"webhook": receiver.url}, json=body)
    assert answer.status_code == 202, answer.text
    event = json.loads(receiver.take()[1])
    assert event["type"] == "batch.done" and event["data"]["counts"] == {"done": 2}
    assert [job["prompt"] for job in event["data"]["jobs"]] == body["items"]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://example.org/x", 403),
        ("http://localhost:80/x", 403),
        ("ftp://127.0.0.1/", 422),
        ("http://user:password@127.0.0.1/", 422),
        ("http://127.0.0.1:99999/", 422),
        ("http://127.0.0.1/#a", 422),
        ("http://127.0.0.1/\r\nx: y", 422),
        ("//127.0.0.1/", 422),
        ("", 422),
    ],
)
def test_an_address_that_may_not_be_called_is_refused_before_anything_is_made(
    http: httpx.Client, url: str, status: int
) -> None:
    for path, body in (("/v1/sounds", {"prompt": "never made"}), ("/v1/batches", {"items": ["never made"]})):
        assert http.post(path, params={"webhook": url}, json=body).status_code == status


def test_a_gateway_that_calls_nobody_says_so(gateway: Gateway) -> None:
    answer = httpx.post(f"{gateway.url}/v1/sounds", params={"webhook": "http://127.0.0.1/"}, json={"prompt": "rain"})
    assert answer.status_code == 403 and "http.webhook_hosts" in answer.json()["hint"]


# -- where they may go -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.0.9", "192.88.99.1", "::1", "::", "::ffff:127.0.0.1", "fd00::1", "fe80::1%eth0",
        "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.0.0.1",
        "::127.0.0.1", "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses_in_every_spelling(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert is_public("93.184.216.34") and is_public("2606:4700::1111") and is_public("64:ff9b::5db8:d822")


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        (["tool.example"], "https://tool.example/x", True),
        (["tool.example"], "https://TOOL.example:8443/x", True),
        (["tool.example:443"], "https://tool.example/x", True),
        (["tool.example:443"], "http://tool.example/x", False),
        (["tool.example"], "https://tool.example.evil.example/", False),
        (["tool.example"], "https://eviltool.example/", False),
        (["*.example"], "https://a.b.example/", True),
        (["*.example"], "https://example/", False),
        (["*"], "https://anything.example/", True),
        (["*"], "http://127.0.0.1/", False),
        (["*"], "http://[::1]/", False),
        (["*"], "http://[::ffff:7f00:1]/", False),
        (["*"], "http://0x7f000001/", False),
        (["*"], "http://2130706433/", False),
        (["*"], "http://127.1/", False),
        (["*"], "http://0/", False),
        (["*"], "http://93.184.216.34/", True),
        ([], "https://tool.example/", False),
    ],
)
def test_hosts(hosts: list[str], url: str, allowed: bool) -> None:
    outside = Outside(hosts, private=False)
    with contextlib.nullcontext() if allowed else pytest.raises(Refused):
        assert outside.check("webhook", url) == url


async def posted(outside: Outside, url: str) -> int:
    return await outside.post(url, {}, b"{}")


def test_a_name_that_leads_inside_is_not_called(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = asyncio.BaseEventLoop.getaddrinfo

    async def lying(self: Any, host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        return await real(self, "127.0.0.1", port, **more)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lying)
    url = f"http://tool.example:{receiver.port}/x"
    with pytest.raises(OSError, match="may not be called"):
        asyncio.run(posted(Outside(["*"], private=False), url))
    assert receiver.posts.empty() and asked == ["tool.example"]
    assert asyncio.run(posted(Outside(["*"], private=True), url)) == 204
    assert receiver.take()[0]["host"] == f"tool.example:{receiver.port}", "the name stays, the address is the one seen"
    assert asked == ["tool.example"] * 2, "looked up once for each call"


def test_redirects_and_proxies_are_not_followed(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    receiver.answers = [307]
    assert asyncio.run(posted(Outside(["*"], private=True), receiver.url)) == 307
    assert receiver.take() and receiver.posts.empty()


def test_nobody_there_and_no_http_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audio_pool.gateway.outside.TIMEOUT_S", 0.3)
    outside = Outside(["*"], private=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in ("http://127.0.0.1:1/", f"http://127.0.0.1:{silent.getsockname()[1]}/", "http://nowhere.invalid/"):
            with pytest.raises(OSError):
                asyncio.run(posted(outside, url))


# -- when they are tried again ---------------------------------------------------------------------


def test_they_are_repeated_given_up_bounded_and_known_by_their_id(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.ERROR)

    async def deliver(*answers: int, **fields: Any) -> dict[str, int]:
        receiver.answers = list(answers)
        hooks = Webhooks(settings(tmp_path, **fields))
        assert hooks.send(receiver.url, "job.done", "one", b"{}") and hooks.send(receiver.url, "job.done", "one", b"{}")
        assert hooks.send(receiver.url, "job.done", "two", b"{}") == (fields.get("webhook_queue") != 1)
        async with asyncio.timeout(PATIENCE_S):
            while hooks.waiting:
                await asyncio.sleep(0.005)
        await hooks.close()
        return hooks.counts

    assert asyncio.run(deliver(500, 302, 429, 503)) == {"delivered": 2, "given_up": 0, "dropped": 0}
    ids = [receiver.take()[0]["webhook-id"] for _ in range(6)]
    assert len(set(ids)) == 2, "an event's id stays the same however often it is posted"
    assert asyncio.run(deliver(500, 500, 500, webhook_attempts=3, webhook_queue=1)) == {
        "delivered": 0, "given_up": 1, "dropped": 1,
    }  # fmt: skip
    assert asyncio.run(deliver(410, webhook_queue=1)) == {"delivered": 0, "given_up": 1, "dropped": 1}
    assert receiver.posts.qsize() == 4


def test_a_secret_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert read_secret(file) == read_secret(file) and file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(InvalidConfig, match="others may read"):
        read_secret(file)
    file.chmod(0o600)
    for wrong in ("", "whsec_", "whsec_c2hvcnQ=", "abc", "whsec_???"):
        file.write_text(wrong)
        with pytest.raises(InvalidConfig):
            read_secret(file)
    with pytest.raises(InvalidConfig):
        read_secret(tmp_path / "missing" / "secret")
    with pytest.raises(InvalidConfig, match="needed with"):
        Webhooks(HttpConfig(webhook_hosts=["*"]))
    with pytest.raises(InvalidRequest):
        Webhooks(settings(tmp_path, webhook_secret_file=str(tmp_path / "s"))).check("webhook", "x")
