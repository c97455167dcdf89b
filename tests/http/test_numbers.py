"""A gateway's ``/livez``, ``/readyz`` and ``/metrics``, and traces that come in over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.http.conftest import Gateway, running
from tests.support.collector import Collector
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S, eventually

TRACE, CAUSE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = {"heartbeat_s": 0.2, "missed_heartbeats": 100}
    with Served(tmp_path_factory.mktemp("t"), env=collector.environment, limits=limits) as served:
        yield served.ready()
        served.signal()
        served.wait()


@pytest.fixture(scope="module")
def web(traced: Served, collector: Collector) -> Iterator[httpx.Client]:
    patch = pytest.MonkeyPatch()
    with patch.context() as environment:
        for name, value in collector.environment.items():
            environment.setenv(name, value)
        gateway = Gateway(traced.place, traced.endpoint)
    with running(gateway), httpx.Client(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def samples(web: httpx.Client, **parameters: str) -> dict[tuple[str, ...], float]:
    answer = web.get("/metrics", params=parameters)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name.removeprefix("audio_pool_"), *map(str, sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def requests(told: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {tuple(sorted(key[1:])): value for key, value in told.items() if key[0] == "requests_total"}


def test_requests_are_counted_by_api_and_by_what_they_came_to(web: httpx.Client) -> None:
    speech = {"model": "tts-1", "voice": "alloy", "input": "a bell", "response_format": "wav"}
    assert web.post("/v1/audio/speech", json=speech).status_code == 200
    assert web.post("/v1/audio/speech", json=speech).status_code == 200
    assert web.post("/v1/audio/speech", json={"input": ""}).status_code in (400, 422)
    assert web.post("/v1/sounds", json={"prompt": "a bell", "format": "wav"}).status_code == 200
    assert web.post("/v1/sound-generation", json={"text": "another"}).status_code == 200
    assert web.get("/v1/models").status_code == 200
    own = requests(samples(web, only="gateway"))
    pairs = (("openai", "refused"), ("openai", "result"), ("http", "result"), ("elevenlabs", "result"))
    by_api = dict.fromkeys(pairs, 0.0)
    for labels, value in own.items():
        found = next((pair for pair in by_api if set(pair) <= set(labels)), None)
        assert found is not None, labels
        by_api[found] += value
    assert by_api == {
        ("openai", "refused"): 1, ("openai", "result"): 2, ("http", "result"): 1, ("elevenlabs", "result"): 1,
    }  # fmt: skip
    assert all("stage" in labels for labels in own if "result" in labels)

    def whole() -> dict[tuple[str, ...], float]:
        told = samples(web)
        native = sum(value for labels, value in requests(told).items() if "native" in labels)
        return told if native == 4 else {}

    told = eventually(whole, "the pool's own count stands beside them")
    assert told["up",] == told["ready",] == 1
    assert told["http_request_seconds_count", "openai"] == 3


def test_probes(web: httpx.Client, traced: Served) -> None:
    assert web.get("/livez").json() == {"ok": True, "state": "ready", "reasons": []}
    eventually(lambda: web.get("/readyz").status_code == 200, "it is ready")
    (worker,) = traced.workers().values()
    worker.suspend()
    try:
        eventually(lambda: web.get("/readyz").status_code == 503, "a stopped worker is seen")
        told: dict[str, Any] = web.get("/readyz").json()
        assert told["reasons"] == ["no worker that generates is ready"] and not told["ok"]
        assert web.get("/livez").status_code == 200
    finally:
        worker.resume()
    eventually(lambda: web.get("/readyz").status_code == 200, "it goes on")


def test_one_trace_leads_from_the_header_through_gateway_and_pool_to_the_worker(
    web: httpx.Client, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CAUSE}-01"}
    assert web.post("/v1/sounds", json={"prompt": "traced"}, headers=headers).status_code == 200
    (door,) = collector.of(TRACE, "POST /v1/sounds")
    assert (door.parent, door.service, door.attributes["http.response.status_code"]) == (
        CAUSE, "audio_pool_gateway", 200,
    )  # fmt: skip
    assert door.attributes["http.route"] == "/v1/sounds" and door.attributes["audio_pool.dialect"] == "http"
    (whole,) = collector.of(TRACE, "generate_content stage")
    assert (whole.parent, whole.service) == (door.id, "audio_pool")
    (made,) = collector.of(TRACE, "generate_audio")
    assert made.parent == whole.id and made.attributes["audio_pool.worker"] == "w" and "prompt" not in made.attributes
    assert door.start <= whole.start <= made.start <= made.end <= min(whole.end, door.end)
    names = {span.name for span in collector.within(whole)}
    assert names >= {"lookup", "queue", "generate_audio", "master", "store"}
    assert {span.trace for span in (door, whole, made)} == {TRACE}


def test_a_job_that_is_not_waited_for_is_in_the_trace_too(web: httpx.Client, collector: Collector) -> None:
    trace = "6" * 32
    headers = {"traceparent": f"00-{trace}-{CAUSE}-01", "prefer": "respond-async"}
    assert web.post("/v1/sounds", json={"prompt": "later"}, headers=headers).status_code == 202
    (whole,) = collector.of(trace, "generate_content stage")
    (door,) = collector.of(trace, "POST /v1/sounds")
    assert whole.parent == door.id and whole.attributes["audio_pool.status"] == "result"


def test_a_header_that_is_none_begins_a_trace_and_what_is_not_sampled_goes_nowhere(
    web: httpx.Client, collector: Collector
) -> None:
    before = {span.trace for span in collector.spans}
    headers = {"traceparent": f"00-{'7' * 32}-{CAUSE}-00"}
    assert web.post("/v1/sounds", json={"prompt": "silent"}, headers=headers).status_code == 200
    assert web.post("/v1/sounds", json={"prompt": "begun"}, headers={"traceparent": "00-bad"}).status_code == 200
    new = eventually(lambda: {one.trace for one in collector.spans} - before, "a trace begins")
    assert "7" * 32 not in new


_USED = """
import json, sys
from audio_pool.config import HttpConfig, load_config
from audio_pool.gateway.app import create_app
from audio_pool.pool.pool import AudioPool

with AudioPool(load_config({"cache": {"dir": sys.argv[1], "encoder": "off"}})) as pool:
    for _ in range(2):
        pool.generate("beep", duration_s=0.2, timeout_s=120)
by_pool = [name for name in sys.modules if name.startswith("opentelemetry")]
create_app(f"ipc://{sys.argv[1]}/nobody", HttpConfig())
print(json.dumps([*by_pool, *(name for name in sys.modules if name.startswith("opentelemetry.sdk"))]))
"""


def test_without_the_variables_nothing_imports_opentelemetry(tmp_path: Path) -> None:
    """Litestar itself looks for its API, where that is installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    told = subprocess.run(
        [sys.executable, "-c", _USED, str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert json.loads(told.stdout.splitlines()[-1]) == [], told.stderr


def test_without_the_variables_the_header_is_passed_on(pool: Any, http: httpx.Client) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CAUSE}-01"}
    assert http.post("/v1/sounds", json={"prompt": "rain", "duration_s": 1}, headers=headers).status_code == 200
    logs = (pool.place / "cache" / "logs" / "server.log").read_text
    eventually(lambda: f"trace_id={TRACE}" in logs(), "the pool's log knows the trace")
