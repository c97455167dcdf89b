"""``audio-pool serve --metrics``: a real server, the process beside it, and what it answers Prometheus and probes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.served import Served
from tests.support.waiting import eventually

from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("m")
    # a worker that is stopped is silent at once, and long before it is given up
    limits = {"heartbeat_s": 0.2, "missed_heartbeats": 100}
    with Served(place, "--metrics", "127.0.0.1:0", limits=limits) as served:
        served.url = served.heard("metrics").split()[1]  # type: ignore[attr-defined]
        yield served.ready()


def get(served: Any, path: str, method: str = "GET") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("content-type", "")
    finally:
        connection.close()


def samples(served: Any) -> dict[tuple[str, ...], float]:
    status, body, _ = get(served, "/metrics")
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_what_was_asked_of_the_pool_is_counted(served: Any) -> None:
    with AudioClient(served.endpoint) as client:
        for _ in range(3):
            client.generate("bell", timeout_s=30)
        with pytest.raises(AudioPoolError):
            client.generate("bell", steps=-1)

    def by_labels() -> dict[str, float]:
        body = get(served, "/metrics")[1].decode()
        return {
            sample.labels["cache"]: sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
            if sample.name == "audio_pool_requests_total"
        }

    eventually(lambda: by_labels() == {"new_generation": 1, "exact": 2}, "an answer serves half a second")
    told = samples(served)
    assert told["audio_pool_up",] == told["audio_pool_ready",] == 1
    assert told["audio_pool_worker_up", "w"] == 1
    assert told["audio_pool_cache_hits_total", "exact"] == 2
    assert told["audio_pool_generate_seconds_count", "stage"] == 1
    assert told["audio_pool_audio_seconds_total", "stage"] == pytest.approx(0.2)
    assert told["audio_pool_disk_bytes", "total"] > 0


def test_probes_heads_and_strange_paths(served: Any) -> None:
    eventually(lambda: get(served, "/readyz")[0] == 200, "it is ready")
    assert get(served, "/livez")[0] == 200
    status, body, _ = get(served, "/metrics", "HEAD")
    assert (status, body) == (200, b"")
    assert get(served, "/metrics?x=1")[2].startswith("text/plain")
    assert get(served, "/")[0] == get(served, "/metrics/x")[0] == 404
    assert get(served, "/metrics", "POST")[0] == 501


def test_clients_that_say_nothing_keep_nobody_waiting(served: Any) -> None:
    address = urlsplit(served.url)
    idle = [socket.create_connection((address.hostname, address.port)) for _ in range(25)]
    try:
        assert get(served, "/livez")[0] == 200
    finally:
        for one in idle:
            one.close()


def test_a_pool_whose_worker_is_stopped_is_not_ready_and_lives(served: Any) -> None:
    eventually(lambda: get(served, "/readyz")[0] == 200, "it is ready")
    (worker,) = served.workers().values()
    worker.suspend()
    try:
        eventually(lambda: get(served, "/readyz")[0] == 503, "a stopped worker is seen")
        told = json.loads(get(served, "/readyz")[1])
        assert told["reasons"] == ["no worker that generates is ready"] and not told["ok"]
        assert get(served, "/livez")[0] == 200
        assert samples(served)["audio_pool_ready",] == 0
    finally:
        worker.resume()
    eventually(lambda: get(served, "/readyz")[0] == 200, "it goes on")


def beside(served: Served) -> psutil.Process:
    children = psutil.Process(served.process.pid).children()
    return next(one for one in children if "metrics" in one.cmdline())


def test_the_process_beside_comes_back_and_goes_with_its_server(served: Any) -> None:
    beside(served).kill()
    before = served.url
    served.said.clear()
    served.url = served.hear("metrics").split()[1]
    assert served.url != before and get(served, "/livez")[0] == 200
    process = beside(served)
    served.signal(signal.SIGSTOP)
    try:
        eventually(lambda: get(served, "/livez")[0] == 503, "a pool that does not answer is to be started again")
        assert samples(served) == {("audio_pool_up",): 0}
    finally:
        served.signal(signal.SIGCONT)
    served.signal(signal.SIGKILL)
    served.wait()
    eventually(lambda: not process.is_running(), "it does not outlive its server")


def test_an_address_that_is_taken_or_none_is_told(tmp_path: Path) -> None:
    with Served(tmp_path, "--metrics", "nowhere") as served:
        assert served.wait() == 2
    assert "HOST:PORT" in served.stderr()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Served(tmp_path, "--metrics", f"127.0.0.1:{port}") as served:
            served.ready()  # the pool serves all the same
            eventually(lambda: "cannot listen" in served.stderr(), "why there are no metrics")
