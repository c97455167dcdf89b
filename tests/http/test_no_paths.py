"""Whatever goes wrong in a pool, no answer over HTTP says where its files lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.http.conftest import Gateway, running
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

SECRET = "/very/secret/place"
SOUND = {"prompt": "a bell", "duration_s": 0.2}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A gateway before a pool whose engine cannot be loaded, and says which file is at fault."""
    place = tmp_path_factory.mktemp("n")
    with Served(place / "s", engines={"stage": {"trouble": f"{SECRET}/model.bin is torn"}}) as served:
        served.hear("degraded")
        gateway = Gateway(place, served.bind)
        with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
            eventually(lambda: "model.bin" in client.get("/v1/health").text, "the gateway hears of it")
            yield client, place
        served.signal()
        served.wait()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        *(("GET", path, None, {}) for path in ("/health", "/livez", "/readyz", "/metrics", "/v1/health", "/v1/status")),
        *(("GET", path, None, {}) for path in ("/v1/engines", "/v1/models", "/v1/voices", "/v1/sounds")),
        ("POST", "/v1/sounds", SOUND, {}),
        ("POST", "/v1/sounds", SOUND, {"prefer": "wait=60"}),
        ("POST", "/v1/explain", SOUND, {}),
        ("POST", "/v1/audio/speech", {"input": "a bell", "model": "m", "voice": "v"}, {}),
        ("POST", "/v1/sound-generation", {"text": "a bell", "duration_seconds": 0.5}, {}),
        ("POST", "/v1/audio/generate", {"input": "a bell"}, {}),
        ("POST", "/predict", {"prompt": "a bell"}, {}),
    ],
)
def test_no_answer_tells_a_path(
    client: tuple[httpx.Client, Path], method: str, path: str, body: dict[str, object] | None, headers: dict[str, str]
) -> None:
    asked, place = client
    answer = asked.request(method, path, json=body, headers=headers)
    told = answer.text + str(answer.headers)
    assert SECRET not in told and str(place) not in told


def test_no_job_tells_a_path(client: tuple[httpx.Client, Path]) -> None:
    asked, place = client
    url = asked.post("/v1/sounds", json=SOUND, headers={"prefer": "respond-async"}).headers["location"]
    told = asked.get(url, headers={"prefer": "wait=60"}).text + asked.get(f"{url}/events").text
    assert "model.bin" in told and SECRET not in told and str(place) not in told
