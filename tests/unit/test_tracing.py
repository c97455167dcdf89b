"""Traceparents, the variables that turn traces on, and the spans that a request's times come to."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.errors import BadMessage, InvalidRequest
from audio_pool.monitoring.spans import Sender, SpanTold, run, spans_of
from audio_pool.pool import traces as module
from audio_pool.pool.replies import Reply
from audio_pool.pool.requests import OpenRequest
from audio_pool.pool.traces import SpanFeed, span_feed
from audio_pool.results import Failure
from audio_pool.tasks import Rejected
from audio_pool.trace_record import Mark, TraceRecord
from audio_pool.tracing import (
    CURRENT,
    Within,
    asked_traceparent,
    captures_prompts,
    new_trace,
    tracing_on,
    valid_traceparent,
    within,
)
from audio_pool.transport.client_messages import decode_client

GIVEN = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        GIVEN.upper(),
        GIVEN + "0",
        f"ff{GIVEN[2:]}",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
    ],
)
def test_a_malformed_traceparent_is_none(text: str) -> None:
    assert valid_traceparent(text) == ""
    with pytest.raises(InvalidRequest, match="traceparent"):
        asked_traceparent(text)
    with pytest.raises(BadMessage, match="traceparent"):
        decode_client({"v": 1, "type": "generate", "request_id": "r", "request": {}, "traceparent": text})


def test_a_traceparent_has_parts() -> None:
    assert valid_traceparent(GIVEN) == GIVEN and within(GIVEN) == Within("a" * 32, "b" * 16, True)
    assert not within(GIVEN[:-1] + "0").sampled
    began = within(new_trace())
    assert began.span_id == "" and began.sampled and len(began.trace_id) == 32


def test_what_is_open_here_is_the_parent_unless_it_is_said() -> None:
    assert asked_traceparent(None) == ""
    token = CURRENT.set(GIVEN)
    try:
        assert asked_traceparent(None) == GIVEN
    finally:
        CURRENT.reset(token)


def test_a_span_that_is_open_in_opentelemetry_is_the_parent() -> None:
    from opentelemetry import trace

    opened = trace.SpanContext(int("c" * 32, 16), int("d" * 16, 16), is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(opened)):
        assert asked_traceparent(None) == f"00-{'c' * 32}-{'d' * 16}-01"
    assert asked_traceparent(None) == ""


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
    ],
)
def test_the_standard_variables_turn_traces_on(environment: dict[str, str], on: bool) -> None:
    assert tracing_on(environment) == on


def test_prompts_are_told_only_where_that_is_asked_for() -> None:
    assert not captures_prompts({})
    assert captures_prompts({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})


# -- spans -----------------------------------------------------------------------------------------

MADE = TraceRecord(
    traceparent=GIVEN, epoch_s=1000.0, opened=10.0, ended=16.0, request_id="r", status="result", engine="tone",
    model="m/tone", cache="new_generation", seed=7, steps=20, duration_s=2.0, worker="w", device="cuda:0",
    generate_ms=2000.0, score_ms=500.0, master_ms=900.0, prompt="rain",
    marks=(
        Mark("new", "whole", 10.0, 10.0),
        Mark("lookup", "whole", 10.0, 10.5),
        Mark("generate", "queue", 10.5, 11.0),
        Mark("generate", "work", 11.0, 11.5, "w", True),
        Mark("generate", "queue", 11.5, 12.0),
        Mark("generate", "work", 12.0, 15.5, "w"),
        Mark("generate", "whole", 10.5, 15.5),
        Mark("store", "whole", 15.5, 15.9),
    ),
)  # fmt: skip


def times(spans: list[SpanTold]) -> list[tuple[str, float, float, bool]]:
    return [(one.name, one.start, one.end, bool(one.failed)) for one in spans]


def test_a_new_sound_is_told_stage_by_stage_with_every_try() -> None:
    whole, parts = spans_of(MADE)
    assert whole.name == "generate_content m/tone" and (whole.start, whole.end, whole.failed) == (10.0, 16.0, "")
    assert times(parts) == [
        ("lookup", 10.0, 10.5, False),
        ("queue", 10.5, 11.0, False),
        ("generate_audio", 11.0, 11.5, True),
        ("queue", 11.5, 12.0, False),
        ("generate_audio", 12.0, 14.0, False),
        ("score", 14.0, 14.5, False),
        ("master", 14.5, 15.4, False),
        ("store", 15.5, 15.9, False),
    ]
    made = parts[4].attributes
    assert made == {
        "audio_pool.worker": "w", "gen_ai.request.model": "tone", "duration": 2.0, "audio_pool.candidates": 1,
        "audio_pool.device": "cuda:0", "num_inference_steps": 20, "prompt": "rain",
    }  # fmt: skip


def test_another_worker_masters_within_its_own_time() -> None:
    marks = (
        Mark("generate", "work", 11.0, 13.0, "gpu"),
        Mark("master", "queue", 13.0, 13.1),
        Mark("master", "work", 13.1, 15.0, "cpu"),
    )
    _, parts = spans_of(msgspec.structs.replace(MADE, marks=marks))
    assert times(parts) == [
        ("generate_audio", 11.0, 13.0, False),
        ("queue", 13.0, 13.1, False),
        ("score", 13.1, 13.6, False),
        ("master", 13.6, 14.5, False),
    ]
    assert [part.attributes.get("audio_pool.worker") for part in parts] == ["gpu", None, "cpu", "cpu"]


def test_who_joined_late_has_what_was_left() -> None:
    _, parts = spans_of(msgspec.structs.replace(MADE, opened=13.0, cache="joined"))
    assert times(parts)[0] == ("generate_audio", 13.0, 14.0, False)


def test_what_ended_in_the_queue_says_where() -> None:
    cut = (Mark("lookup", "whole", 10.0, 10.2), Mark("generate", "cut", 10.2, 12.0))
    record = msgspec.structs.replace(MADE, status="expired", error="expired", cache="", marks=cut, ended=12.0)
    whole, parts = spans_of(record)
    assert whole.failed == "expired" and whole.attributes["error.type"] == "expired"
    assert times(parts) == [("lookup", 10.0, 10.2, False), ("generate", 10.2, 12.0, True)]


def test_a_hit_is_a_look_up() -> None:
    record = msgspec.structs.replace(MADE, marks=(), lookup_ms=0.4, generate_ms=0.0, ended=10.001)
    assert [part.name for part in spans_of(record)[1]] == ["lookup"]


def test_spans_go_out_under_the_callers_and_a_trace_that_begins_here_keeps_its_id() -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    sender = Sender(SimpleSpanProcessor(exporter))
    own = new_trace()
    records = [msgspec.structs.replace(MADE, traceparent=one) for one in (GIVEN, own, GIVEN[:-1] + "0")]
    stream = b"".join(len(data).to_bytes(4, "big") + data for data in map(msgspec.msgpack.encode, records))
    run(io.BytesIO(stream + b"\0\0\0\3abc" + b"\0\0\0\\9torn"), sender)
    sender.close()
    spans = exporter.get_finished_spans()
    roots = [one for one in spans if one.name.startswith("generate_content")]
    assert len(roots) == 2 and len(spans) == 18, "what is not sampled is not sent"
    assert f"{roots[0].context.trace_id:032x}" == "a" * 32 and roots[0].parent.span_id == int("b" * 16, 16)
    assert f"{roots[1].context.trace_id:032x}" == own[3:35] and roots[1].parent is None
    assert roots[0].start_time == 1_010 * 10**9 and roots[0].end_time == 1_016 * 10**9
    assert all(one.parent.span_id == roots[0].context.span_id for one in spans[:8])


# -- the pool --------------------------------------------------------------------------------------


class Kept:
    def __init__(self) -> None:
        self.noted: list[tuple[OpenRequest, Reply, str]] = []

    def note(self, answered: OpenRequest, reply: Reply, status: str) -> None:
        self.noted.append((answered, reply, status))


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Routed]:
    pool = Routed(tmp_path, (engine(),))
    yield pool.start()
    pool.close()


def test_marks_are_kept_only_where_traces_are_wanted(pool: Routed) -> None:
    pool.intake.submit(request(), Caller().sink)
    assert pool.scheduler.jobs[1].marks is None and pool.requests[1].trace == ""
    kept = pool.requests.traces = Kept()
    pool.intake.submit(request(prompt="other"), Caller().sink)
    assert within(pool.requests[2].trace).span_id == ""
    run_task = pool.run()
    pool.done({2: Rejected(failure=Failure(code="engine_failed", message="no"))}, run_task)
    ((answered, _, status),) = kept.noted
    assert status == "error"
    assert [(mark.stage, mark.part) for mark in answered.marks] == [
        ("new", "whole"), ("lookup", "whole"), ("claim", "whole"), ("recheck", "whole"),
        ("generate", "queue"), ("generate", "work"), ("generate", "cut"),
    ]  # fmt: skip
    assert [mark.failed for mark in answered.marks if mark.part == "work"] == [True]


def test_the_feed_is_bounded_and_off_without_the_variables(
    pool: Routed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import contextlib

    assert span_feed({}, contextlib.ExitStack()) is None
    monkeypatch.setattr(module, "_MOST_WAITING", 2)
    monkeypatch.setattr(module, "_GATHER_S", 3600.0)
    feed = SpanFeed(prompts=False, command=["sh", "-c", f"cat > {tmp_path}/told"])
    pool.requests.traces = feed
    for number in range(3):
        pool.intake.submit(request(prompt=f"p{number}"), Caller().sink)
        pool.intake.cancel(number + 1)
    feed.close()
    data = (tmp_path / "told").read_bytes()
    records = []
    while data:
        size = int.from_bytes(data[:4], "big")
        records.append(msgspec.msgpack.decode(data[4 : 4 + size], type=TraceRecord))
        data = data[4 + size :]
    assert [(one.status, one.prompt) for one in records] == [("cancelled", "")] * 2, "the third is dropped"
    assert abs(records[0].epoch_s + records[0].ended - time.time()) < 60


def test_a_record_can_be_read_back() -> None:
    told: Any = msgspec.msgpack.decode(msgspec.msgpack.encode(MADE), type=TraceRecord)
    assert told == MADE
