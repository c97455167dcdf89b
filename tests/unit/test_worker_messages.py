"""Bytes and messages: what goes in comes out, what is too much or too deep is refused, nothing else is raised."""

from __future__ import annotations

from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.recipes import RENDITION, SHAPE, recipe

from audio_pool.engine_info import EngineInfo, Notes, OptionInfo
from audio_pool.errors import BadMessage
from audio_pool.results import (
    CandidateReport,
    Failure,
    FinishedSound,
    QualityReport,
    RenditionReport,
    SoundMetadata,
    WorkerReport,
)
from audio_pool.tasks import (
    Called,
    CandidateRef,
    ClapTask,
    EchoTask,
    Embedded,
    EmbedTask,
    GeneratePart,
    GenerateTask,
    Grant,
    MasteredSound,
    MasteringSpec,
    MasterTask,
    Provenance,
    RawSounds,
    Rejected,
    Rendered,
    RenderTask,
    Task,
    TaskResult,
    TensorRef,
)
from audio_pool.transport import client_messages, packing, worker_messages

SPEC = MasteringSpec(
    shape=SHAPE,
    rendition=RENDITION,
    directory="/d",
    name="n",
    tau_accept_new=None,
    metadata=SoundMetadata(prompt="rain", labels={"scene": 1}, tags=("wet",)),
)
PART = GeneratePart(job=7, recipe=recipe(options=(("cfg", 1.5),)), seeds=[0, 2**63 - 1], mastering=SPEC)
TENSOR = TensorRef(path="/p", length=8, generation=3, owner="a", dtype="F32", shape=(2, 1))
NOTES = Notes(expects=frozenset({"silence"}), details={"deep": {"er": [1, 2.5, None]}})
CANDIDATES = (
    CandidateRef(seed=1, sample_rate=44_100, looped=False, notes=NOTES, tensor=TENSOR),
    CandidateRef(seed=2, sample_rate=44_100, looped=True, notes=Notes(), frame=0),
)
MADE = Provenance(engine="tone", implementation="mock", model="m", worker=WorkerReport(id="w", device="cuda:0"))
REPORT = CandidateReport(seed=1, score=0.5, quality=QualityReport(score=50.0, issues=("noise",)))
SOUND = FinishedSound(
    path="/s.flac",
    recipe=recipe(),
    metadata=SoundMetadata(prompt="rain", engine_details={"pid": 1}),
    accepted=True,
    delivered_path="/s.ogg",
    delivered=RenditionReport(format="ogg", sample_rate=48_000),
)
TASKS: list[Task] = [
    GenerateTask(engine="tone", parts=[PART, PART], master_here=True),
    MasterTask(job=7, recipe=recipe(), mastering=SPEC, candidates=CANDIDATES, made=MADE),
    EmbedTask(job=7, engine="words", text="rain"),
    RenderTask(job=7, master="/m", out="/o", rendition=RENDITION, loop=True, comment="{}"),
    EchoTask(job=7, payload=b"\0\xff"),
    ClapTask(job=7, engine="clap", operation="similarity", texts=["a"], paths=["/p"]),
]
RESULTS: list[TaskResult] = [
    RawSounds(candidates=CANDIDATES, made=MADE),
    MasteredSound(sound=SOUND, score=0.7, tried=(REPORT,), vectors={"sound:descriptors": b"\0" * 280}),
    Embedded(vectors={"words": b"\0" * 1536}),
    Rendered(path="/o", report=RenditionReport(format="ogg", sample_rate=48_000, loudness_lufs=None)),
    Called(body={"payload": b"\0\xff", "similarity": [[1.0, 0.5]]}),
    Rejected(failure=Failure(code="quality", message="silence", retryable=True), tried=(REPORT,)),
]
INFO = EngineInfo(
    name="tone", role="generator", model="m", licence="MIT", commercial_use=True,
    options=(OptionInfo(name="cfg", type="float", low=0.0),),
)  # fmt: skip
GRANT = Grant(path="/p", slot_bytes=4096, generation=3, owner="a", fresh=True, retire=("/q",))
TO_WORKER: list[worker_messages.ToWorker] = [
    worker_messages.Load(
        engines={
            "tone": worker_messages.EngineSetup(
                implementation="mock", kinds=("music",), settings={"model": "m", "deep": {"er": [1, 2.5, None]}}
            )
        },
        roles=["generate"],
        heartbeat_s=1.0,
        arena="/arena",
    ),
    worker_messages.CancelTask(task_id=1, attempt=2),
    worker_messages.Stop(),
    *(
        worker_messages.RunTask(
            task_id=1, attempt=1, incarnation=3, task=task, grants=(GRANT,), request_ids=("r",)
        )
        for task in TASKS
    ),
]
FROM_WORKER: list[worker_messages.FromWorker] = [
    worker_messages.Hello(incarnation=1, pid=2, protocol=1, python="3.11.7"),
    worker_messages.Ready(incarnation=1, engines={"tone": INFO}, device="cuda:0", load_s=2.5),
    worker_messages.LoadFailed(incarnation=1, failure=Failure(code="worker_start")),
    worker_messages.Heartbeat(incarnation=1),
    worker_messages.TaskProgress(incarnation=1, task_id=2, attempt=3, stage="generate", done=4, total=5),
    *(
        worker_messages.TaskDone(incarnation=1, task_id=2, attempt=3, results={7: result}, unwritable=(3,))
        for result in RESULTS
    ),
    worker_messages.TaskFailed(incarnation=1, task_id=2, attempt=3, failure=Failure(code="out_of_memory")),
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


def _name(message: worker_messages.FromWorker) -> str:
    inner = message.results[7] if isinstance(message, worker_messages.TaskDone) else message
    return type(inner).__name__


@pytest.mark.parametrize("message", FROM_WORKER, ids=_name)
def test_from_a_worker_and_out_again(message: worker_messages.FromWorker) -> None:
    assert worker_messages.from_worker(packing.pack(message)) == message


def test_the_tables_are_whole() -> None:
    assert {type(message) for message in TO_WORKER} == set(get_args(worker_messages.ToWorker))
    assert {type(message) for message in FROM_WORKER} == set(get_args(worker_messages.FromWorker))
    assert {type(task) for task in TASKS} == set(get_args(Task))
    assert {type(result) for result in RESULTS} == set(get_args(TaskResult))
    assert {type(decoded(fields)) for fields in CLIENTS} == set(get_args(client_messages.ClientMessage))


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
        packing.pack({"type": "heartbeat"}),
        packing.pack({"type": "heartbeat", "incarnation": "one"}),
        packing.pack({"type": "done", "incarnation": 1, "task_id": 1, "attempt": 1, "results": {1: {}}}),
        packing.pack({"type": "done", "incarnation": 1, "task_id": 1, "attempt": 1, "results": {1: {"kind": "x"}}}),
        packing.pack({"type": "ready", "incarnation": 1, "engines": {"tone": {"name": "tone"}}}),
        b"",
        b"\xc1",
        b"not msgpack at all",
    ],
)
def test_what_is_no_message_of_a_worker_is_refused(message: bytes) -> None:
    with pytest.raises(BadMessage):
        worker_messages.from_worker(message)


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


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str) -> None:
    for read in (packing.unpack, worker_messages.from_worker, worker_messages.to_worker):
        with pytest.raises(BadMessage) as caught:
            read(BOMBS[name])
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
