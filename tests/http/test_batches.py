"""``/v1/batches``: many sounds, one report, nothing lost by whoever ends, nothing made twice."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually


def client(gateway: Gateway) -> httpx.Client:
    return httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("b")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Served]:
    with Served(place / "pool", queue={"ageing_s": 1000.0}).ready() as served:
        yield served


@pytest.fixture(scope="module")
def http(server: Served, place: Path) -> Iterator[httpx.Client]:
    gateway = Gateway(place / "gateway", server.endpoint, config="[http]\nmax_count = 50\n")
    with running(gateway), client(gateway) as found:
        yield found


@pytest.fixture
def gate(place: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file that a prompt ``hold FILE`` waits for."""
    found = place / re.sub(r"\W", "-", request.node.name)
    yield found
    found.touch()


def post(http: httpx.Client, *items: Any, **more: Any) -> httpx.Response:
    key = {"idempotency-key": more.pop("key")} if "key" in more else {}
    return http.post("/v1/batches", json={"items": list(items), **more}, headers=key)


def ended(http: httpx.Client, url: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = http.get(url).json()
        return found if found["state"] != "running" else None

    return eventually(look, f"{url} has ended")


def test_many_sounds_are_asked_for_at_once_and_reported_together(http: httpx.Client, server: Served) -> None:
    items = ["tone a", {"prompt": "tone b", "loop": True}, {"prompt": "fail c", "priority": "normal"}]
    answer = post(http, *items, defaults={"duration_s": 0.3, "tags": ["batch"]})
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert answer.headers["location"] == batch["url"] == f"/v1/batches/{batch['id']}" and batch["total"] == 3
    batch = ended(http, batch["url"])
    assert batch["state"] == "done" and batch["counts"] == {"done": 2, "failed": 1}
    one, two, three = batch["jobs"]
    assert (one["prompt"], one["sound"]["metadata"]["tags"], three["state"]) == ("tone a", ["batch"], "failed")
    assert two["sound"]["metadata"]["is_loop"] and three["error"]["code"] == "engine_failed"
    assert http.get(one["sound"]["url"]).content.startswith(b"RIFF")
    assert http.get(one["url"]).json() == one, "each is a job like any other"
    part = http.get(batch["url"], params={"offset": 1, "limit": 1}).json()
    assert (part["offset"], part["jobs"]) == (1, [two]) and part["counts"] == batch["counts"]
    again = post(http, *items, defaults={"duration_s": 0.3, "tags": ["batch"]})
    assert again.json()["id"] == batch["id"] and again.json()["counts"] == batch["counts"]
    assert server.diary().count("tone a") == 1


def test_a_key_names_a_batch_and_another_body_under_it_is_refused(http: httpx.Client, server: Served) -> None:
    first = post(http, "tone k1", "tone k2", key="one").json()
    assert post(http, "tone k1", "tone k2", key="one").json()["id"] == first["id"]
    assert post(http, "tone k1", "tone k2", key="two").json()["id"] != first["id"]
    wrong = post(http, "tone k1", "tone other", key="one")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "idempotency_key_reused")


def test_what_waits_is_cancelled(http: httpx.Client, gate: Path, server: Served) -> None:
    batch = post(http, f"hold {gate} a", "tone never 1", "tone never 2").json()
    eventually(lambda: f"hold {gate} a" in server.diary(), "the first is under way")
    cancelled = http.delete(batch["url"]).json()
    assert cancelled["counts"] == {"cancelled": 3} and cancelled["state"] == "done"
    assert "tone never 1" not in server.diary()
    assert http.delete(batch["url"]).json()["counts"] == {"cancelled": 3}


def test_others_go_first(http: httpx.Client, gate: Path, server: Served) -> None:
    batch = post(http, f"hold {gate} first", *(f"tone last {number}" for number in range(5))).json()
    eventually(lambda: f"hold {gate} first" in server.diary(), "the first is under way")
    job = http.post("/v1/sounds", json={"prompt": "tone urgent"}, headers={"prefer": "respond-async"})
    gate.touch()
    assert http.get(job.headers["location"], headers={"prefer": "wait=60"}).json()["state"] == "done"
    ended(http, batch["url"])
    diary = server.diary()
    assert diary.index("tone urgent") < diary.index("tone last 1")


