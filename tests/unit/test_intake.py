"""Requests on their way in: resolved once, init_audio read elsewhere first, and one answer whatever happens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.support.requests import engine, request
from tests.support.routed import Caller, Routed

from audio_pool.errors import Busy, InvalidRequest, NotSupported, PoolClosed, UnknownEngine
from audio_pool.pool import intake as module
from audio_pool.pool.caller import HOST
from audio_pool.pool.caller import Caller as Identity
from audio_pool.scheduler import events
from audio_pool.server.live_requests import LiveRequests
from audio_pool.tasks import EchoTask, GenerateTask

FROM_SOUND = engine(init_audio=True, kinds=("effects",))
Build = Callable[..., Routed]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Routed] = []

    def build(*infos: Any, **sections: Any) -> Routed:
        made.append(Routed(tmp_path, infos or (FROM_SOUND,), **sections))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def pool(build: Build) -> Routed:
    return build().start()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that were resolved."""
    seen: list[Any] = []
    resolve = module.resolve

    def counting(asked: Any, *rest: Any, **more: Any) -> Any:
        seen.append(asked)
        return resolve(asked, *rest, **more)

    monkeypatch.setattr(module, "resolve", counting)
    return seen


def submit_fields(pool: Routed, caller: Caller | None = None, **fields: Any) -> int:
    return pool.intake.submit_fields(
        {"prompt": "rain", **fields}, (caller or Caller()).sink, events_wanted=False, size_bytes=50
    )


# -- taking in -------------------------------------------------------------------------------------


