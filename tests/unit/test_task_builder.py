"""Tasks and what comes back with their results: seeds, slots, inline frames, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.recipes import recipe
from tests.support.requests import engine, resolved
from tests.unit.scheduler_world import hit

from audio_pool.engine_info import Notes
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.requests import RequestTable
from audio_pool.pool.sent_audio import SentAudio
from audio_pool.pool.task_builder import BuiltTask, TaskBuilder
from audio_pool.results import Failure, FinishedSound, SoundMetadata
from audio_pool.scheduler.actions import SendTask
from audio_pool.scheduler.work import CallWork, EmbedWork, GenerateWork, JobRound, MasterWork, RenderWork, TaskWork
from audio_pool.tasks import (
    CandidateRef,
    EchoTask,
    Embedded,
    EmbedTask,
    GenerateTask,
    Grant,
    MasteredSound,
    MasterTask,
    Provenance,
    RawSounds,
    Rejected,
    RenderTask,
    TaskResult,
    TensorRef,
)
from audio_pool.telemetry import Telemetry
from audio_pool.transport.arena import Arena

INFO = engine(dtype="float16", quantization="int8", init_audio=True)
MADE = Provenance(engine="tone", implementation="tone", model="tone")


class Bench:
    """A builder with requests, jobs of the same numbers, and an arena."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.requests = RequestTable(Telemetry())
        sent = SentAudio(arena.directory / "sent", largest=100, most_bytes=1000)
        self.builder = TaskBuilder(
            arena, {"tone": INFO}, lambda: Path("/incoming"), Path("/spill"), self.requests, sent
        )
        self._tasks = 0

    def ask(self, **fields: Any) -> int:
        sink = LocalSink(request_id=f"r{len(self.requests) + 1}", on_reply=lambda reply: None)
        return self.requests.open(sink, resolved(INFO, **fields))

    def build(self, work: TaskWork, worker: str = "w") -> BuiltTask:
        self._tasks += 1
        return self.builder.build(
            SendTask(worker=worker, incarnation=1, task=self._tasks, attempt=1, work=work)
        )

    def generate(self, *jobs: int, round_: int = 0, master_here: bool = False) -> tuple[GenerateTask, BuiltTask]:
        rounds = tuple(JobRound(job=job, request=job, round=round_) for job in jobs)
        built = self.build(GenerateWork(jobs=rounds, master_here=master_here))
        assert isinstance(built.task, GenerateTask)
        return built.task, built

    def take(
        self, results: dict[int, TaskResult], frames: list[bytes] | None = None, **more: Any
    ) -> dict[int, TaskResult]:
        return self.builder.take_outputs(self._tasks, "w:1", results, frames or [], **more)

    @property
    def leased(self) -> int:
        return self.arena.stats()["leased"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    arena = Arena.create(tmp_path / "arenas", 64 << 20)
    yield Bench(arena)
    arena.close()


def written(grant: Grant) -> TensorRef:
    return TensorRef(
        path=grant.path, length=8, generation=grant.generation, owner=grant.owner, dtype="F32", shape=(2, 1)
    )


def raw(*tensors: TensorRef | int) -> RawSounds:
    """Candidates in slots, or in inline frames of these numbers."""
    refs = [
        CandidateRef(
            seed=1, sample_rate=44_100, looped=False, notes=Notes(),
            **({"frame": one} if isinstance(one, int) else {"tensor": one}),
        )
        for one in tensors
    ]  # fmt: skip
    return RawSounds(candidates=tuple(refs), made=MADE)


# -- building --------------------------------------------------------------------------------------


def test_a_task_to_generate_says_everything_about_each_job(bench: Bench) -> None:
    first = bench.ask(candidates=3, seed=7, duration_s=2.0)
    second = bench.ask(prompt="wind", init_audio="/a.wav", strict=True)
    task, built = bench.generate(first, second, master_here=True)
    assert task.engine == "tone" and task.master_here and built.grants == () and built.request_ids == ("r1", "r2")
    one, other = task.parts
    assert (one.job, one.recipe.prompt, one.seeds[0], len(set(one.seeds))) == (first, "rain", 7, 3)
    assert (other.job, other.recipe.prompt, len(other.seeds)) == (second, "wind", 1)
    assert (other.init_audio, other.strict) == ("/a.wav", True) and not one.strict
    spec = one.mastering
    assert spec.directory == "/incoming" and spec.shape.frames == 88_200 and spec.rendition.format == "wav"
    assert spec.metadata.request_id == "r1" and spec.metadata.seed == 7


def test_a_drawn_seed_is_as_if_it_had_been_asked_for(bench: Bench) -> None:
    """Who asks for it later gets this very sound: precision counts, as with an explicit one."""
    task, _ = bench.generate(bench.ask())
    drawn = task.parts[0].recipe
    asked = resolved(INFO, seed=drawn.seed).recipe
    assert drawn == asked and drawn.identity() == asked.identity()
    assert task.parts[0].seeds == [drawn.seed] and task.parts[0].mastering.metadata.base_seed == drawn.seed


def test_rounds_and_retries_agree_on_the_seed_and_have_files_of_their_own(bench: Bench) -> None:
    request = bench.ask(candidates=2)
    (first,), (again,), (fresh,) = (bench.generate(request, round_=number)[0].parts for number in (0, 0, 1))
    assert first.recipe == again.recipe == fresh.recipe and first.seeds == again.seeds
    assert not set(first.seeds) & set(fresh.seeds)
    assert len({one.mastering.name for one in (first, again, fresh)}) == 3
    assert bench.builder.inputs(request).recipe == first.recipe
    bench.builder.forget(request)
    with pytest.raises(KeyError):
        bench.builder.inputs(request)


def test_a_slot_per_candidate_is_granted_to_whoever_hands_over(bench: Bench) -> None:
    _, built = bench.generate(bench.ask(candidates=2), bench.ask(), master_here=False)
    assert len(built.grants) == 3 == bench.leased
    assert all(grant.slot_bytes > 44_100 * 2 * 4 * 8 for grant in built.grants), "8 seconds of stereo, and more"


def test_other_work_finds_its_words_files_and_payloads(bench: Bench) -> None:
    request = bench.ask(prompt="rain on tin", format="ogg")
    embed = bench.build(EmbedWork(job=1, request=request, encoder="words"))
    assert embed.task == EmbedTask(job=1, engine="words", text="rain on tin") and embed.request_ids == ("r1",)
    render = bench.build(RenderWork(job=1, request=request, hit=hit(5, rendered=False))).task
    assert isinstance(render, RenderTask)
    assert (render.master, render.rendition.format, render.comment) == ("/cache/5.flac", "ogg", "{}")
    assert render.out.startswith("/incoming/render-5-") and render.out.endswith(".ogg")
    call = bench.build(CallWork(job=9, task=EchoTask(payload=b"x")))
    assert call.task == EchoTask(job=9, payload=b"x")


# -- hand-over -------------------------------------------------------------------------------------


def test_slots_change_hands_until_they_are_released(bench: Bench) -> None:
    request = bench.ask(candidates=2)
    _, built = bench.generate(request)
    result = raw(*(written(grant) for grant in built.grants))
    (taken,) = bench.take({request: result}).values()
    assert taken == result and bench.leased == 2
    master = bench.build(MasterWork(job=request, round=0, raw=result), worker="m")
    assert isinstance(master.task, MasterTask) and master.task.candidates == result.candidates and master.frames == []
    assert bench.arena.reclaim("m:1") == 2, "they are the mastering worker's now"


def test_what_was_granted_and_not_used_is_free_again(bench: Bench) -> None:
    request = bench.ask(candidates=2)
    _, built = bench.generate(request)
    bench.take({request: raw(written(built.grants[0]), 0)}, [b"header", b"payload"])
    assert bench.leased == 1
    _, built = bench.generate(request)
    bench.take({request: Rejected(failure=Failure())})
    assert bench.leased == 1
    _, built = bench.generate(request)
    bench.take({}, unwritable=(built.grants[0].generation,))
    assert bench.leased == 1 and bench.arena.stats()["unwritable"] == 1


def test_inline_frames_go_on_with_the_candidates_and_are_dropped_with_them(bench: Bench) -> None:
    request = bench.ask(candidates=2)
    bench.generate(request)
    frames = [b"h1", b"p1", b"h2", b"p2"]
    (taken,) = bench.take({request: raw(0, 2)}, frames).values()
    assert isinstance(taken, RawSounds) and taken.inline
    work = MasterWork(job=request, round=0, raw=taken)
    assert bench.build(work).frames == frames
    bench.builder.release(request, taken)
    assert bench.build(work).frames == []


def test_two_tasks_frames_of_one_job_are_kept_apart(bench: Bench) -> None:
    """A late result of a dead attempt must not take the present one's frames with it."""
    request = bench.ask()
    bench.generate(request)
    (late,) = bench.take({request: raw(0)}, [b"h1", b"p1"]).values()
    bench.generate(request)
    (present,) = bench.take({request: raw(0)}, [b"h2", b"p2"]).values()
    bench.builder.release(request, late)
    assert isinstance(present, RawSounds)
    assert bench.build(MasterWork(job=request, round=0, raw=present)).frames == [b"h2", b"p2"]


@pytest.mark.parametrize("wrong", ["a frame that did not come", "a slot that is not its own"])
def test_a_reference_that_is_wrong_costs_its_own_job_alone(bench: Bench, wrong: str) -> None:
    good, bad = bench.ask(), bench.ask()
    _, built = bench.generate(good, bad)
    elsewhere = written(msgspec.structs.replace(built.grants[1], path="/x"))
    reference = 6 if wrong == "a frame that did not come" else elsewhere
    taken = bench.take({good: raw(written(built.grants[0])), bad: raw(reference)}, [b"h", b"p"])
    assert isinstance(taken[good], RawSounds)
    rejected = taken[bad]
    assert isinstance(rejected, Rejected) and rejected.failure.code == "worker_failed"
    assert "worker 'w'" in rejected.failure.message
    assert bench.leased == 1, "the good one's slot"
    bench.builder.release(good, taken[good])
    assert bench.leased == 0


@pytest.mark.parametrize("odd", [b"", b"abc", b"abcde"])
def test_a_vector_that_is_none_costs_no_more_than_itself(bench: Bench, odd: bytes) -> None:
    embedded, rejected = bench.take({1: Embedded(vectors={"e": b"abcd"}), 2: Embedded(vectors={"e": odd})}).values()
    assert isinstance(embedded, Embedded)
    assert isinstance(rejected, Rejected) and "float32" in rejected.failure.message
    finished = FinishedSound(path="/x", recipe=recipe(), metadata=SoundMetadata(), accepted=True)
    (sound,) = bench.take({3: MasteredSound(sound=finished, score=1.0, vectors={"sound:x": odd})}).values()
    assert isinstance(sound, MasteredSound) and sound.vectors == {} and sound.sound is finished


def test_candidates_are_taken_over_all_or_none(bench: Bench) -> None:
    request = bench.ask(candidates=2)
    _, built = bench.generate(request)
    tensors = [written(built.grants[0]), written(msgspec.structs.replace(built.grants[1], generation=99))]
    assert isinstance(bench.take({request: raw(*tensors)})[request], Rejected)
    assert bench.leased == 0


def test_a_dead_workers_slots_come_back_once(bench: Bench) -> None:
    request = bench.ask(candidates=2)
    bench.generate(request)
    bench.builder.worker_exited("w:1")
    assert bench.leased == 0
    bench.take({})
    assert bench.leased == 0
