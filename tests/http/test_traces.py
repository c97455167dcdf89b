"""One trace from the client through the pool to the workers, as a collector receives it over OTLP."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.collector import Collector
from tests.support.served import Served
from tests.support.waiting import eventually

from audio_pool.client.client import AudioClient
from audio_pool.errors import AudioPoolError, InvalidRequest
from audio_pool.tracing import CURRENT

TRACE, CAUSE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CAUSE}-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def served(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    asked = {**collector.environment, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    with Served(tmp_path_factory.mktemp("t"), "--log-format", "json", env=asked) as served:
        yield served.ready()
        served.signal()
        served.wait()


@pytest.fixture
def client(served: Served) -> Iterator[AudioClient]:
    with AudioClient(served.endpoint, timeout_s=60) as client:
        yield client


def test_one_trace_leads_from_the_client_to_the_workers_stages(collector: Collector, client: AudioClient) -> None:
    result = client.generate("a bell " * 30, traceparent=PARENT)
    (whole,) = collector.of(TRACE, "generate_content stage")
    assert (whole.parent, whole.service, whole.kind) == (CAUSE, "audio_pool", 2)
    told = whole.attributes
    assert told["gen_ai.operation.name"] == "generate_content" and told["gen_ai.provider.name"] == "audio_pool"
    assert told["gen_ai.response.id"] == result.request_id and told["gen_ai.request.seed"] == result.metadata.seed
    assert told["audio_pool.cache"] == "new_generation" and told["gen_ai.response.finish_reasons"] == ["stop"]
    parts = collector.within(whole)
    names = [part.name for part in parts]
    assert [name for name in names if name in ("lookup", "queue", "generate_audio", "master", "store")] == [
        "lookup", *(["lookup"] * (names.count("lookup") - 1)), "queue", "generate_audio", "master", "store",
    ]  # fmt: skip
    assert all(whole.start <= part.start <= part.end <= whole.end for part in parts)
    made = next(part for part in parts if part.name == "generate_audio")
    assert made.attributes["prompt"] == ("a bell " * 30)[:100] and made.attributes["duration"] == pytest.approx(0.2)
    assert made.attributes["audio_pool.worker"] == "w"
    assert not any(part.failed for part in parts)


def test_a_hit_is_a_span_with_its_look_up(collector: Collector, client: AudioClient) -> None:
    client.generate("kept")
    trace = "1" * 32
    client.generate("kept", traceparent=f"00-{trace}-{CAUSE}-01")
    (whole,) = collector.of(trace, "generate_content stage")
    assert whole.attributes["audio_pool.cache"] == "exact" and whole.attributes["audio_pool.entry_id"] > 0
    assert [part.name for part in collector.within(whole)] == ["lookup"]


def test_what_fails_says_so(collector: Collector, client: AudioClient) -> None:
    trace = "2" * 32
    with pytest.raises(AudioPoolError):
        client.generate("fail now", traceparent=f"00-{trace}-{CAUSE}-01")
    (whole,) = collector.of(trace, "generate_content stage")
    assert whole.failed and whole.attributes["error.type"]
    assert any(part.failed and part.name == "generate_audio" for part in collector.within(whole))


def test_what_is_not_sampled_is_not_sent_and_without_a_parent_a_trace_begins(
    collector: Collector, client: AudioClient, served: Served
) -> None:
    client.generate("unsampled", traceparent=f"00-{'3' * 32}-{CAUSE}-00")
    result = client.generate("alone")

    def logged() -> str:
        lines = (served.place / "cache" / "logs" / "server.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if result.request_id in line]
        return next((line["trace_id"] for line in found if line["message"] == "answered"), "")

    trace = eventually(logged, "the log has the trace's id")
    with pytest.raises(AudioPoolError):
        client.submit({"prompt": "x", "engine": "none.such"}, traceparent=f"00-{'8' * 32}-{CAUSE}-01").result(60)
    log = served.place / "cache" / "logs" / "server.log"
    eventually(lambda: "8" * 32 in log.read_text(), "what is refused is within its trace, too")
    (whole,) = collector.of(trace, "generate_content stage")
    assert whole.parent == ""
    assert not [one for one in collector.spans if one.trace == "3" * 32]


def test_the_span_that_is_open_in_the_caller_is_the_parent(collector: Collector, client: AudioClient) -> None:
    token = CURRENT.set(f"00-{'4' * 32}-{CAUSE}-01")
    try:
        client.generate("from a context")
    finally:
        CURRENT.reset(token)
    assert collector.of("4" * 32, "generate_content stage")
    with pytest.raises(InvalidRequest, match="traceparent"):
        client.generate("x", traceparent="00-0-0-01")


def test_the_process_that_sends_spans_comes_back(served: Served, collector: Collector) -> None:
    (sender,) = [
        one for one in psutil.Process(served.process.pid).children() if "audio_pool.monitoring.spans" in one.cmdline()
    ]
    sender.kill()
    trace = "5" * 32
    with AudioClient(served.endpoint, timeout_s=60) as client:

        def sent() -> bool:
            client.generate("again", traceparent=f"00-{trace}-{CAUSE}-01")
            return any(one.trace == trace for one in collector.spans)

        eventually(sent, "it is started again")


def test_a_durable_request_stays_in_its_trace_when_its_server_is_killed(collector: Collector, tmp_path: Path) -> None:
    trace, gate = "9" * 32, tmp_path / "gate"
    with Served(tmp_path, env=collector.environment) as first:
        client = AudioClient(first.ready().endpoint, timeout_s=60)
        prompt, parent = f"hold {gate} now", f"00-{trace}-{CAUSE}-01"
        pending = client.submit(prompt, durable=True, request_id="kept", traceparent=parent, events=True)
        assert next(iter(pending.events())).type == "accepted", "it is in the journal"
        first.signal(signal.SIGKILL)
        first.wait()
        client.close()
    assert not [one for one in collector.spans if one.trace == trace]
    gate.touch()
    with Served(tmp_path, env=collector.environment) as second:
        second.ready()
        (whole,) = collector.of(trace, "generate_content stage")
        assert whole.parent == CAUSE and whole.attributes["audio_pool.status"] == "result"
        second.signal()
        second.wait()