def events(http: httpx.Client, url: str) -> Iterator[tuple[str, Any]]:
    with http.stream("GET", f"{url}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event:"):
                name = line.split(": ")[1]
            elif line.startswith("data:") and name:
                yield name, json.loads(line.removeprefix("data: "))
                name = ""


def test_its_events_tell_of_each_job_and_of_the_end(http: httpx.Client, gate: Path) -> None:
    batch = post(http, "tone e1", f"hold {gate} e2").json()
    told = []
    for name, data in events(http, batch["url"]):
        told.append((name, data.get("index")))
        if told == [("job", 0)]:
            gate.touch()
    assert told == [("job", 0), ("job", 1), ("done", None)]
    assert [name for name, _ in events(http, batch["url"])] == ["job", "job", "done"], "also when it is over"


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 422, "items"),
        ({"items": []}, 422, "items"),
        ({"items": ["x"] * 51}, 422, "allowed are at most 50"),
        ({"items": ["x", {"prompt": "y", "duration": 3}]}, 422, "items[1]"),
        ({"items": ["x", ""]}, 422, "items[1]"),
        ({"items": ["x"], "default": {}}, 422, "default"),
        ({"items": ["x"], "defaults": {"output_path": "/tmp/x"}}, 403, "output_path"),
        ({"items": [3]}, 422, "items"),
        ([], 400, "JSON object"),
    ],
)
def test_a_body_that_is_wrong_is_told_where(http: httpx.Client, body: Any, status: int, told: str) -> None:
    answer = http.post("/v1/batches", json=body)
    assert answer.status_code == status and told in answer.json()["detail"], answer.text


def test_what_is_not_there(http: httpx.Client) -> None:
    stem = "http." + "0" * 24
    counts = ("0" * 8, "00000003", "00000033", "ffffffff")
    for wrong in ("x", *(stem + count for count in counts), "other" + stem[4:] + "00000001"):
        for path in (f"/v1/batches/{wrong}", f"/v1/batches/{wrong}/events"):
            assert http.get(path).status_code == 404
        assert http.delete(f"/v1/batches/{wrong}").status_code == 404


def test_neither_gateway_nor_pool_lose_anything(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    items = ["tone 0", f"hold {gate} 1", "tone 2"]
    narrow = {"max_requests": 2}  # of a batch one job at a time is in the queue; the answer does not wait for the rest
    with Served(tmp_path / "pool", queue=narrow).ready() as server:
        gateway = Gateway(tmp_path, server.endpoint, name="first")
        with running(gateway), client(gateway) as http:
            batch = post(http, *items).json()
            eventually(lambda: items[1] in server.diary(), "the second is under way")
            one = http.post("/v1/sounds", json={"prompt": "tone one more"}, headers={"prefer": "respond-async"})
            assert one.status_code == 202, "nor does that of a single job"
            gateway.process.send_signal(signal.SIGKILL)
            gateway.process.wait(PATIENCE_S)
        second = Gateway(tmp_path, server.endpoint, name="second")
        with running(second), client(second) as http:
            assert http.get(batch["url"]).json()["counts"] == {"done": 1, "running": 1, "pending": 1}
            server.signal(signal.SIGKILL)
            server.wait()
            gate.touch()
            with Served(tmp_path / "pool", queue=narrow).ready() as successor:
                again = eventually(
                    lambda: found if (found := post(http, *items)).status_code == 202 else None, "it is taken again"
                )
                assert again.json()["id"] == batch["id"]
                assert ended(http, batch["url"])["counts"] == {"done": 3}
                assert [name for name, _ in events(http, batch["url"])] == ["job", "job", "job", "done"]
                assert successor.diary().count("tone 0") == 1
