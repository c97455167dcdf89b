"""Bytes and messages: what goes in comes out, what is too much or too deep is refused, nothing else is raised."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.schedule_world import recipe

from audio_pool.errors import BadMessage, Busy
from audio_pool.transport import client_messages, packing, worker_messages
from audio_pool.types import Rendition, Shape

SHAPE = Shape(sample_rate=44_100, frames=100, loop=False, tail_s=1.5, highpass_hz=None, highpass_order=4)
RENDITION = Rendition(format="wav", sample_rate=44_100, bit_depth=16, target_lufs=None, true_peak_dbfs=-2.0)
FINISH = worker_messages.Finish(
    shape=SHAPE, rendition=RENDITION, directory="/d", name="n", tau_accept_new=None, metadata={"prompt": "rain"}
)
PART = worker_messages.MakePart(work=7, recipe=recipe(), seeds=[0, 2**63 - 1], finish=FINISH)
REFERENCE = worker_messages.CandidateRef(seed=1, sample_rate=44_100, looped=False, notes={}, tensor={"path": "/p"})
TASKS: list[worker_messages.Task] = [
    worker_messages.MakeTask(engine="tone", parts=[PART, PART], finish_here=True),
    worker_messages.FinishTask(work=7, recipe=recipe(), finish=FINISH, candidates=[REFERENCE], made={"engine": "tone"}),
    worker_messages.EmbedTask(engines=["words"], text="rain"),
    worker_messages.RenderTask(master="/m", out="/o", rendition=RENDITION, loop=True, comment="{}"),
    worker_messages.EchoTask(payload=b"\0\xff"),
    worker_messages.ClapTask(engine="clap", operation="similarity", texts=["a"], paths=["/p"]),
]
TO_WORKER: list[worker_messages.ToWorker] = [
    worker_messages.Load(
        engines={"tone": {"model": "m", "deep": {"er": [1, 2.5, None]}}}, roles=["generate"], heartbeat_s=1.0
    ),
    worker_messages.CancelJob(job=1, attempt=2),
    worker_messages.Stop(),
    *(
        worker_messages.Job(job=1, attempt=1, incarnation=3, task=task, grants=[{"slot": 1}], request_ids=["r"])
        for task in TASKS
    ),
]
FROM_WORKER: list[worker_messages.FromWorker] = [
    worker_messages.Hello(incarnation=1, pid=2, protocol=1, python="3.11.7"),
    worker_messages.Ready(incarnation=1, engines={"tone": {"name": "tone"}}, device="cuda:0", load_s=2.5),
    worker_messages.LoadFailed(incarnation=1, error={"code": "worker_start"}),
    worker_messages.Beat(incarnation=1),
    worker_messages.Progress(incarnation=1, job=2, attempt=3, stage="generate", done=4, total=5),
    worker_messages.Done(incarnation=1, job=2, attempt=3, result={"vectors": {"words": b"\0" * 1536}}),
    worker_messages.Failed(incarnation=1, job=2, attempt=3, error={"code": "out_of_memory"}),
]
CLIENTS: list[dict[str, Any]] = [
    {"type": "generate", "request": {"prompt": "rain"}, "events": True},
    {"type": "cancel", "target": "b"},
    {"type": "status"},
    {"type": "health"},
    {"type": "engines"},
    {"type": "cache_stats"},
    {"type": "feedback", "target": "b", "verdict": "good"},
    {"type": "echo", "payload": b"\0\1"},
    {"type": "clap", "operation": "embed", "texts": ["a"]},
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda message: type(getattr(message, "task", message)).__name__)
def test_to_a_worker_and_out_again(message: worker_messages.ToWorker) -> None:
    assert worker_messages.to_worker(packing.pack(message)) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda message: type(message).__name__)
def test_from_a_worker_and_out_again(message: worker_messages.FromWorker) -> None:
    assert worker_messages.from_worker(packing.pack(message)) == message


def test_the_tables_are_whole() -> None:
    assert {type(message) for message in TO_WORKER} == set(worker_messages.ToWorker.__args__)
    assert {type(message) for message in FROM_WORKER} == set(worker_messages.FromWorker.__args__)
    assert {type(task) for task in TASKS} == set(worker_messages.Task.__args__)
    assert {type(decoded(fields)) for fields in CLIENTS} == set(client_messages.ClientMessage.__args__)


def decoded(fields: dict[str, Any]) -> Any:
    return client_messages.decode_client(packing.unpack(packing.pack({"v": 1, "request_id": "a", **fields})))


@pytest.mark.parametrize("fields", CLIENTS, ids=lambda fields: fields["type"])
def test_a_client_message_is_what_its_type_says(fields: dict[str, Any]) -> None:
    message = decoded(fields)
    assert message.request_id == "a"
    assert {name: getattr(message, name) for name in fields if name != "type"} == {
        name: value for name, value in fields.items() if name != "type"
    }
    with pytest.raises(BadMessage, match="unknown field 'extra'"):
        decoded({**fields, "extra": 1})


@pytest.mark.parametrize(
    "message",
    [
        packing.pack(worker_messages.Stop()),  # the other direction's
        packing.pack({"type": "os.system"}),
        packing.pack({"type": "beat"}),
        packing.pack({"type": "beat", "incarnation": "one"}),
        b"",
        b"\xc1",
        b"not msgpack at all",
    ],
)
def test_what_is_no_message_of_a_worker_is_refused(message: bytes) -> None:
    with pytest.raises(BadMessage):
        worker_messages.from_worker(message)


@pytest.mark.parametrize(("given", "understood"), [(70, 70), ("soon", 1000), (None, 1000), ([], 1000)])
def test_an_error_is_understood_whatever_comes_with_it(given: Any, understood: int) -> None:
    error = client_messages.error_of({"code": "busy", "message": 7, "retry_after_ms": given})
    assert isinstance(error, Busy) and (error.message, error.retry_after_ms) == ("7", understood)


# -- limits ----------------------------------------------------------------------------------------


def _nested(depth: int, opening: bytes, inmost: bytes = b"\xc0") -> bytes:
    return opening * depth + inmost


BOMBS = {
    "arrays in arrays": _nested(200_000, b"\x91"),
    "maps in maps": _nested(100_000, b"\x81\xa1a"),
    "a little too deep for Python": _nested(1_200, b"\x81\xa1a"),
    "four billion elements promised": b"\xdd\xff\xff\xff\xff",
    "four billion keys promised": b"\xdf\xff\xff\xff\xff",
    "four gigabytes promised": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "too many elements": b"\x81\xa1a" + b"\xdc\xff\xff" + b"\xc0" * 0xFFFF,
    "too long a text": b"\x81\xa1a" + b"\xdb\x00\x02\x00\x00" + b"x" * 0x20000,
    "an extension type": b"\x81\xa1a" + b"\xc7\x01\x05\x00",
    "a timestamp": b"\x81\xa1a" + b"\xd6\xff\x00\x00\x00\x00",
    "text that is no UTF-8": b"\x81\xa1a\xa1\xff",
    "a key that is a number": b"\x81\x01\x01",
    "a key that is a map": b"\x81\x80\x01",
    "something after the end": b"\x80\x80",
    "cut short": packing.pack({"v": 1, "type": "health"})[:-1],
    "a list": b"\x90",
    "nothing": b"",
}


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str, trusted: bool) -> None:
    beyond_clients_alone = name in ("too many elements", "too long a text")
    if trusted and beyond_clients_alone:
        assert packing.unpack(BOMBS[name], trusted=True)
        return
    with pytest.raises(BadMessage) as caught:
        packing.unpack(BOMBS[name], trusted=trusted)
    assert len(str(caught.value)) <= 200


@given(st.binary(max_size=300))
def test_any_bytes_are_a_map_or_a_bad_message(data: bytes) -> None:
    for read in (packing.unpack, worker_messages.from_worker, worker_messages.to_worker):
        try:
            read(data)
        except BadMessage:
            pass


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.sampled_from(["v", "type", "request_id", "request", "target", "payload", "verdict", "events", "texts", "x"])
_TYPES = [fields["type"] for fields in CLIENTS]


@given(st.dictionaries(_KEYS, _VALUES), st.sampled_from([*_TYPES, None]))
def test_any_map_is_a_client_message_or_a_bad_one(fields: dict[str, Any], kind: Any) -> None:
    if kind is not None:
        fields = {**fields, "v": 1, "type": kind}
    try:
        message = client_messages.decode_client(packing.unpack(msgpack.packb(fields)))
    except BadMessage:
        return
    assert isinstance(message, client_messages.ClientMessage)