def test_a_request_is_registered_and_becomes_a_job(pool: Routed) -> None:
    caller = Caller()
    number = pool.intake.submit(request(priority="background"), caller.sink, events_wanted=True, size_bytes=70)
    assert pool.requests[number].sound.recipe.prompt == "rain"
    (job,) = pool.scheduler.jobs.values()
    assert job.requests == [number] and job.priority == 2 and pool.scheduler.sizes().bytes == 70
    assert [type(event).__name__ for event in caller.events] == ["Accepted"]
    assert isinstance(pool.run().task, GenerateTask) and not caller.replies


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"lookup": True, "near": True, "encoders": ("words",)}),
        ({"force": True}, {"lookup": False, "near": True, "encoders": ("words",), "join_key": None}),
        ({"match": "strict"}, {"lookup": True, "near": False, "encoders": ()}),
        ({"seed": 0}, {"lookup": True, "near": False, "encoders": ("words",), "max_rounds": 1}),
    ],
)
def test_what_is_looked_up_and_how(build: Build, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    pool = build(encoders=("words",), limits={"max_rounds": 3}).start()
    submit_fields(pool, **fields)
    (job,) = pool.scheduler.jobs.values()
    assert {name: getattr(job.sound, name) for name in expected} == expected


def test_words_that_are_spoken_are_not_looked_up_by_meaning(build: Build) -> None:
    pool = build(engine(speech=True), encoders=("words",)).start()
    submit_fields(pool)
    (job,) = pool.scheduler.jobs.values()
    assert job.sound.lookup and not job.sound.near and job.sound.encoders == ()


def test_without_a_cache_nothing_is_looked_up(build: Build) -> None:
    pool = build(cache={"enabled": False}, encoders=()).start()
    submit_fields(pool)
    (job,) = pool.scheduler.jobs.values()
    assert not job.sound.lookup and job.sound.encoders == ()


def test_the_earlier_of_two_deadlines_counts(pool: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)
    found = []
    for deadline_ms, timeout_s in ((None, None), (5000, None), (None, 3.0), (5000, 3.0), (2000, 3.0)):
        number = pool.intake.submit(request(deadline_ms=deadline_ms), Caller().sink, timeout_s=timeout_s)
        found.append(pool.scheduler.requests[number].deadline)
    assert found == [None, 1005.0, 1003.0, 1003.0, 1002.0]


def test_what_cannot_be_carried_out_is_refused_before_it_is_registered(pool: Routed) -> None:
    for fields in ({"duration_s": 500}, {"prompt": " "}, {"promptt": "x"}, {"options": {"x": 1}}):
        with pytest.raises(InvalidRequest):
            submit_fields(pool, **fields)
    with pytest.raises(UnknownEngine):
        pool.intake.submit(request(engine="absent"), Caller().sink)
    assert not pool.requests and pool.scheduler.idle


def test_a_call_has_no_recipe(pool: Routed) -> None:
    caller = Caller()
    number = pool.intake.call(EchoTask(payload=b"x"), caller.sink, worker="w", size_bytes=9)
    assert pool.requests[number].resolved is None and pool.run().task == EchoTask(job=1, payload=b"x")


def test_whose_share_a_request_counts_against_goes_with_it(pool: Routed) -> None:
    def by(name: str) -> Identity:
        return structs.replace(HOST, client=name)

    pool.intake.submit(request(force=True), Caller().sink, caller=by("a"))
    pool.intake.submit_fields({"prompt": "sea"}, Caller().sink, events_wanted=False, size_bytes=1, caller=by("b"))
    pool.intake.call(EchoTask(payload=b"x"), Caller().sink, caller=by("c"))
    LiveRequests(pool.intake).take_in(by("d"), {"prompt": "wind"}, Caller().sink, events_wanted=False, size_bytes=1)
    pool.service.echo(b"x", Caller().sink, caller=by("e"))
    pool.intake.submit(request(prompt="hail"), Caller().sink)
    assert [job.asked.client for job in pool.scheduler.jobs.values()] == ["a", "b", "c", "d", "e", ""]


def test_a_cancel_reaches_the_scheduler(pool: Routed) -> None:
    caller = Caller()
    number = pool.intake.submit(request(), caller.sink)
    pool.intake.cancel(number)
    assert caller.reply.kind == "cancelled" and not pool.requests
    pool.intake.cancel(number)
    pool.intake.cancel(99)
    assert len(caller.replies) == 1


# -- what is remembered ----------------------------------------------------------------------------


def test_the_same_fields_are_resolved_once(pool: Routed, counted: list[Any]) -> None:
    for _ in range(3):
        submit_fields(pool, duration_s=1.0)
    submit_fields(pool, duration_s=2.0)
    assert [one.duration_s for one in counted] == [1.0, 2.0]


def test_each_request_is_its_own_though_its_fields_are_known(pool: Routed) -> None:
    callers = [Caller("a"), Caller("b")]
    numbers = [submit_fields(pool, caller, force=True) for caller in callers]
    assert numbers[0] != numbers[1] and len(pool.scheduler.jobs) == 2


def test_a_worker_that_knows_more_of_its_engine_is_heeded(build: Build, counted: list[Any]) -> None:
    pool = build()
    submit_fields(pool)
    pool.start(engine(init_audio=True, kinds=("effects",), longest_s=3.0))
    submit_fields(pool)
    assert len(counted) == 2
    with pytest.raises(InvalidRequest, match=r"makes 0\.05 to 3 s"):
        submit_fields(pool, duration_s=10)


def test_what_depends_on_who_is_ready_is_not_remembered(pool: Routed, counted: list[Any]) -> None:
    for _ in range(2):
        submit_fields(pool, engine="kind:effects")
    assert len(counted) == 2


def test_large_requests_and_refused_ones_are_not_remembered(pool: Routed, counted: list[Any]) -> None:
    for _ in range(2):
        submit_fields(pool, prompt="rain " * 300)
        with pytest.raises(InvalidRequest):
            submit_fields(pool, duration_s=500)
    assert len(counted) == 4


def test_no_more_is_remembered_than_there_is_room_for(
    pool: Routed, counted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    for seed in (1, 2, 3, 1):
        submit_fields(pool, seed=seed)
    assert [one.seed for one in counted] == [1, 2, 3, 1], "the third made all others go"


def test_fields_that_cannot_be_packed_are_refused_like_others(pool: Routed) -> None:
    with pytest.raises(InvalidRequest):
        submit_fields(pool, metadata={"big": 2**70})
    with pytest.raises(InvalidRequest):
        submit_fields(pool, prompt=object())


# -- init_audio ------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "start.wav"
    path.write_bytes(b"RIFF" + bytes(100))
    return path


def test_a_file_is_read_elsewhere_and_its_content_is_part_of_the_recipe(pool: Routed, start: Path) -> None:
    caller = Caller()
    number = submit_fields(pool, caller, init_audio=str(start), init_strength=0.5)
    assert number in pool.requests and pool.scheduler.idle, "open, so that it is answered though the pool stops"
    pool.write()
    recipe = pool.requests[number].sound.recipe
    assert recipe.init_audio_sha256 == hashlib.sha256(start.read_bytes()).hexdigest()
    (job,) = pool.scheduler.jobs.values()
    assert job.requests == [number] and not job.sound.near
    (part,) = pool.run().task.parts  # type: ignore[union-attr]
    assert part.init_audio == str(start)


def test_it_is_read_anew_for_each_request(pool: Routed, start: Path) -> None:
    hashes = []
    for content in (b"one", b"two"):
        start.write_bytes(content)
        number = submit_fields(pool, init_audio=str(start))
        pool.write()
        hashes.append(pool.requests[number].sound.recipe.init_audio_sha256)
    assert len(set(hashes)) == 2


def test_a_deadline_counts_from_arrival(pool: Routed, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    number = pool.intake.submit(request(init_audio=str(start), deadline_ms=500_000), Caller().sink, timeout_s=90_000.0)
    now = 1100.0
    pool.write()
    assert pool.scheduler.requests[number].deadline == 1500.0


def test_a_request_that_is_cancelled_while_its_file_is_read_is_answered_once(pool: Routed, start: Path) -> None:
    caller = Caller()
    number = submit_fields(pool, caller, init_audio=str(start))
    pool.intake.cancel(number)
    assert caller.reply.kind == "cancelled" and not pool.requests
    pool.write()
    assert len(caller.replies) == 1 and pool.scheduler.idle


def test_a_bug_after_its_file_was_read_is_an_answer(
    pool: Routed, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller()
    pool.intake.submit(request(init_audio=str(start)), caller.sink)

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pool.intake, "resolve", broken)
    pool.write()
    assert caller.reply.failure is not None and caller.reply.failure.code == "internal"


def test_a_pool_that_stops_meanwhile_answers_it(pool: Routed, start: Path) -> None:
    caller = Caller()
    submit_fields(pool, caller, init_audio=str(start))
    pool.feed(events.Drain(deadline=0.0))
    pool.write()
    assert caller.reply.failure is not None and isinstance(caller.reply.failure.error(), PoolClosed)


def test_an_engine_that_turns_out_to_make_less_while_a_file_is_read(pool: Routed, start: Path) -> None:
    caller = Caller()
    submit_fields(pool, caller, init_audio=str(start), duration_s=60.0)
    pool.infos["tone"] = msgspec.structs.replace(pool.infos["tone"], longest_s=30.0)  # as its worker says when ready
    pool.write()
    failure = caller.reply.failure
    assert failure is not None and isinstance(failure.error(), InvalidRequest) and "given 60" in failure.message
    assert not pool.requests


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("missing", "not_found", "cannot be read: No such file or directory"),
        ("zero", "not_found", "cannot be read: embedded null byte"),
        ("directory", "bad_audio", "is not a regular file"),
        ("fifo", "bad_audio", "is not a regular file"),
        ("device", "bad_audio", "is not a regular file"),
        ("large", "bad_audio", "has 105 bytes, allowed are 104"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(
    pool: Routed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: str, message: str
) -> None:
    path = str(tmp_path / kind)
    match kind:
        case "zero":
            path += "\0"
        case "directory":
            os.mkdir(path)
        case "fifo":
            os.mkfifo(path)
        case "device":
            path = "/dev/zero"
        case "large":
            monkeypatch.setattr(pool.files, "_max_bytes", 104)
            Path(path).write_bytes(bytes(105))
    caller = Caller()
    submit_fields(pool, caller, init_audio=path)
    pool.write()
    failure = caller.reply.failure
    assert failure is not None and failure.code == code and message in failure.message
    assert not pool.requests and pool.scheduler.idle


def test_what_is_refused_anyway_is_refused_before_a_byte_is_read(build: Build) -> None:
    pool = build(engine()).start()
    with pytest.raises(NotSupported, match="cannot start from a sound"):
        submit_fields(pool, init_audio="/a.wav")
    pool = build().start()
    with pytest.raises(InvalidRequest, match=r"init_audio: given 'a\.wav', allowed is an absolute path"):
        submit_fields(pool, init_audio="a.wav")
    assert not pool.requests and not pool.writer.waiting


def test_no_more_wait_for_their_file_than_may_wait_at_all(build: Build, start: Path) -> None:
    pool = build(queue={"max_requests": 2}).start()
    for _ in range(2):
        submit_fields(pool, init_audio=str(start), force=True)
    with pytest.raises(Busy, match="2 requests wait for their init_audio to be read"):
        submit_fields(pool, init_audio=str(start))
    pool.write()
    submit_fields(pool, init_audio=str(start))
