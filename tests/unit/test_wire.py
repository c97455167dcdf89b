"""Messages between router and workers: what goes in comes out, nothing but BadMessage is raised for the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.schedule_world import recipe

from audio_pool.errors import BadMessage
from audio_pool.transport import packing, worker_messages
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


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_one(data: bytes) -> None:
    for read in (worker_messages.from_worker, worker_messages.to_worker):
        try:
            read(data)
        except BadMessage:
            pass
