"""The clients' shared session on a clock of the test's own: whatever happens, every request has one end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_pool.api import Health, as_request
from audio_pool.client import control
from audio_pool.client.session import ClientSession, Frames
from audio_pool.errors import AudioPoolError, BadMessage, Busy, Disconnected, InvalidRequest, Refused, Timeout
from audio_pool.pending import Pending
from audio_pool.results import Accepted, AudioResult, Event, Progress, SoundMetadata
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

RAIN = parse(AudioRequest, {"prompt": "rain"})


def reply(request_id: str, kind: str = "result", **fields: Any) -> list[bytes]:
    whole = {"path": "/x.wav", "metadata": {}} if kind == "result" else {}
    return [msgpack.packb({"v": 1, "type": kind, "request_id": request_id, **whole, **fields})]


def submit(
    session: ClientSession, name: str = "r", *, now: float = 0.0, timeout_s: float = 1.0, **options: Any
) -> Pending:
    pending = Pending(name, lambda: None)
    session.submit(RAIN, pending, now=now, timeout_s=timeout_s, **options)
    return pending


def ask(
    session: ClientSession, question: control.Question[Any], ends: list[Any], name: str = "r", *, now: float = 0.0,
    timeout_s: float = 1.0,
) -> Frames:  # fmt: skip
    return session.ask(
        question, request_id=name, now=now, timeout_s=timeout_s, on_result=ends.append, on_error=ends.append
    )


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "result", "error", "progress", "strange", "garbled", "expire", "lose", "cancel"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_request_has_exactly_one_end(steps: list[tuple[str, int]]) -> None:
    session, ends, asked, now = ClientSession("test"), Counter[str](), set[str](), 0.0
    for what, number in steps:
        name, now = f"r{number}", now + 0.5
        in_flight = asked - set(ends)
        if what == "ask" and name not in asked:
            asked.add(name)
            pending = submit(session, name, now=now, timeout_s=1.0 + number)
            pending.add_done_callback(lambda done, key=name: ends.update([key]))
        elif what in ("result", "error", "progress", "strange"):
            session.on_message(reply(name, what))
        elif what == "garbled":
            session.on_message(reply(name, path=7, metadata="rain"))
        elif what == "expire":
            session.expire(now)
            due = session.next_deadline()
            assert due is None or due > now
        elif what == "lose":
            session.lose(Disconnected("gone"))
        elif what == "cancel":
            assert (session.cancel(name) is not None) == (name in in_flight)
        assert len(session) == len(asked - set(ends))
    session.close()
    assert ends == Counter(asked)


def test_deadlines_are_each_requests_own() -> None:
    session = ClientSession("ipc://x")
    session.connected = True
    ends: dict[str, list[Any]] = {"slow": [], "fast": []}
    for name, timeout_s in [("slow", 9.0), ("fast", 2.0)]:
        ask(session, control.HEALTH, ends[name], name, now=1.0, timeout_s=timeout_s)
    assert session.next_deadline() == 3.0
    assert session.expire(2.999) == []
    (cancel,) = session.expire(3.0)
    assert msgpack.unpackb(cancel[0])["target"] == "fast"
    assert [type(end) for end in ends["fast"]] == [Timeout]
    assert session.next_deadline() == 10.0
    session.connected = False
    assert session.expire(10.0) == [], "there is nobody to send a cancel to"
    assert [type(end) for end in ends["slow"]] == [Disconnected]
    assert session.next_deadline() is None


def test_who_was_turned_away_before_he_asked_is_told_so_at_his_deadline() -> None:
    session, ends = ClientSession("ipc://x"), list[Any]()
    session.refuse(Refused("turned away"))
    ask(session, control.HEALTH, ends, "early")
    session.expire(2.0)
    session.reconnected()
    session.disconnected(Disconnected("gone"))
    ask(session, control.HEALTH, ends, "late")
    session.expire(2.0)
    assert [type(end) for end in ends] == [Refused, Disconnected]


def test_an_id_in_flight_is_refused_and_free_again_afterwards() -> None:
    session, ends = ClientSession("test"), []
    ask(session, control.HEALTH, ends)
    with pytest.raises(InvalidRequest, match="in flight already"):
        ask(session, control.HEALTH, ends)
    session.on_message(reply("r", body={"state": "ready"}))
    ask(session, control.HEALTH, ends)
    assert ends == [Health(state="ready")]


def test_a_delimiter_and_a_binary_frame_are_understood() -> None:
    session = ClientSession("test")
    pending = submit(session)
    session.on_message([b"", *reply("r"), b"RIFF"])
    assert pending.result(0) == AudioResult(request_id="r", path="/x.wav", metadata=SoundMetadata(), data=b"RIFF")


def test_what_arrives_is_typed_and_a_newer_servers_fields_are_ignored() -> None:
    session = ClientSession("test")
    pending = submit(session, events=True)
    session.on_message(reply("r", "accepted", body={"queue_position": 2, "newer": [1]}, newer=1))
    session.on_message(reply("r", "progress", body={"stage": "master", "done": 1, "total": 2, "fraction": 0.5}))
    metadata = {
        "prompt": "rain", "loop": {"seam_score": 93.5, "newer": {}}, "timings_ms": {"total": 3.0, "newer": 1},
        "candidates": [{"seed": 3, "score": 70, "quality": {"score": 70.0, "issues": ["hiss"]}}], "newer": {"a": [1]},
    }  # fmt: skip
    session.on_message(reply("r", metadata=metadata, newer=[1]))
    assert list(pending.events()) == [
        Event(request_id="r", type="accepted", body=Accepted(queue_position=2)),
        Event(request_id="r", type="progress", body=Progress(stage="master", done=1, total=2, fraction=0.5)),
    ]
    found = pending.result(0).metadata
    assert found.loop is not None and found.loop.seam_score == found["loop"]["seam_score"] == 93.5
    assert (found.candidates[0].quality.issues, found.timings_ms.total) == (("hiss",), 3.0)
    assert "newer" not in found


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"metadata": 7}, "metadata"),
        ({"metadata": {"seed": "seven"}}, r"metadata\.seed"),
        ({"metadata": {"candidates": [{"score": 1}]}}, r"metadata\.candidates"),
        ({"path": 7}, "path"),
    ],
)
def test_a_result_that_cannot_be_decoded_is_a_bad_message_that_names_the_field(fields: Any, named: str) -> None:
    session = ClientSession("test")
    pending = submit(session)
    session.on_message(reply("r", **fields))
    with pytest.raises(BadMessage, match=named):
        pending.result(0)


def test_an_answer_or_an_error_that_cannot_be_decoded_is_a_bad_message() -> None:
    session, ends = ClientSession("test"), []
    for fields in ({"body": {"state": "ill"}}, {"body": None}, {}):
        ask(session, control.HEALTH, ends)
        session.on_message(reply("r", **fields))
    for error in (7, {"message": "what?"}, {"code": 7}):
        ask(session, control.HEALTH, ends)
        session.on_message(reply("r", "error", error=error))
    assert [type(end) for end in ends] == [BadMessage, BadMessage, BadMessage, BadMessage, AudioPoolError, BadMessage]


@pytest.mark.parametrize("more", [{"message": 7}, {"retry_after_ms": "soon"}, {"retry_after_ms": None}, {"hint": []}])
def test_an_error_is_known_by_its_code_whatever_comes_with_it(more: dict[str, Any]) -> None:
    session, ends = ClientSession("test"), []
    ask(session, control.HEALTH, ends)
    session.on_message(reply("r", "busy", error={"code": "busy", "retry_after_ms": 70, **more}))
    assert type(ends[0]) is Busy


def test_an_error_without_a_body_is_known_by_its_type() -> None:
    session, ends = ClientSession("test"), []
    for kind in ("busy", "cancelled", "strange"):
        ask(session, control.HEALTH, ends)
        session.on_message(reply("r", kind))
    assert [end.code for end in ends] == ["busy", "cancelled", "internal"]
    assert type(ends[0]) is Busy and type(ends[2]) is AudioPoolError


def test_an_event_that_cannot_be_decoded_is_lost_and_not_its_request() -> None:
    session = ClientSession("test")
    pending = submit(session, events=True)
    for body in (7, {}, {"stage": 1}, None):
        session.on_message(reply("r", "progress", body=body))
    session.on_message(reply("r"))
    assert list(pending.events()) == []
    assert pending.result(0).path == "/x.wav"


@pytest.mark.parametrize(
    "bomb", [b"\x91" * 200_000, b"\x81\xa1a" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_what_promises_or_nests_too_much_disturbs_nothing(bomb: bytes) -> None:
    session = ClientSession("test")
    pending = submit(session)
    session.on_message([b"\x83\xa4type\xa6result\xaarequest_id\xa1x\xa1a" + bomb])
    session.on_message([b"\x83\xa4type\xa6result\xaarequest_id\xa1r\xa8metadata" + bomb])
    session.on_message(reply("r"))
    assert pending.exception(0) is None


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_any_frames_disturb_nothing(frames: list[bytes]) -> None:
    session = ClientSession("test")
    pending = submit(session, events=True)
    session.on_message(frames)
    session.on_message(reply("r"))
    assert pending.result(0).path == "/x.wav"


def test_questions_are_checked_before_they_are_sent() -> None:
    session, ends = ClientSession("test"), []
    for question, named in [
        (control.feedback("r", "meh", ""), "verdict"),  # type: ignore[arg-type]
        (control.clap("sing", ["rain"], []), "operation"),  # type: ignore[arg-type]
        (control.cancel("with a space"), "target"),
        (control.echo(b"x" * 70_000, None), "payload"),
    ]:
        with pytest.raises(InvalidRequest, match=named):
            ask(session, question, ends)
    for timeout_s in (0, -1.0, float("nan")):
        with pytest.raises(InvalidRequest, match="timeout_s"):
            submit(session, timeout_s=timeout_s)
    assert len(session) == 0 and ends == []


def test_the_servers_directory_is_not_the_callers() -> None:
    session = ClientSession("test")
    request = as_request("rain", {"output_path": "here.wav", "init_audio": "there.wav"})
    (sent,) = session.submit(request, Pending("r", lambda: None), now=0.0, timeout_s=1.0)
    fields = msgpack.unpackb(sent)["request"]
    assert fields["output_path"].startswith("/") and fields["init_audio"].startswith("/")
    frames = ask(session, control.clap("embed", [], ["here.wav"]), [], "c")
    assert msgpack.unpackb(frames[0])["paths"][0].startswith("/")


def test_a_request_is_words_a_struct_or_a_mapping_and_checked_in_every_form() -> None:
    with pytest.raises(InvalidRequest, match="duration_s"):
        as_request(AudioRequest(prompt="rain", duration_s=-1.0), {})
    with pytest.raises(InvalidRequest, match="did you mean 'duration_s'"):
        as_request({"prompt": "rain", "durations": 1}, {})
    for words in ("rain", AudioRequest(prompt="rain"), {"prompt": "rain"}):
        assert as_request(words, {"loop": True, "seed": 3.0}) == AudioRequest(prompt="rain", loop=True, seed=3)
    assert as_request({"prompt": "rain", "seed": 1}, {"prompt": "wind"}) == AudioRequest(prompt="wind", seed=1)


def test_a_better_sound_is_heard_of_under_its_own_id() -> None:
    session, asked = ClientSession("ipc:///x"), Pending("r", lambda: None)
    session.submit(
        parse(AudioRequest, {"prompt": "rain", "stand_in": True}), asked, now=0.0, timeout_s=5.0,
        better=lambda name: Pending(name, lambda: None),
    )  # fmt: skip
    session.on_message(reply("u", "upgraded", path="/early.wav", metadata={}))  # nobody has been told of it yet
    session.on_message(reply("r", path="/first.wav", metadata={"approximate": True, "upgrade_id": "u"}))
    assert asked.result(0).path == "/first.wav" and asked.upgraded is not None and not asked.upgraded.done()
    session.on_message(reply("u", "progress", body={"stage": "master"}))
    session.on_message(reply("u", "upgraded", path="/better.wav", metadata={"upgrade_of": "r"}))
    assert asked.upgraded.result(0).path == "/better.wav" and not len(session)
