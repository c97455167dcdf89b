"""Answers in time over HTTP: what stands in, and the job that makes the better sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Gateway, running
from tests.support.receiver import Receiver
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway before a pool with a slow engine, and the built-in one on a worker of its own."""
    place = tmp_path_factory.mktemp("t")
    workers = [
        {"name": "slow", "engines": ["stage"], "credit": 1},
        {"name": "quick", "engines": ["procedural"]},
    ]
    with Served(place, workers=workers) as served:
        served.ready()
        config = f'[http]\nwebhook_hosts = ["*"]\nwebhook_private = true\nwebhook_secret_file = "{place}/secret"\n'
        gateway = Gateway(served.place, served.endpoint, config=config)
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
            yield client
        served.signal()
        served.wait()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


def wanted(gate: Path, **fields: Any) -> dict[str, Any]:
    return {"prompt": f"hold {gate}", "duration_s": 0.2, **fields}


def events_of(client: httpx.Client, url: str, on_event: Any = lambda name: None) -> list[tuple[str, dict[str, Any]]]:
    """The events of a job until its stream ends, as (name, data)."""
    found: list[tuple[str, dict[str, Any]]] = []
    name = ""
    with client.stream("GET", url) as response:
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                found.append((name, json.loads(value)))
                on_event(name)
    return found


def test_a_stand_in_names_the_job_of_the_better_sound(client: httpx.Client, gate: Path, receiver: Receiver) -> None:
    told_at, json_wanted = {"webhook": receiver.url}, {"accept": "application/json"}
    answer = client.post("/v1/sounds", params=told_at, json=wanted(gate, stand_in=True), headers=json_wanted)
    assert answer.status_code == 200, answer.text
    told = answer.json()["metadata"]
    assert told["approximate"] is True and told["rung"] == "built_in" and told["engine"] == "procedural"
    url = f"/v1/jobs/{told['upgrade_id']}"
    assert client.get(url).json()["state"] in ("pending", "running")
    gate.touch()
    name, job = events_of(client, f"{url}/events")[-1]
    assert name == "upgraded" and job["sound"]["metadata"]["engine"] == "stage"
    assert client.get(f"{url}/audio").status_code == 200
    told = [json.loads(receiver.take()[1])["type"] for _ in range(2)]
    assert told == ["sound.done", "job.upgraded"]


def test_who_takes_the_file_alone_is_told_in_headers_that_it_stands_in(client: httpx.Client, gate: Path) -> None:
    answer = client.post("/v1/sounds", json=wanted(gate, stand_in=True), headers={"accept": "audio/*"})
    told = {name: answer.headers.get(f"x-sound-{name}") for name in ("approximate", "rung", "upgrade")}
    assert told["approximate"] == "true" and told["rung"] in ("looser", "built_in")
    assert client.get(told["upgrade"] or "").json()["state"] in ("pending", "running")
    gate.touch()
    events_of(client, f"{told['upgrade']}/events")
    real = client.post("/v1/sounds", json=wanted(gate, stand_in=True), headers={"accept": "audio/*"})
    assert real.headers["x-sound-approximate"] == "false" and "x-sound-upgrade" not in real.headers


def test_a_better_sound_is_cancelled_like_any_job(client: httpx.Client, gate: Path) -> None:
    told = client.post("/v1/sounds", json=wanted(gate, stand_in=True), headers={"accept": "application/json"}).json()
    gone = client.delete(f"/v1/jobs/{told['metadata']['upgrade_id']}")
    assert gone.status_code == 200 and gone.json()["state"] == "cancelled"


def test_the_events_of_a_job_go_on_to_the_better_sound(client: httpx.Client, gate: Path) -> None:
    request = wanted(gate, best_by_deadline=True, deadline_ms=2500, upgrade=True)
    job = client.post("/v1/sounds", json=request, headers={"prefer": "respond-async"}).json()
    found = events_of(client, job["events_url"], lambda name: gate.touch() if name == "done" else None)
    names = [name for name, _ in found if name in ("done", "upgraded")]
    assert names == ["done", "upgraded"]
    done = next(data for name, data in found if name == "done")
    assert done["sound"]["metadata"]["approximate"] is True
    assert done["upgrade_url"] == f"{job['url']}u" == client.get(job["url"]).json()["upgrade_url"]
    assert found[-1][1]["sound"]["metadata"]["engine"] == "stage"
