"""Sounds that are asked for without waiting: jobs, their events, their end; and clients that go away."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.client.client import AudioClient


@pytest.fixture(scope="module")
def client(stage_gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stage_gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def other(stage: Served) -> Iterator[httpx.Client]:
    """A second gateway before the same pool."""
    config = "[http]\nevents_keep_alive_s = 0.1\n"
    gateway = Gateway(stage.place, stage.endpoint, name="other", config=config)
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """A request whose sound takes until it is let go, and what lets it go."""
    gate = tmp_path / "go"
    yield {"prompt": f"hold {gate} {uuid.uuid4().hex}", "duration_s": 0.2}, gate.touch
    gate.touch()


Held = tuple[dict[str, Any], Callable[[], None]]


def new() -> dict[str, Any]:
    return {"prompt": f"tone {uuid.uuid4().hex}", "duration_s": 0.2}


def events_of(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, as (name, data)."""
    name = ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_a_sound_asked_for_without_waiting_is_a_job_until_it_is_there(client: httpx.Client, held: Held) -> None:
    request, let_go = held
    answer = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    assert answer.headers["preference-applied"] == "respond-async"
    job = answer.json()
    assert answer.headers["location"] == job["url"] == f"/v1/jobs/{job['id']}"
    assert job["state"] in ("pending", "running") and job["sound"] is None and job["queue_position"] == 0
    assert client.get(f"{job['url']}/audio").status_code == 404
    let_go()
    done = client.get(job["url"], headers={"prefer": f"wait={PATIENCE_S:.0f}"}).json()
    assert done["state"] == "done" and done["sound"]["url"] == f"{job['url']}/audio" and done["progress"] is None
    file = client.get(done["sound"]["url"])
    assert file.status_code == 200 and file.headers["content-type"] == "audio/wav"
    assert soundfile.info(io.BytesIO(file.content)).frames == int(0.2 * 44_100)
    part = client.get(done["sound"]["url"], headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"RIFF"


def test_a_client_waits_as_long_as_it_prefers(client: httpx.Client, held: Held) -> None:
    quick = client.post("/v1/sounds", json=new(), headers={"prefer": f"wait={PATIENCE_S:.0f}", "accept": "audio/*"})
    assert quick.status_code == 200 and quick.content.startswith(b"RIFF")
    assert quick.headers["preference-applied"] == f"wait={PATIENCE_S:.0f}"
    request, let_go = held
    slow = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async, wait=1"})
    assert slow.status_code == 202
    let_go()


def test_events_tell_a_job_s_way_to_its_end(client: httpx.Client, held: Held) -> None:
    request, let_go = held
    url = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async"}).headers["location"]
    heard = []
    with client.stream("GET", f"{url}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for name, data in events_of(stream):
            heard.append(name)
            if name == "progress":
                assert 0.0 <= data["fraction"] <= 1.0
                let_go()
    assert heard[0] == "accepted" and "progress" in heard and heard[-1] == "done"
    assert data["state"] == "done" and data["sound"]["metadata"]["prompt"] == request["prompt"]
    with client.stream("GET", f"{url}/events") as stream:  # whoever comes late hears the end
        assert [name for name, _ in events_of(stream)] == ["done"]


def test_any_gateway_before_the_pool_knows_a_job(client: httpx.Client, other: httpx.Client, held: Held) -> None:
    request, let_go = held
    url = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async"}).headers["location"]
    assert other.get(url).json()["state"] in ("pending", "running")
    with other.stream("GET", f"{url}/events") as stream:
        heard = []
        for name, _ in events_of(stream):
            heard.append(name)
            let_go()
    assert heard[0] == "accepted" and heard[-1] == "done"
    assert other.get(f"{url}/audio").content == client.get(f"{url}/audio").content


def test_a_silent_stream_of_events_says_that_it_lives(other: httpx.Client, client: httpx.Client, held: Held) -> None:
    request, let_go = held
    for number, asks in enumerate((other, client)):  # its own job, and another gateway's
        body = {**request, "prompt": f"{request['prompt']} {number}"}
        url = asks.post("/v1/sounds", json=body, headers={"prefer": "respond-async"}).headers["location"]
        with other.stream("GET", f"{url}/events") as stream:
            assert any(line == ": keep-alive" for line in stream.iter_lines())
    let_go()


def test_a_job_is_cancelled(client: httpx.Client, held: Held) -> None:
    request, _ = held
    url = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async"}).headers["location"]
    answer = client.delete(url)
    assert answer.status_code == 200 and answer.json()["state"] == "cancelled"
    assert client.get(url).json()["error"]["code"] == "cancelled"
    done = client.post("/v1/sounds", json=new(), headers={"prefer": f"wait={PATIENCE_S:.0f}"})
    late = client.delete(done.headers["content-location"])
    assert late.status_code == 409 and "done" in late.json()["detail"]
    for path in (f"/v1/jobs/http.{'0' * 32}", "/v1/jobs/nonsense"):
        assert client.delete(path).status_code == 404 and client.get(path).status_code == 404
        assert client.get(f"{path}/events").status_code == 404


def test_a_job_that_fails_says_why(client: httpx.Client) -> None:
    request = {"prompt": f"fail {uuid.uuid4().hex}", "duration_s": 0.2}
    url = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async"}).headers["location"]
    job = client.get(url, headers={"prefer": f"wait={PATIENCE_S:.0f}"}).json()
    assert job["state"] == "failed" and job["error"]["code"] == "engine_failed" and job["sound"] is None
    waited = client.post("/v1/sounds", json={**request, "prompt": request["prompt"] + " again"})
    assert waited.status_code == 500 and waited.json()["code"] == "engine_failed"


def test_an_idempotency_key_makes_a_sound_once(client: httpx.Client, other: httpx.Client, stage: Served) -> None:
    request, headers = {**new(), "force": True}, {"idempotency-key": uuid.uuid4().hex}
    first = client.post("/v1/sounds", json=request, headers={**headers, "accept": "audio/*"})
    assert first.status_code == 200 and first.content.startswith(b"RIFF")
    again = client.post("/v1/sounds", json=request, headers={**headers, "accept": "audio/*"})
    elsewhere = other.post("/v1/sounds", json=request, headers={**headers, "accept": "audio/*"})
    assert first.content == again.content == elsewhere.content
    assert first.headers["content-location"] == elsewhere.headers["content-location"]
    assert stage.diary().count(request["prompt"]) == 1
    for gateway in (client, other):
        refused = gateway.post("/v1/sounds", json={**request, "prompt": "tone else"}, headers=headers)
        assert refused.status_code == 422 and refused.json()["code"] == "idempotency_key_reused"


def test_an_idempotency_key_joins_what_is_under_way(client: httpx.Client, held: Held, stage: Served) -> None:
    request, let_go = held
    headers = {"idempotency-key": uuid.uuid4().hex, "prefer": "respond-async"}
    first = client.post("/v1/sounds", json=request, headers=headers)
    again = client.post("/v1/sounds", json=request, headers=headers)
    assert first.status_code == again.status_code == 202 and first.json()["id"] == again.json()["id"]
    refused = client.post("/v1/sounds", json={**request, "duration_s": 0.3}, headers=headers)
    assert refused.status_code == 422 and refused.json()["code"] == "idempotency_key_reused"
    let_go()
    done = client.get(first.headers["location"], headers={"prefer": f"wait={PATIENCE_S:.0f}"}).json()
    assert done["state"] == "done" and stage.diary().count(request["prompt"]) == 1


def test_what_is_durable_has_an_address_as_a_job(client: httpx.Client) -> None:
    answer = client.post("/v1/sounds", json={**new(), "durable": True}, headers={"accept": "audio/*"})
    assert answer.content == client.get(f"{answer.headers['content-location']}/audio").content


def test_what_is_not_kept_has_an_address_all_the_same(client: httpx.Client) -> None:
    told = client.post("/v1/sounds", json={**new(), "store": False}).json()
    assert told["id"] is None and client.get(told["url"]).content.startswith(b"RIFF")


@contextlib.contextmanager
def posted(url: str, request: dict[str, Any], *headers: str) -> Iterator[socket.socket]:
    """A connection on which a request was sent whose answer nobody reads; it is closed at the end."""
    address = httpx.URL(url)
    body = json.dumps(request)
    head = [
        "POST /v1/sounds HTTP/1.1",
        f"Host: {address.host}:{address.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    with socket.create_connection((address.host, address.port), timeout=PATIENCE_S) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        yield connection


def under_way(stage: Served) -> int:
    with AudioClient(stage.endpoint) as pool:
        return pool.status().requests


@pytest.mark.parametrize("headers", [[], [f"Prefer: wait={PATIENCE_S:.0f}"]], ids=["plain", "prefer"])
def test_who_goes_away_cancels_the_request(
    stage_gateway: Gateway, stage: Served, held: Held, headers: list[str]
) -> None:
    request, _ = held
    with AudioClient(stage.endpoint) as pool:
        before = pool.status().answers.get("cancelled", 0)
        with posted(stage_gateway.url, request, *headers):
            eventually(lambda: request["prompt"] in stage.diary(), "the sound is being made")
        eventually(lambda: pool.status().answers.get("cancelled", 0) > before, "the pool has stopped")
        eventually(lambda: pool.status().requests == 0, "nothing is under way")


def test_who_goes_away_takes_nobody_with_him(
    stage_gateway: Gateway, client: httpx.Client, stage: Served, held: Held
) -> None:
    request, let_go = held
    with posted(stage_gateway.url, request) as stays:
        eventually(lambda: request["prompt"] in stage.diary(), "the sound is being made")
        with AudioClient(stage.endpoint) as pool:
            cancelled = pool.status().answers.get("cancelled", 0)
            with posted(stage_gateway.url, request):
                eventually(lambda: pool.status().requests == 2, "both wait for it")
            eventually(lambda: pool.status().answers.get("cancelled", 0) > cancelled, "one has gone")
            assert pool.status().requests == 1
        let_go()
        assert stays.recv(12) == b"HTTP/1.1 200"
    assert stage.diary().count(request["prompt"]) == 1
