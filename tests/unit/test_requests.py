"""Open requests: each gets one final reply, through its own sink, and is forgotten."""

from __future__ import annotations

import logging

import pytest
from tests.support.requests import resolved

from audio_pool.errors import Cancelled, InvalidRequest, PoolClosed
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.pool.request_log import log_refusal
from audio_pool.pool.requests import RequestTable
from audio_pool.results import Accepted, Failure, Progress
from audio_pool.telemetry import Telemetry

RESULT = Reply(kind="result", path="/x.wav")
CLOSED = Reply(kind="error", failure=Failure.of(PoolClosed("stopped")))


class Counted(Telemetry):
    def __init__(self) -> None:
        self.counts: list[tuple[str, dict[str, str]]] = []

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        self.counts.append((name, labels))


class Caller:
    def __init__(self, request_id: str = "r") -> None:
        self.replies: list[Reply] = []
        self.events: list[Accepted | Progress] = []
        self.sink = LocalSink(request_id=request_id, on_reply=self.replies.append, on_event=self.events.append)


def test_each_request_has_a_number_of_its_own_for_ever() -> None:
    table, callers = RequestTable(Telemetry()), [Caller() for _ in range(3)]
    numbers = [table.open(one.sink) for one in callers]
    table.finish(numbers[0], RESULT)
    assert table.open(Caller().sink) not in numbers and len(set(numbers)) == 3


def test_a_request_is_answered_once_through_its_own_sink() -> None:
    telemetry = Counted()
    table, one, other = RequestTable(telemetry), Caller(), Caller()
    number = table.open(one.sink)
    table.open(other.sink)
    table.finish(number, RESULT)
    table.finish(number, CLOSED)
    table.finish(number + 77, CLOSED)
    assert one.replies == [RESULT] and other.replies == []
    assert number not in table and dict(table.answers) == {"result": 1}
    assert telemetry.counts == [("answers", {"kind": "result"})]


def test_replies_are_counted_as_they_were_sent() -> None:
    table = RequestTable(Telemetry())
    for kind in ("result", "result", "busy", "cancelled", "expired", "error"):
        table.finish(table.open(Caller().sink), Reply(kind=kind))
    assert dict(table.answers) == {"result": 2, "busy": 1, "cancelled": 1, "expired": 1, "error": 1}


def test_a_result_that_cannot_be_sent_is_answered_and_counted_as_an_error() -> None:
    telemetry, sent = Counted(), []

    def refuse_results(reply: Reply) -> None:
        if reply.kind == "result":
            raise TypeError("it cannot be encoded")
        sent.append(reply)

    table = RequestTable(telemetry)
    table.finish(table.open(LocalSink(request_id="r", on_reply=refuse_results)), RESULT)
    assert [reply.kind for reply in sent] == ["error"] and sent[0].failure and "bug" in sent[0].failure.message
    assert dict(table.answers) == {"error": 1}
    assert telemetry.counts == [("answers", {"kind": "error"})]


def test_a_request_is_found_by_its_callers_name_for_it() -> None:
    table = RequestTable(Telemetry())
    numbers = {name: table.open(Caller(name).sink) for name in ("a", "b")}
    assert table.number_of("b") == numbers["b"] and table.number_of("c") == 0
    table.finish(numbers["b"], RESULT)
    assert table.number_of("b") == 0


def test_at_the_end_everyone_is_answered_though_a_sink_fails() -> None:
    table, first, last = RequestTable(Telemetry()), Caller(), Caller()

    def fail(reply: Reply) -> None:
        raise RuntimeError("its event loop is closed")

    table.open(first.sink)
    table.open(LocalSink(request_id="broken", on_reply=fail))
    table.open(last.sink)
    table.finish_all(CLOSED)
    assert first.replies == last.replies == [CLOSED] and not table


def test_what_a_request_means_is_known_once_it_is_resolved() -> None:
    table = RequestTable(Telemetry())
    number = table.open(Caller().sink)
    with pytest.raises(AssertionError):
        _ = table[number].sound
    table[number].resolved = resolved()
    assert table[number].sound.recipe.prompt == "rain"


def test_events_go_where_they_are_wanted() -> None:
    caller = Caller()
    caller.sink.notify(Accepted(queue_position=2))
    LocalSink(request_id="r", on_reply=caller.replies.append).notify(Progress(stage="generate"))
    assert caller.events == [Accepted(queue_position=2)]
    failure = Failure.of(Cancelled("by its caller"))
    caller.sink.finish(Reply(kind="cancelled", failure=failure))
    assert caller.replies[0].failure == failure


def test_a_line_of_the_log_is_a_record_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "audio_pool")
    log_refusal("r", "c", InvalidRequest("no"))
    (record,) = caplog.records
    usual = logging.LogRecord(record.name, logging.INFO, record.pathname, 0, "refused", None, None)
    differing = ("created", "msecs", "relativeCreated", "fields", "message", "asctime", "taskName")
    shown = {name: value for name, value in vars(record).items() if name not in differing}
    assert shown == {name: value for name, value in vars(usual).items() if name in shown}
    assert 0 <= usual.relativeCreated - record.relativeCreated < 60_000 and 0 <= record.msecs < 1000
    assert record.created <= usual.created and record.getMessage() == "refused"
