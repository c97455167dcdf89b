"""Requests of a client with several addresses, on heads of the test's own: each has one end, whatever is lost when."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.client import control
from audio_pool.client.control import Frames
from audio_pool.client.moving import Fate, fate_of
from audio_pool.client.session import ClientSession
from audio_pool.client.staff import ClientLeases
from audio_pool.errors import (
    AudioPoolError,
    Cancelled,
    Disconnected,
    InvalidRequest,
    PoolClosed,
    ServerRestarted,
    Timeout,
)
from audio_pool.pending import Pending
from audio_pool.transport.client_messages import ClientMessage
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

RAIN = {"prompt": "rain"}


class Head:
    """What a connection is to a Moving; ``got`` is what went out on it."""

    def __init__(self, session: ClientSession, name: str) -> None:
        assert session.moving is not None
        self.session, self.moving = session, session.moving
        self.address, self.token = name, f"token of {name}"
        self.outbox: deque[Frames] = deque()
        self.asked: dict[str, None] = {}
        self.stopping = False
        self.got: list[dict[str, Any]] = []

    def note(self, request_id: str) -> None:
        self.asked[request_id] = None

    def come(self) -> Head:
        self.session.connected = True
        self.moving.arrived(self)
        return self.flush()

    def flush(self) -> Head:
        self.moving.settle()
        while self.outbox:
            self.got.append(msgpack.unpackb(self.outbox.popleft()[0]))
        while (waiting := self.moving.next_for(self)) is not None:
            self.moving.sent(waiting[0], self)
            self.got.append(msgpack.unpackb(waiting[1][0]))
        while self.outbox:
            self.got.append(msgpack.unpackb(self.outbox.popleft()[0]))
        return self

    def go(self, why: str = "the connection ended") -> None:
        self.session.connected = False
        self.moving.left()
        self.moving.lose(self, why)

    def say(self, request_id: str, kind: str = "result", **fields: Any) -> None:
        whole = {"path": "/x.wav", "metadata": {}} if kind == "result" and "body" not in fields else {}
        self.session.on_message([msgpack.packb({"v": 1, "type": kind, "request_id": request_id, **whole, **fields})])

    def close(self, request_id: str) -> None:
        self.say(request_id, "error", error={"code": "closed", "message": "stopping", "hint": "", "retryable": False})

    def kinds(self) -> list[str]:
        return [one["type"] for one in self.got]

    def one(self, kind: str) -> dict[str, Any]:
        return next(one for one in self.got if one["type"] == kind)


def session() -> ClientSession:
    return ClientSession("a, b", moves=True)


def submit(of: ClientSession, name: str = "r", *, events: bool = False, **fields: Any) -> Pending:
    pending = Pending(name, lambda: None)
    frames = of.submit(parse(AudioRequest, {**RAIN, **fields}), pending, now=0.0, timeout_s=9.0, events=events)
    assert frames == [], "what is to be sent is said to the head that is asked"
    return pending


def ask(of: ClientSession, question: control.Question[Any], name: str = "q") -> list[Any]:
    ends: list[Any] = []
    of.ask(question, request_id=name, now=0.0, timeout_s=9.0, on_result=ends.append, on_error=ends.append)
    return ends


def test_what_a_lost_head_had_is_asked_of_the_next_under_the_same_id_with_that_ones_token() -> None:
    asked = session()
    pending = submit(asked)
    first = Head(asked, "a").come()
    assert first.one("generate")["token"] == "token of a"
    first.go()
    assert not pending.done()
    second = Head(asked, "b").come()
    again = second.one("generate")
    assert (again["request_id"], again["token"], again["request"]["prompt"]) == ("r", "token of b", "rain")
    second.say("r")
    assert pending.result(0).path == "/x.wav" and len(asked) == 1, "one question to the new head is under way"


def test_a_head_that_is_stopping_finishes_what_it_has_and_what_it_will_not_begin_goes_to_the_next() -> None:
    asked = session()
    begun, refused = submit(asked, "begun"), submit(asked, "refused")
    first = Head(asked, "a").come()
    first.close("refused")
    assert first.stopping and not refused.done()
    asked.moving.left()
    second = Head(asked, "b").come()
    assert [one["request_id"] for one in second.got if one["type"] == "generate"] == ["refused"]
    first.say("begun")
    second.say("refused")
    assert begun.done() and refused.done() and not begun.exception() and not refused.exception()
    assert not first.asked or set(first.asked) == {one["request_id"] for one in first.got if one["type"] == "health"}


@pytest.mark.parametrize("kind", ["feedback", "remove"])
def test_what_must_not_be_done_twice_ends_where_a_head_may_have_done_it(kind: str) -> None:
    question = control.feedback("r", "wrong", "") if kind == "feedback" else control.remove(7, None)
    asked = session()
    ends = ask(asked, question)
    first = Head(asked, "a").come()
    first.go("silent for 10 s")
    (end,) = ends
    assert isinstance(end, Disconnected) and "not asked twice" in end.message and "a: silent for 10 s" in end.message
    assert kind not in Head(asked, "b").come().kinds()


def test_what_no_head_has_got_is_asked_of_the_next_whatever_it_is() -> None:
    asked = session()
    ends = ask(asked, control.remove(7, None))
    head = Head(asked, "b").come()
    head.say("q", body={"entry": 7, "removed": True})
    assert head.kinds().count("remove") == 1 and not isinstance(ends[0], AudioPoolError)


def test_every_message_of_the_protocol_has_a_fate() -> None:
    kinds = {one.__struct_config__.tag for one in ClientMessage.__args__}
    fates: dict[str, Fate | None] = {}
    for kind in kinds:
        try:
            fates[kind] = fate_of(kind)
        except InvalidRequest:
            fates[kind] = None
    once = {kind for kind, fate in fates.items() if fate is Fate.ONCE}
    assert once == {"feedback", "remove", "remove_many", "choose", "retry", "preset_set", "preset_remove"}
    assert {kind for kind, fate in fates.items() if fate is None} == {
        "lease", "lease_return", "worker_add", "worker_drain", "worker_remove", "workers_scale", "model_order",
        "model_switch",
    }  # fmt: skip


def test_orders_about_one_heads_workers_are_refused() -> None:
    asked = session()
    with pytest.raises(InvalidRequest, match="workers of one head"):
        ClientLeases(lambda question, timeout_s: ask(asked, question)).take("0")
    assert len(asked) == 0


def test_a_stream_that_has_begun_ends_and_one_that_has_not_begins_at_the_next() -> None:
    asked = session()
    begun, waiting = (submit(asked, name, events=True, stream=True) for name in ("begun", "waiting"))
    first = Head(asked, "a").come()
    chunk = {"number": 0, "start": 0, "frames": 4, "sample_rate": 8000, "channels": 1}
    first.say("begun", "accepted", body={"queue_position": 0})
    first.say("waiting", "accepted", body={"queue_position": 0})
    first.say("begun", "chunk", body=chunk)
    first.go()
    assert isinstance(begun.exception(0), Disconnected) and "middle of a stream" in str(begun.exception(0))
    second = Head(asked, "b").come()
    assert [one["request_id"] for one in second.got if one["type"] == "generate"] == ["waiting"]
    second.say("waiting")
    assert not waiting.exception(0)


def test_a_durable_request_is_asked_after_and_joined_where_the_heads_share_it() -> None:
    asked = session()
    pending = submit(asked, "d", durable=True)
    first = Head(asked, "a").come()
    first.say("d", "accepted", body={"queue_position": 0})
    first.go()
    second = Head(asked, "b").come()
    assert "generate" not in second.kinds()
    question = second.one("job")
    assert question["target"] == "d"
    second.say(
        question["request_id"], body={"request_id": "d", "state": "running", "prompt": "rain", "created_at": 1.0}
    )
    second.flush()
    assert second.one("generate")["request_id"] == "d"
    second.say("d")
    assert not pending.exception(0)


def test_a_durable_request_that_the_next_head_does_not_know_ends_unless_it_was_never_accepted() -> None:
    asked = session()
    accepted, unheard = submit(asked, "accepted", durable=True), submit(asked, "unheard", durable=True)
    first = Head(asked, "a").come()
    first.say(first.one("health")["request_id"], body={"state": "ready", "instance": "one"})
    first.say("accepted", "accepted", body={"queue_position": 0})
    first.go()
    second = Head(asked, "b").come()
    second.say(second.one("health")["request_id"], body={"state": "ready", "instance": "two"})
    for one in list(second.got):
        if one["type"] == "job":
            error = {"code": "not_found", "message": "no such job", "hint": "", "retryable": False}
            second.say(one["request_id"], "error", error=error)
    second.flush()
    assert isinstance(accepted.exception(0), ServerRestarted)
    assert second.one("generate")["request_id"] == "unheard" and not unheard.done()


def test_a_request_that_was_cancelled_is_not_begun_anew_by_the_next_head() -> None:
    asked = session()
    one, unsent = submit(asked, "one"), submit(asked, "unsent")
    asked.cancel("unsent")
    assert not unsent.done(), "who cancels does not run what waits for the end"
    asked.moving.settle()
    assert isinstance(unsent.exception(0), Cancelled)
    first = Head(asked, "a").come()
    asked.cancel("one")
    assert first.flush().one("cancel")["target"] == "one"
    first.go()
    assert isinstance(one.exception(0), Cancelled)
    assert "generate" not in Head(asked, "b").come().kinds()


def test_the_deadline_counts_from_the_first_asking_and_names_what_was_wrong() -> None:
    asked = session()
    pending = submit(asked)
    Head(asked, "a").come().go()
    asked.trouble = "a: the connection ended; b: no connection"
    asked.expire(8.9)
    assert not pending.done()
    asked.expire(9.0)
    assert isinstance(pending.exception(0), Disconnected) and asked.trouble in str(pending.exception(0))
    assert len(asked) == 0 and Head(asked, "b").come().kinds() == ["health"]


def test_at_its_deadline_a_request_is_stopped_on_the_head_that_has_it() -> None:
    asked = session()
    pending, head = submit(asked), Head(asked, "a").come()
    asked.expire(9.0)
    assert isinstance(pending.exception(0), Timeout) and head.flush().one("cancel")["target"] == "r"


def test_an_id_that_ended_before_anybody_had_it_can_be_asked_again_and_is_sent_once() -> None:
    asked = session()
    submit(asked)
    asked.expire(9.0)
    again = submit(asked)
    assert Head(asked, "a").come().kinds().count("generate") == 1 and not again.done()


def test_a_durable_request_goes_from_a_head_that_leaves_to_the_one_that_is_asked_meanwhile() -> None:
    asked = session()
    submit(asked, "d", durable=True)
    first = Head(asked, "a").come()
    asked.moving.left()
    second = Head(asked, "b").come()
    first.moving.lose(first, "the connection ended")
    assert second.flush().one("job")["target"] == "d"


def test_a_head_that_stops_when_it_is_asked_after_a_durable_request_leaves_that_to_the_next() -> None:
    asked = session()
    pending = submit(asked, "d", durable=True)
    Head(asked, "a").come().go()
    second = Head(asked, "b").come()
    second.close(second.one("job")["request_id"])
    second.go()
    assert Head(asked, "c").come().one("job")["target"] == "d" and not pending.done()


def test_a_durable_request_that_is_cancelled_while_no_head_is_there_is_cancelled_on_the_next() -> None:
    asked = session()
    submit(asked, "d", durable=True)
    Head(asked, "a").come().go()
    asked.cancel("d")
    second = Head(asked, "b").come()
    question = second.one("job")
    second.say(question["request_id"], body={"request_id": "d", "state": "running", "prompt": "", "created_at": 1.0})
    assert second.flush().kinds()[-2:] == ["generate", "cancel"]


def test_a_stream_in_its_middle_ends_as_the_head_that_stops_says() -> None:
    asked = session()
    begun, head = submit(asked, events=True, stream=True), Head(asked, "a").come()
    head.say("r", "chunk", body={"number": 0, "start": 0, "frames": 4, "sample_rate": 8000, "channels": 1})
    head.close("r")
    assert isinstance(begun.exception(0), PoolClosed)


def test_a_better_sound_that_was_promised_ends_with_the_head_that_promised_it() -> None:
    asked = session()
    first, better = Pending("r", lambda: None), Pending("r.up", lambda: None)
    asked.submit(
        parse(AudioRequest, {**RAIN, "upgrade": True}), first, now=0.0, timeout_s=9.0, better=lambda name: better
    )
    head = Head(asked, "a").come()
    head.say("r", metadata={"upgrade_id": "r.up"})
    assert first.upgraded is better and "r.up" in head.asked, "it is waited for there"
    head.go()
    assert isinstance(better.exception(0), Disconnected) and not first.exception(0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["submit", "durable", "ask", "once", "come", "go", "stop", "leave", "result", "closed", "chunk", "cancel",
             "expire", "known", "unknown", "flush"]
        ),
        st.integers(0, 5),
    ),
    max_size=60,
)  # fmt: skip


@given(STEPS)
def test_every_request_has_exactly_one_end_and_no_head_gets_it_twice(steps: list[tuple[str, int]]) -> None:
    asked, ends, names, now = session(), Counter[str](), set[str](), 0.0
    current: Head | None = None
    heads: list[Head] = []
    leaving: list[Head] = []

    def end(name: str) -> Any:
        return lambda outcome: ends.update([name])

    for what, number in steps:
        name, now = f"r{number}", now + 0.3
        if what in ("submit", "durable") and name not in names:
            names.add(name)
            pending = Pending(name, lambda: None)
            request = parse(AudioRequest, {**RAIN, "durable": what == "durable"})
            asked.submit(request, pending, now=now, timeout_s=3.0 + number, events=True)
            pending.add_done_callback(end(name))
        elif what in ("ask", "once") and name not in names:
            names.add(name)
            question = control.HEALTH if what == "ask" else control.remove(1, None)
            asked.ask(
                question, request_id=name, now=now, timeout_s=3.0 + number, on_result=end(name), on_error=end(name)
            )
        elif what == "come" and current is None:
            current = Head(asked, f"h{len(heads)}").come()
            heads.append(current)
        elif what == "go" and current is not None:
            current.go()
            current = None
        elif what == "stop" and leaving:
            gone = leaving.pop(0)
            gone.moving.lose(gone, "the connection ended")
        elif what == "leave" and current is not None:
            current.stopping = True
            leaving.append(current)
            current.moving.left()
            asked.connected, current = False, None
        elif what in ("result", "closed", "chunk"):
            for head in [*leaving, *([current] if current else [])]:
                if name in head.asked:
                    if what == "result":
                        head.say(name)
                    elif what == "closed":
                        head.close(name)
                    else:
                        chunk = {"number": 0, "start": 0, "frames": 4, "sample_rate": 8000, "channels": 1}
                        head.say(name, "chunk", body=chunk)
                    break
        elif what == "cancel":
            asked.cancel(name)
            asked.moving.settle()
        elif what == "expire":
            asked.expire(now)
        elif what in ("known", "unknown") and current is not None:
            for one in [one for one in current.got if one["type"] == "job" and one["request_id"] in current.asked]:
                if what == "known":
                    body = {"request_id": one["target"], "state": "running", "prompt": "", "created_at": 1.0}
                    current.say(one["request_id"], body=body)
                else:
                    error = {"code": "not_found", "message": "", "hint": "", "retryable": False}
                    current.say(one["request_id"], "error", error=error)
        if current is not None and what != "come":
            current.flush()
        if current is not None and current.stopping:
            leaving.append(current)
            current.moving.left()
            asked.connected, current = False, None
    for head in heads:
        sent = Counter(one["request_id"] for one in head.got if one["type"] != "cancel")
        assert max(sent.values(), default=0) == 1, "an id that is in flight already would be refused"
    asked.close()
    assert ends == Counter(names)


def test_closed_is_told_to_who_must_not_ask_twice() -> None:
    asked = session()
    ends = ask(asked, control.feedback("r", "good", ""))
    head = Head(asked, "a").come()
    head.close("q")
    assert [type(end) for end in ends] == [PoolClosed] and head.stopping
