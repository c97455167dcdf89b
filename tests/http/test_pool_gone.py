"""A gateway whose pool goes away: it says so, waits for it, and picks up its jobs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually


def new(verb: str = "tone") -> dict[str, Any]:
    return {"prompt": f"{verb} {uuid.uuid4().hex}", "duration_s": 0.2}


def test_a_pool_that_is_gone_is_said_so_and_comes_back_by_itself(tmp_path: Path) -> None:
    gate = tmp_path / "go"
    with Served(tmp_path / "s") as served:
        served.ready()
        gateway = Gateway(tmp_path, served.endpoint)
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
            held = {**new("hold"), "prompt": f"hold {gate}"}
            key = {"idempotency-key": uuid.uuid4().hex}
            job = client.post("/v1/sounds", json=held, headers={"prefer": "respond-async", **key}).json()
            served.process.kill()
            served.wait()

            gone = client.post("/v1/sounds", json=new())
            assert gone.status_code == 503 and gone.json()["code"] == "disconnected"
            assert 1 <= int(gone.headers["retry-after"]) <= 120
            assert str(tmp_path) not in gone.text and client.get("/health").status_code == 200
            assert client.get(job["url"]).status_code == 503

            gate.touch()
            with Served(tmp_path / "s") as successor:
                successor.ready()
                eventually(lambda: client.post("/v1/sounds", json=new()).status_code == 200, "the pool is back")
                ended = eventually(
                    lambda: (told := client.get(job["url"]).json())["state"] in ("done", "failed") and told, "it ends"
                )
                assert ended["state"] == "done"
                again = client.post("/v1/sounds", json=held, headers={"accept": "audio/*", **key})
                assert again.status_code == 200 and again.headers["content-location"] == job["url"]
                successor.signal()
                successor.wait()


def test_a_failure_that_may_pass_is_tried_again_under_its_idempotency_key(tmp_path: Path) -> None:
    gate = tmp_path / "go"
    request = {"prompt": f"hold {gate}", "duration_s": 0.2}
    key = {"idempotency-key": "again", "accept": "audio/*"}
    with Served(tmp_path / "s", limits={"task_timeout_s": 0.5, "cancel_grace_s": 0.2}) as served:
        served.ready()
        gateway = Gateway(tmp_path, served.endpoint)
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
            failed = client.post("/v1/sounds", json=request, headers=key)
            assert failed.status_code == 504 and failed.json()["retryable"]
            gate.touch()
            again = client.post("/v1/sounds", json=request, headers=key)
            assert again.status_code == 200 and again.content.startswith(b"RIFF")
