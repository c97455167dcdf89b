"""What is told to whoever watches a pool, second by second, and that an operator may stop what is under way."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.gateways import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool.gateway.key_file import HttpKey, create_key, revoke_key


def looks(answer: httpx.Response) -> Iterator[dict]:
    """Every event of a stream."""
    event = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and line != "data: ":
            assert event == "look"
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def client(stage_gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stage_gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def test_who_watches_sees_a_sound_being_made_and_may_stop_it(client: httpx.Client, tmp_path: Path) -> None:
    prompt = f"hold {tmp_path}/never"
    job = client.post("/v1/sounds", json={"prompt": prompt}, headers={"prefer": "respond-async"}).json()
    with client.stream("GET", "/v1/live/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        state: dict = {}
        told = looks(answer)
        for change in told:
            state |= change
            if any(one["stage"] == "generate" and one["worker"] for one in state["under_way"]):
                break
        (one,) = state["under_way"]
        assert (one["request_id"], one["prompt"], one["worker"]) == (job["id"], prompt, "w")
        assert state["status"]["workers"]["w"]["at_work"][0]["engine"] == "stage"
        assert client.delete(f"/v1/live/{job['id']}").json() == {"target": job["id"], "cancelled": True}
        for change in told:
            assert len(change) < len(state), "only what has changed"
            state |= change
            if not state["under_way"]:
                break
    assert client.get(f"/v1/jobs/{job['id']}", headers={"prefer": "wait=60"}).json()["state"] == "cancelled"
    gone = client.delete(f"/v1/live/{job['id']}")
    assert gone.status_code == 404 and "ended" in gone.json()["hint"]


def test_a_sound_that_somebody_waits_for_is_stopped_too(client: httpx.Client, stage: Served, tmp_path: Path) -> None:
    prompt = f"hold {tmp_path}/never"
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(client.post("/v1/sounds", json={"prompt": prompt})))
    asking.start()
    (one,) = eventually(lambda: client.get("/v1/live").json()["under_way"], "it is being made")
    assert client.delete(f"/v1/live/{one['request_id']}").json()["cancelled"]
    asking.join(PATIENCE_S)
    assert answers[0].status_code >= 400 and answers[0].json()["code"] == "cancelled"


def test_keys_that_are_no_operators_see_no_prompts_and_stop_nothing(stage: Served, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    plain = create_key(keys, lambda sha256: HttpKey(name="plain", sha256=sha256))
    boss = create_key(keys, lambda sha256: HttpKey(name="boss", sha256=sha256, operator=True))
    config = f'[http]\nkeys_file = "{keys}"\n'
    with running(Gateway(tmp_path, stage.endpoint, config=config)) as gateway:
        assert isinstance(gateway, Gateway)

        def client(key: str) -> httpx.Client:
            headers = {"authorization": f"Bearer {key}"}
            return httpx.Client(base_url=gateway.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

        with client(plain) as one, client(boss) as other:
            prompt = f"hold {tmp_path}/secret"
            job = one.post("/v1/sounds", json={"prompt": prompt}, headers={"prefer": "respond-async"}).json()
            eventually(lambda: other.get("/v1/live").json()["under_way"], "it is under way")
            assert "secret" in other.get("/v1/live").text
            assert "secret" not in one.get("/v1/live").text and one.get("/v1/live").json()["load"]
            with one.stream("GET", "/v1/live/events") as answer:
                assert next(looks(answer))["under_way"] == []
            assert one.delete(f"/v1/live/{job['id']}").status_code == 403
            for order in ("workers/w/drain", "workers/w/resume", "workers/w/models/stage/pin", "leases"):
                assert one.post(f"/v1/{order}", json={"device": "0"}).status_code == 403
            assert one.delete("/v1/leases/0").status_code == 403
            assert other.delete(f"/v1/live/{job['id']}").json()["cancelled"]
            assert httpx.get(f"{gateway.url}/v1/live/events", trust_env=False).status_code == 401
            with other.stream("GET", "/v1/live/events") as answer:
                told = looks(answer)
                assert next(told)["operator"]
                revoke_key(keys, "boss")
                rest = sum(1 for _ in itertools.islice(told, 60))
                assert rest < 60, "it ends: what is under way is told to nobody whose key has gone"
            assert other.get("/v1/live").status_code == 401


def test_an_operator_drains_and_resumes_workers_and_lends_devices(client: httpx.Client) -> None:
    drained = client.post("/v1/workers/w/drain").json()
    assert drained == {"workers": ["w"], "state": "drained"}
    assert client.get("/v1/live").json()["status"]["workers"]["w"]["state"] == "drained"
    assert client.post("/v1/workers/w/resume").json()["state"] == "resumed"
    assert client.post("/v1/workers/nobody/drain").status_code == 404
    pinned = client.post("/v1/workers/w/models/stage/pin").json()["models"]
    assert [(one["engine"], one["worker"], one["pinned"]) for one in pinned] == [("stage", "w", True)]
    assert client.post("/v1/workers/w/models/stage/unload").status_code == 422, "it is pinned"
    assert client.post("/v1/workers/w/models/stage/unpin").status_code == 200
    assert client.post("/v1/workers/w/models/stage/eat").status_code == 404
    refused = client.post("/v1/leases", json={"device": "7", "within_s": 1})
    assert refused.status_code == 404 and "7" in refused.json()["detail"], "no worker is on it"
    assert client.post("/v1/leases", json={"device": "7", "wihtin_s": 1}).status_code == 422
    assert client.delete("/v1/leases/7").json() == {"device": "7", "returned": False}


def test_a_gateway_ends_at_once_though_somebody_watches(stage: Served, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, stage.endpoint)
    with running(gateway), httpx.stream("GET", f"{gateway.url}/v1/live/events", trust_env=False) as answer:
        lines = answer.iter_lines()
        next(lines)
        gateway.process.terminate()
        with contextlib.suppress(httpx.RemoteProtocolError):  # it is cut: there is no end to it
            list(lines)
        gateway.process.wait(PATIENCE_S)
        assert "graceful shutdown exceeded" not in gateway.log.read_text(), "uvicorn waited for its end"
