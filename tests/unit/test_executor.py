"""Actions executed: a request's whole way with a real scheduler and cache, worker messages by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.cache_sounds import write_flac
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.cache.lookup import Lookup
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.engine_info import Notes
from audio_pool.errors import StorageError
from audio_pool.inscription import inscribed
from audio_pool.pool.replies import LocalSink
from audio_pool.pool.worker_link import Received
from audio_pool.results import Failure, FinishedSound, Progress, RenditionReport
from audio_pool.scheduler import actions, events
from audio_pool.tasks import (
    CandidateRef,
    Embedded,
    GenerateTask,
    MasteredSound,
    MasterTask,
    Provenance,
    RawSounds,
    Rendered,
    RenderTask,
    TensorRef,
)
from audio_pool.transport.worker_messages import CancelTask, RecallTask, RunTask, Stop

APART = [
    {"name": "maker", "engines": ["tone"], "roles": ["generate"]},
    {"name": "master", "roles": ["master"]},
]
Build = Callable[..., Routed]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Routed] = []

    def build(*infos: Any, **sections: Any) -> Routed:
        sections.setdefault("defaults", {"engine": "tone", "format": "flac"})
        made.append(Routed(tmp_path, infos, **sections))
        return made[-1]

    yield build
    for one in made:
        one.close()


def mastered(pool: Routed, run: RunTask | None = None) -> dict[int, Any]:
    """What a worker makes of the task: real files where it was told to put them."""
    task = (run or pool.run()).task
    assert isinstance(task, GenerateTask)
    results: dict[int, Any] = {}
    for part in task.parts:
        path = write_flac(Path(part.mastering.directory) / f"{part.mastering.name}.flac", part.job)
        metadata = msgspec.structs.replace(
            part.mastering.metadata, engine="tone", implementation="tone", sample_rate=44_100, model="models/tone"
        )
        metadata = inscribed(part.recipe, metadata, part.mastering.rendition)
        finished = FinishedSound(path=str(path), recipe=part.recipe, metadata=metadata, accepted=True)
        results[part.job] = MasteredSound(sound=finished, score=50.0)
    return results


def ask(pool: Routed, caller: Caller | None = None, **fields: Any) -> Caller:
    caller = caller or Caller()
    pool.intake.submit(request(**fields), caller.sink, events_wanted=True)
    return caller


def left(pool: Routed) -> list[str]:
    return [path.name for path in pool.incoming.iterdir() if not path.name.startswith(".")]


# -- a request's way -------------------------------------------------------------------------------


def test_a_new_sound_then_a_hit_then_another_format(build: Build) -> None:
    pool = build().start()
    caller = ask(pool, metadata={"scene": 1})
    pool.done(mastered(pool))
    assert not caller.replies, "not before it is stored"
    pool.write()
    made = caller.reply
    assert made.kind == "result" and made.path is not None and Path(made.path).is_file()
    assert made.metadata is not None and made.metadata.cache_type == "new_generation"
    assert made.metadata.labels == {"scene": 1} and made.metadata.timings_ms.total > 0
    assert made.metadata.rounds == 1 and made.metadata.request_id == "r"

    hit = ask(pool).reply
    assert hit.path == made.path and hit.metadata is not None
    assert (hit.metadata.cached, hit.metadata.cache_type) == (True, "exact")

    other = ask(pool, format="ogg")
    run = pool.run()
    assert isinstance(run.task, RenderTask) and run.task.master == made.path and '"format":"ogg"' in run.task.comment
    Path(run.task.out).write_bytes(b"OggS")
    report = RenditionReport(format="ogg", sample_rate=44_100, duration_s=1.0)
    pool.done({run.task.job: Rendered(path=run.task.out, report=report)})
    pool.write()
    rendered = other.reply
    assert rendered.metadata is not None and rendered.metadata.format == "ogg" and rendered.metadata.cached
    assert rendered.path is not None and Path(rendered.path).read_bytes() == b"OggS"
    again = ask(pool, format="ogg").reply
    assert again.path == rendered.path, "it is kept for the next"
    assert pool.executor.cache_types == {"new_generation": 1, "exact": 3}
    assert pool.requests.answers == {"result": 4} and pool.scheduler.idle and left(pool) == []


def test_who_joins_gets_the_same_sound_under_its_own_name(build: Build) -> None:
    pool = build().start()
    first, second = ask(pool, Caller("one")), ask(pool, Caller("two"))
    pool.done(mastered(pool))
    pool.write()
    assert first.reply.path == second.reply.path
    kinds = [(one.reply.metadata.request_id, one.reply.metadata.cache_type) for one in (first, second)]  # type: ignore[union-attr]
    assert kinds == [("one", "new_generation"), ("two", "joined")]


def test_what_is_delivered_is_counted_by_stage_and_entry(build: Build) -> None:
    pool = build().start()
    first, _ = ask(pool), ask(pool)
    pool.done(mastered(pool))
    pool.write()
    assert first.reply.metadata is not None
    for _ in range(2):
        ask(pool)
    cache = pool.cache
    assert cache is not None
    cache.usage.write_down()
    spent_s = cache.store.entries.entry(1).metadata.timings_ms.generate / 1000  # type: ignore[union-attr]
    counted = {one.stage: (one.answers, one.saved_s) for one in cache.store.uses.answers()}
    assert counted == {"exact": (2, 2 * spent_s), "joined": (1, spent_s), "new_generation": (1, 0.0)}
    assert cache.store.uses.of([1])[1].hits == 3, "who joined had it too"
    assert [one.times for one in cache.store.uses.missed()] == [1]
    ask(pool, force=True)  # nothing was looked for, and so nothing was missed
    pool.done(mastered(pool))
    pool.write()
    cache.usage.write_down()
    assert [one.times for one in cache.store.uses.missed()] == [1]


def test_events_reach_who_asked_for_them(build: Build) -> None:
    pool = build().start()
    caller = ask(pool)
    run = pool.run()
    progress = Progress(stage="generate", done=1, total=2, fraction=0.5)
    pool.feed(
        events.TaskProgress(worker="w", incarnation=1, task=run.task_id, attempt=run.attempt, progress=progress)
    )
    assert [type(event).__name__ for event in caller.events] == ["Accepted", "Progress"]


def test_candidates_go_from_the_one_that_generates_to_the_one_that_masters(build: Build) -> None:
    pool = build(workers=APART).start()
    caller = ask(pool, candidates=2)
    run = pool.run("maker")
    assert isinstance(run.task, GenerateTask) and len(run.grants) == 2
    grant = run.grants[0]
    tensor = TensorRef(
        path=grant.path, length=8, generation=grant.generation, owner=grant.owner, dtype="F32", shape=(2, 1)
    )
    refs = (
        CandidateRef(seed=1, sample_rate=44_100, looped=False, notes=Notes(), tensor=tensor),
        CandidateRef(seed=2, sample_rate=44_100, looped=False, notes=Notes(), frame=0),
    )
    made = Provenance(engine="tone", implementation="tone", model="models/tone")
    pool.done({1: RawSounds(candidates=refs, made=made)}, worker="maker", frames=[b"header", b"payload"])
    master = pool.run("master")
    assert isinstance(master.task, MasterTask) and master.task.candidates == refs
    assert pool.messages.sent[-1].frames == [b"header", b"payload"] and pool.messages.sent[-1].thread == "aux"
    pool.done(mastered(pool, run), master, worker="master")
    pool.write()
    assert caller.reply.kind == "result"
    assert pool.arena.stats()["leased"] == 0, "every slot is free again"


def test_a_failure_is_told_with_its_reason(build: Build) -> None:
    pool = build().start()
    caller = ask(pool)
    run = pool.run()
    failure = Failure(code="out_of_memory", message="too long")
    pool.feed(
        pool.executor.take_in(
            Received(
                event=events.TaskFailed(
                    worker="w", incarnation=1, task=run.task_id, attempt=run.attempt, failure=failure
                )
            )
        )
    )
    assert caller.reply.failure == failure


# -- workers ---------------------------------------------------------------------------------------


def test_workers_are_started_stopped_and_killed_through_the_launcher_and_the_link(build: Build) -> None:
    pool = build(workers=APART)
    pool.feed(events.Tick())
    assert [(spec.name, incarnation) for spec, incarnation in pool.launcher.spawned] == [("maker", 1), ("master", 1)]
    pool.get_ready("maker", 1)
    pool.feed(events.Drain(deadline=0.0))
    stops = [(one.worker, one.thread) for one in pool.messages.sent if isinstance(one.message, Stop)]
    assert stops == [("maker", "control")]
    assert pool.launcher.killed == [("master", 1, "the pool stops")]


def test_a_recalled_task_gives_its_slots_back(build: Build) -> None:
    pool = build(workers=APART).start()
    for _ in range(2):
        pool.intake.submit(request(force=True, priority="background"), Caller().sink)
    run = pool.run("maker")
    assert run.grants
    leased = pool.arena.stats()["leased"]
    pool.intake.submit(request(force=True, priority="interactive"), Caller().sink)
    assert pool.orders(RecallTask) == [RecallTask(task_id=run.task_id, attempt=run.attempt)]
    assert pool.messages.sent[-1].thread == "control"
    pool.feed(
        pool.executor.take_in(
            Received(
                event=events.TaskReturned(worker="maker", incarnation=1, task=run.task_id, attempt=run.attempt)
            )
        )
    )
    assert pool.run("maker").task_id != run.task_id and pool.arena.stats()["leased"] == leased


def test_a_cancel_goes_to_the_workers_control_thread(build: Build) -> None:
    pool = build().start()
    caller = Caller()
    number = pool.intake.submit(request(), caller.sink)
    run = pool.run()
    pool.intake.cancel(number)
    assert pool.orders(CancelTask) == [CancelTask(task_id=run.task_id, attempt=run.attempt)]
    assert pool.messages.sent[-1].thread == "control"
    pool.done(mastered(pool, run), run)  # it was finished all the same
    pool.write()
    assert left(pool) == [], "its files are removed"
    assert not ask(pool).replies, "and it is no hit"


def test_a_worker_knows_its_engine_better_but_not_its_name(build: Build) -> None:
    pool = build(engine(model="asked/for", longest_s=60.0))
    loaded = engine(model="/somewhere/else", longest_s=30.0, dtype="float16", model_revision="abc")
    pool.start(loaded, engine("words", role="embedder"), device="cuda:0")
    info = pool.infos["tone"]
    assert (info.model, info.longest_s, info.dtype, info.model_revision) == ("asked/for", 30.0, "float16", "abc")
    assert pool.infos["words"].role == "embedder" and pool.executor.devices == {"w": "cuda:0"}


def test_a_dead_workers_slots_come_back(build: Build) -> None:
    pool = build(workers=APART).start()
    ask(pool, candidates=3)
    assert pool.arena.stats()["leased"] == 3
    pool.executor.worker_exited("maker", 1)
    assert pool.arena.stats()["leased"] == 0 and pool.messages.forgotten == [("maker", 1)]


def test_a_task_that_cannot_be_sent_is_one_requests_trouble_and_costs_no_slot(build: Build) -> None:
    pool = build(workers=APART).start()
    pool.messages.failure = OverflowError("Integer value out of range")
    caller = ask(pool, candidates=2)
    assert caller.reply.failure is not None and "a bug in the pool" in caller.reply.failure.message
    assert pool.arena.stats()["leased"] == 0
    pool.messages.failure = None
    ask(pool)
    assert isinstance(pool.run("maker").task, GenerateTask), "and the worker gets the next"


# -- look-ups --------------------------------------------------------------------------------------


def test_a_cache_that_cannot_be_read_does_not_stop_new_sounds(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = build(encoders=("words",)).start(engine("words", role="embedder"))

    def torn(*_: Any, **__: Any) -> None:
        raise StorageError("torn")

    monkeypatch.setattr(SoundCache, "find_exact", torn)
    monkeypatch.setattr(SoundCache, "find_near", torn)
    caller = ask(pool)
    pool.done({1: Embedded(vectors={"words": bytes(8)})})
    pool.write()
    pool.done(mastered(pool))
    pool.write()
    assert caller.reply.metadata is not None
    assert caller.reply.metadata.warnings == ("cache_unreadable: torn",)


def test_what_is_looked_for_by_meaning_is_looked_for_on_a_thread_of_its_own(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = build(encoders=("words",)).start(engine("words", role="embedder"))
    looked: list[int] = []
    monkeypatch.setattr(SoundCache, "find_near", lambda *_: looked.append(1) or Lookup())
    ask(pool)
    pool.done({1: Embedded(vectors={"words": bytes(8)})})
    assert looked == [] and not isinstance(pool.run().task, GenerateTask), "the router's thread does not wait for it"
    pool.write()
    assert looked == [1] and isinstance(pool.run().task, GenerateTask)


# -- bugs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), SystemExit("a caller's")])
@pytest.mark.parametrize("where", ["look_up", "_store", "_reply", "_send_built"])
def test_a_bug_is_one_requests_trouble(
    build: Build, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    pool = build().start()

    def broken(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        if where == "look_up":
            patched.setattr(pool.look_ups, "exact", broken)
        else:
            patched.setattr(pool.executor, where, broken)
        caller = ask(pool)
        if where in ("_store", "_reply"):
            pool.done(mastered(pool))
            pool.write()
        if where == "look_up":
            patched.undo()
            pool.done(mastered(pool))
            pool.write()
            assert caller.reply.kind == "result", "a look-up that cannot be made is a miss"
            assert any("cache_unreadable" in one for one in caller.reply.metadata.warnings)  # type: ignore[union-attr]
    assert caller.reply.kind == ("result" if where == "look_up" else "error")
    if where != "look_up":
        assert caller.reply.failure is not None and caller.reply.failure.code == "internal"
    other = ask(pool, Caller("other"), prompt="another one")
    pool.done(mastered(pool))
    pool.write()
    assert other.reply.kind == "result" and not pool.requests and pool.scheduler.idle


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), SystemExit("a library's")])
def test_whatever_the_writer_meets_is_an_answer(
    build: Build, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    pool = build().start()

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pool.executor._delivery, "_store", broken)
    first = ask(pool)
    pool.done(mastered(pool))
    pool.write()
    monkeypatch.undo()
    monkeypatch.setattr(pool.executor._delivery, "_deliver_now", broken)
    second = ask(pool, Caller("second"), prompt="another one", delivery="inline")
    pool.done(mastered(pool))
    pool.write()
    for caller in (first, second):
        assert caller.reply.kind == "error"
    assert not pool.requests and pool.scheduler.idle


def test_a_writer_that_takes_nothing_is_an_answer(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = build().start()

    def closed(*_: Any) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    monkeypatch.setattr(pool.writer, "submit", closed)
    caller = ask(pool)
    pool.done(mastered(pool))
    pool.write()
    assert caller.reply.failure is not None and caller.reply.failure.code == "closed"


def test_a_callers_own_exit_reaches_nobody_else(build: Build) -> None:
    pool = build().start()
    heard: list[Any] = []

    def leave(reply: Any) -> None:
        heard.append(reply)
        raise SystemExit

    pool.intake.submit(request(), LocalSink(request_id="r", on_reply=leave, on_event=leave), events_wanted=True)
    pool.done(mastered(pool))
    pool.write()
    assert len(heard) >= 2 and not pool.requests and pool.scheduler.idle


@pytest.mark.parametrize(
    "event", ["LookupDone", "TaskDone", "TaskFailed", "Stored", "WorkerExited"]
)
def test_an_event_that_cannot_be_handled_is_its_requests_trouble(
    build: Build, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    pool = build().start()
    handle = pool.scheduler.handle

    def broken(one: events.Event, now: float) -> list[actions.Action]:
        if type(one).__name__ == event:
            raise RuntimeError("a bug")
        return handle(one, now)

    monkeypatch.setattr(pool.scheduler, "handle", broken)
    caller = ask(pool)
    run = pool.run() if event != "LookupDone" else None
    if event in ("TaskDone", "Stored"):
        pool.done(mastered(pool))
        pool.write()
    elif run is not None and event == "TaskFailed":
        pool.feed(events.TaskFailed(worker="w", incarnation=1, task=run.task_id, attempt=1, failure=Failure()))
    elif event == "WorkerExited":
        pool.feed(events.WorkerExited(worker="w", incarnation=1, reason="signal SIGKILL"))
    assert caller.reply.failure is not None and caller.reply.failure.code == "internal"
    assert not pool.requests


def test_a_decided_reply_leaves_though_the_rest_meets_a_bug(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = build().start()
    monkeypatch.setattr(pool.scheduler, "_pass_time", lambda: 1 / 0)
    caller = ask(pool)
    assert caller.reply.failure is not None and caller.reply.failure.code == "internal"


def test_a_worker_that_cannot_be_started_is_a_worker_that_ended(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = build()

    def spawn(*_: Any) -> None:
        raise OSError("no descriptors left")

    monkeypatch.setattr(pool.launcher, "spawn", spawn)
    caller = ask(pool)
    pool.feed(events.Tick())
    failure = pool.scheduler.workers.workers["w"].failure
    assert failure is not None and "no descriptors left" in failure.message
    assert caller is not None
