"""Messages between router and workers: what goes in comes out, what is none is refused, nothing else is raised."""


from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.recipes import RENDITION, SHAPE, recipe

from audio_pool.craft import CraftForm, Loop
from audio_pool.engine_info import EngineInfo, Notes, OptionInfo
from audio_pool.errors import BadMessage
from audio_pool.heard import Against
from audio_pool.reports import CandidateReport, QualityReport, WorkerReport
from audio_pool.results import Failure, FinishedSound, RenditionReport, SoundMetadata
from audio_pool.tasks import (
    Called,
    CandidateRef,
    ClapTask,
    CraftTask,
    DrawTask,
    EchoTask,
    Embedded,
    EmbedTask,
    EngineSetup,
    GeneratePart,
    GenerateTask,
    Grant,
    Loaded,
    LoadTask,
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
    TraceTask,
    Unloaded,
    UnloadTask,
)
from audio_pool.transport import packing, worker_messages
from audio_pool.types import Picture

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
INFO = EngineInfo(
    name="tone", role="generator", model="m", licence="MIT", commercial_use=True,
    options=(OptionInfo(name="cfg", type="float", low=0.0),),
)  # fmt: skip
TASKS: list[Task] = [
    GenerateTask(engine="tone", parts=[PART, PART], master_here=True),
    MasterTask(job=7, recipe=recipe(), mastering=SPEC, candidates=CANDIDATES, made=MADE),
    EmbedTask(job=7, engine="words", text="rain"),
    RenderTask(job=7, master="/m", out="/o", rendition=RENDITION, loop=True, comment="{}"),
    TraceTask(job=9, path="/p", roots=("/r",), name="p", against=(Against(number=1, master="/m", loop=False),)),
    DrawTask(job=7, master="/m", out="/o", picture=Picture(mel_bands=64, highest_hz=8000.0, dark=True), title="rain"),
    EchoTask(job=7, payload=b"\0\xff"),
    ClapTask(job=7, engine="clap", operation="similarity", texts=["a"], paths=["/p"]),
    CraftTask(job=7, craft=Loop(crossfade_s=0.5), form=CraftForm(), paths=("/p",), out="/o"),
    LoadTask(engine="tone@m", setup=EngineSetup(implementation="mock", settings={"model": "m"}, name="tone")),
    UnloadTask(engine="tone"),
]
RESULTS: list[TaskResult] = [
    RawSounds(candidates=CANDIDATES, made=MADE),
    MasteredSound(sound=SOUND, score=0.7, tried=(REPORT,), vectors={"sound:descriptors": b"\0" * 280}),
    Embedded(vectors={"words": b"\0" * 1536}),
    Rendered(path="/o", report=RenditionReport(format="ogg", sample_rate=48_000, loudness_lufs=None)),
    Called(body={"payload": b"\0\xff", "similarity": [[1.0, 0.5]]}),
    Rejected(failure=Failure(code="quality", message="silence", retryable=True), tried=(REPORT,)),
    Loaded(engine="tone@m", info=INFO, size_bytes=1 << 33, device="cuda:0"),
    Unloaded(freed_bytes=-1),
]
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
    worker_messages.RecallTask(task_id=1, attempt=2),
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
    worker_messages.TaskChunk(
        incarnation=1, task_id=2, attempt=3, job=4, start=0, frames=7, sample_rate=48_000, channels=2, encoding="s24le"
    ),
    *(
        worker_messages.TaskDone(incarnation=1, task_id=2, attempt=3, results={7: result}, unwritable=(3,))
        for result in RESULTS
    ),
    worker_messages.TaskFailed(incarnation=1, task_id=2, attempt=3, failure=Failure(code="out_of_memory")),
    worker_messages.TaskReturned(incarnation=1, task_id=2, attempt=3),
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


@pytest.mark.parametrize("bomb", [b"\x91" * 200_000 + b"\xc0", b"\x81\xa1a" * 100_000 + b"\xc0"])
def test_nesting_bombs_are_refused_too(bomb: bytes) -> None:
    for read in (worker_messages.from_worker, worker_messages.to_worker):
        with pytest.raises(BadMessage):
            read(bomb)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_one(data: bytes) -> None:
    for read in (worker_messages.from_worker, worker_messages.to_worker):
        try:
            read(data)
        except BadMessage:
            pass
