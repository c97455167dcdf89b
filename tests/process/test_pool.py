"""The pool with real processes: what a caller asks for, hears and gets."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool import AudioPool, AudioRequest
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.errors import (
    Busy,
    Cancelled,
    EngineError,
    Expired,
    InvalidRequest,
    NotSupported,
    OutOfMemory,
    PoolClosed,
    Timeout,
    UnknownEngine,
)
from audio_pool.pool import delivery
from audio_pool.pool.delivery import copy_file

PROMISED = {
    "request_id", "engine", "model", "model_revision", "licence", "prompt", "seed", "steps", "guidance_scale",
    "requested_duration_s", "duration_s", "sample_rate", "channels", "is_loop", "cached", "cache_type", "hit_reason",
    "cache_similarity", "cache_age_seconds", "matched_prompt", "clap_similarity", "candidates", "tau_accept_new",
    "accepted", "quality", "loudness_lufs", "true_peak_dbfs", "loop", "generation_timestamp", "timings_ms", "worker",
    "warnings",
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bench_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[AudioPool]:
    """One worker that does it all, with three engines."""
    worker = bench_worker(package, "all")
    worker["engines"] = ["bench", "mock", "procedural"]
    with AudioPool.from_config(settings(tmp_path_factory.mktemp("pool"), [worker])) as pool:
        yield pool


def ask(pool: AudioPool, prompt: str, **fields: Any) -> Any:
    return pool.generate(prompt, timeout_s=PATIENCE_S, **fields)


# -- a sound ---------------------------------------------------------------------------------------


def test_a_sound_is_made_once_and_then_found(pool: AudioPool) -> None:
    new = ask(pool, "Rain on a roof", engine="procedural", duration_s=1.5, loop=True)
    data, rate = soundfile.read(new.path)
    assert (len(data), rate) == (66_150, 44_100)
    assert set(new.metadata) >= PROMISED
    assert set(new.metadata["timings_ms"]) >= {"lookup", "queue", "generate", "score", "master", "store", "total"}
    assert new.metadata["cache_type"] == "new_generation" and new.metadata["cached"] is False
    assert new.metadata["worker"] == {"id": "all", "device": "cpu"}
    assert new.metadata["timings_ms"]["generate"] > 0 and new.metadata["timings_ms"]["store"] > 0

    again = ask(pool, "  rain on a roof ", engine="procedural", duration_s=1.5, loop=True)
    assert again.metadata["cached"] is True and again.metadata["cache_type"] in ("exact", "canonical")
    assert again.metadata["seed"] == new.metadata["seed"]
    assert again.metadata["request_id"] == again.request_id != new.request_id
    assert again.metadata["timings_ms"]["generate"] == 0.0
    assert (soundfile.read(again.path)[0] == data).all()

    forced = ask(pool, "Rain on a roof", engine="procedural", duration_s=1.5, loop=True, force=True)
    assert forced.metadata["cache_type"] == "new_generation" and forced.metadata["seed"] != new.metadata["seed"]


def test_the_same_seed_is_the_same_sound(pool: AudioPool) -> None:
    def heard(seed: int) -> Any:
        return soundfile.read(ask(pool, "wind", engine="procedural", seed=seed, force=True).path)[0]

    first = heard(7)
    assert (heard(7) == first).all()
    assert (heard(8) != first).any()


def test_many_callers_at_once_each_get_their_own(pool: AudioPool) -> None:
    wanted = {f"tone number {number}": 0.2 + 0.01 * number for number in range(12)}
    pending = {prompt: pool.submit(prompt, engine="mock", duration_s=length) for prompt, length in wanted.items()}
    for prompt, length in wanted.items():
        result = pending[prompt].result(PATIENCE_S)
        assert result.metadata["prompt"] == prompt
        assert soundfile.info(result.path).frames == round(length * 44_100)


def test_asyncio_callers_share_one_loop(pool: AudioPool) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(
            pool.agenerate("tone a", engine="mock", timeout_s=PATIENCE_S),
            pool.agenerate("tone b", engine="mock", timeout_s=PATIENCE_S),
        )

    assert [result.metadata["prompt"] for result in asyncio.run(both())] == ["tone a", "tone b"]


def test_several_formats_of_one_sound_are_made_once_beside_it(pool: AudioPool) -> None:
    ask(pool, "beep for formats", engine="mock", duration_s=0.5)
    pending = [pool.submit("beep for formats", engine="mock", duration_s=0.5, format="ogg") for _ in range(4)]
    results = [one.result(PATIENCE_S) for one in pending]
    for result in results:
        assert soundfile.info(result.path).format == "OGG"
        assert result.metadata["format"] == "ogg" and result.metadata["cached"] is True
    assert ask(pool, "beep for formats", engine="mock", duration_s=0.5, format="ogg").path == results[-1].path


def test_a_result_is_delivered_where_and_how_it_is_wanted(pool: AudioPool, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "beep.wav"
    result = ask(pool, "a delivered beep", engine="mock", output_path=str(target), delivery="inline")
    assert result.path == str(target) and result.data == target.read_bytes()
    AudioSemanticCache(pool.config.cache_dir).remove_by_prompt_pattern("^a delivered beep$", confirm=True)
    assert soundfile.info(target).frames > 0, "a caller's file outlives the cache's"
    with pytest.raises(InvalidRequest, match=r"output_path.*'beep.wav'.*absolute"):
        pool.submit("a delivered beep", engine="mock", output_path="beep.wav")


# -- events, joins, cancels ------------------------------------------------------------------------


def test_events_tell_the_way(pool: AudioPool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    pending = pool.submit(f"wait {gate}", events=True, engine="bench")
    events = pending.events(PATIENCE_S)
    assert next(events).type == "accepted"
    progress = next(events)
    assert progress.type == "progress" and progress.request_id == pending.request_id
    assert progress.body["stage"] == "generate" and progress.body["fraction"] == 0.5
    gate.touch()
    assert pending.result(PATIENCE_S).path
    assert {event.type for event in events} <= {"progress"}  # and they end


def test_identical_requests_share_one_making(pool: AudioPool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = pool.submit(f"wait {gate}", engine="bench")
    eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
    second = pool.submit(f"wait {gate}", events=True, engine="bench")
    accepted = next(second.events(PATIENCE_S))
    assert accepted.body["joined"] is True
    first.cancel()  # one leaves, the other stays
    with pytest.raises(Cancelled):
        first.result(PATIENCE_S)
    gate.touch()
    assert second.result(PATIENCE_S).metadata["cache_type"] == "joined"


def test_cancel_stops_the_work_and_not_the_worker(pool: AudioPool, tmp_path: Path) -> None:
    pid = worker_processes()["all"].pid
    gate, behind = tmp_path / "gate", tmp_path / "behind"
    running = pool.submit(f"wait {gate}", engine="bench")
    eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
    waiting = [pool.submit(f"wait {behind}{number}", engine="bench") for number in range(4)]
    for pending in [*waiting, running]:
        assert pending.cancel() is True
        with pytest.raises(Cancelled):
            pending.result(PATIENCE_S)
        assert pending.cancel() is False
    after = ask(pool, "tone after all the cancels", engine="bench")
    assert after.metadata["engine_details"]["pid"] == pid
    assert not list(tmp_path.glob("behind*.started")), "what was cancelled in the queue was never begun"


def test_a_cancelled_task_cancels_the_work(pool: AudioPool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def give_up() -> None:
        task = asyncio.create_task(pool.agenerate(f"wait {gate}", engine="bench"))
        while not Path(f"{gate}.started").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(give_up(), PATIENCE_S))
    assert ask(pool, "tone after the task", engine="bench").path  # the worker is free: the gate never opened


def test_a_wait_that_is_too_long_ends_and_frees_the_worker(pool: AudioPool, tmp_path: Path) -> None:
    with pytest.raises(Timeout, match="no sound within"):
        pool.generate(f"wait {tmp_path / 'never'}", engine="bench", timeout_s=0.5)
    with pytest.raises(Expired):
        ask(pool, f"wait {tmp_path / 'never2'}", engine="bench", deadline_ms=500)
    assert ask(pool, "tone after the waits", engine="bench").path


# -- refusals and failures -------------------------------------------------------------------------


def test_bad_input_is_refused_before_anything_happens(pool: AudioPool) -> None:
    with pytest.raises(InvalidRequest, match=r"duration_s.*-1"):
        pool.submit("x", duration_s=-1)
    with pytest.raises(InvalidRequest, match="did you mean 'duration_s'"):
        pool.submit("x", duraton_s=1)
    with pytest.raises(InvalidRequest, match=r"prompt.*given 7"):
        pool.submit(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"duration_s.*nan"):
        pool.submit(AudioRequest(prompt="x", duration_s=float("nan")))
    with pytest.raises(UnknownEngine, match="did you mean 'procedural'"):
        pool.submit("x", engine="procedual")
    with pytest.raises(NotSupported, match="init_audio"):
        ask(pool, "x", engine="mock", init_audio="/dev/null")


def test_fields_beside_a_whole_request_count(pool: AudioPool) -> None:
    request = AudioRequest(prompt="tone for fields", engine="mock", duration_s=1.0)
    assert soundfile.info(ask(pool, request, duration_s=0.25).path).frames == 11_025


def test_an_engine_that_fails_costs_its_caller_alone(pool: AudioPool) -> None:
    pid = worker_processes()["all"].pid
    with pytest.raises(EngineError, match="RuntimeError: a gear is broken"):
        ask(pool, "fail", engine="bench")
    with pytest.raises(OutOfMemory):
        ask(pool, "starve", engine="bench")
    assert ask(pool, "tone after failures", engine="bench").metadata["engine_details"]["pid"] == pid
    status = pool.status()
    assert status["workers"]["all"]["state"] == "ready" and status["requests"] == 0
    assert pool.health()["state"] == "ready"


def test_a_full_queue_says_when_to_come_again(tmp_path: Path, package: Path) -> None:
    gate = tmp_path / "gate"
    config = settings(tmp_path, [bench_worker(package)], queue={"max_requests": 2})
    with AudioPool.from_config(config) as pool:
        pending = [pool.submit(f"wait {gate}", engine="bench", force=True) for _ in range(3)]
        with pytest.raises(Busy) as caught:
            pending[2].result(PATIENCE_S)
        assert caught.value.retry_after_ms >= 10
        gate.touch()
        assert [one.result(PATIENCE_S).path for one in pending[:2]]


# -- several workers -------------------------------------------------------------------------------


def test_workers_work_beside_each_other(tmp_path: Path, package: Path) -> None:
    config = settings(tmp_path, [bench_worker(package, count=2)])
    with AudioPool.from_config(config) as pool:
        assert set(worker_processes()) >= {"bench-1", "bench-2"}
        gates = [tmp_path / "one", tmp_path / "two"]
        pending = [pool.submit(f"wait {gate}", engine="bench") for gate in gates]
        for gate in gates:  # neither can end before both have begun
            eventually(lambda gate=gate: Path(f"{gate}.started").exists(), "both run")
        for gate in gates:
            gate.touch()
        workers = {one.result(PATIENCE_S).metadata["worker"]["id"] for one in pending}
        assert workers == {"bench-1", "bench-2"}


@pytest.mark.parametrize(("arena_bytes", "through"), [(1 << 26, "slots"), (1 << 20, "inline")])
def test_a_maker_and_a_master_hand_over(tmp_path: Path, arena_bytes: int, through: str) -> None:
    workers = [
        {"name": "maker", "engines": ["mock", "procedural"], "roles": ["generate"]},
        {"name": "master", "roles": ["master"]},
    ]
    config = settings(tmp_path, workers, queue={"arena_bytes": arena_bytes})
    with AudioPool.from_config(config) as pool:
        results = [ask(pool, "tone", engine="mock", seed=seed, duration_s=4, candidates=2) for seed in range(3)]
        looped = ask(pool, "rain", engine="procedural", duration_s=4, loop=True)
        arena = pool.status()["arena"]
        for result in [*results, looped]:
            assert soundfile.info(result.path).frames == 4 * 44_100
            assert result.metadata["worker"]["id"] == "maker"
        spectrum = abs(np.fft.rfft(soundfile.read(results[2].path)[0][:, 0]))
        assert spectrum.argmax() / 4 == 222.0, "the tone of seed 2, whole"
        if through == "slots":
            assert arena["leases"] >= 7 and arena["no_room"] == 0
            assert arena["slots"] <= 4, "slots are used again"
        else:
            assert arena["leases"] == 0 and arena["no_room"] >= 4
        assert arena["leased"] == 0


def test_a_handed_over_sound_is_lost_to_no_crash(tmp_path: Path, package: Path) -> None:
    """Master and maker die again and again; their slots come back, the callers get their sounds."""
    workers = [bench_worker(package, "maker", roles=["generate"]), {"name": "master", "roles": ["master"]}]
    config = settings(tmp_path, workers, limits={"max_attempts": 10, "poison_after": 10, "restart_backoff_s": 0.05})
    with AudioPool.from_config(config) as pool:
        pending = [pool.submit(f"tone {number}", duration_s=5) for number in range(6)]
        for _ in range(2):
            for name in ("master", "maker"):
                victim = eventually(lambda name=name: worker_processes().get(name), f"a {name} runs")
                victim.kill()
                psutil.wait_procs([victim], timeout=PATIENCE_S)
        assert {soundfile.info(one.result(PATIENCE_S).path).frames for one in pending} == {5 * 44_100}
        eventually(lambda: pool.status()["arena"]["leased"] == 0, "every slot is free")


@pytest.mark.parametrize("roles", [["generate"], ["generate", "master"]])
def test_notes_that_cannot_be_sent_are_the_engines_fault(tmp_path: Path, package: Path, roles: list[str]) -> None:
    workers = [bench_worker(package, "maker", roles=roles), {"name": "master", "roles": ["master"]}]
    with AudioPool.from_config(settings(tmp_path, workers)) as pool:
        pid = worker_processes()["maker"].pid
        with pytest.raises(EngineError, match=r"TypeError.*numpy\.float32"):
            ask(pool, "odd")
        assert ask(pool, "tone").metadata["engine_details"]["pid"] == pid


def test_no_master_left_is_told_to_the_caller(tmp_path: Path) -> None:
    workers = [{"name": "maker", "engines": ["mock"], "roles": ["generate"]}, {"name": "master", "roles": ["master"]}]
    config = settings(tmp_path, workers, limits={"max_restarts": 0, "breaker_s": 3600.0, "breaker_max_s": 3600.0})
    with AudioPool.from_config(config) as pool:
        worker_processes()["master"].kill()
        eventually(lambda: pool.status()["workers"]["master"]["state"] == "broken", "the master is given up")
        with pytest.raises(Exception, match="worker 'master' died"):
            ask(pool, "tone")
        assert pool.health()["state"] == "degraded"


# -- processes -------------------------------------------------------------------------------------


def test_each_worker_has_its_own_environment(tmp_path: Path, package: Path) -> None:
    before = dict(os.environ)
    workers = [
        bench_worker(package, "pinned", gpu="1", threads=3),
        {"name": "hidden", "engines": ["mock"], "gpu": "", "env": {"HELLO": "you"}},
        {"name": "free", "engines": ["mock"], "niceness": 0},
    ]
    with AudioPool.from_config(settings(tmp_path, workers)):
        environments = {name: process.environ() for name, process in worker_processes().items()}
        parent = psutil.Process()
        behind = {name: process.nice() - parent.nice() for name, process in worker_processes().items()}
        assert all(process.pid != parent.pid for process in worker_processes().values())
    assert dict(os.environ) == before
    pinned, hidden, free = environments["pinned"], environments["hidden"], environments["free"]
    assert pinned["CUDA_VISIBLE_DEVICES"] == pinned["HIP_VISIBLE_DEVICES"] == "1"
    assert pinned["OMP_NUM_THREADS"] == "3" and pinned["PYTHONPATH"] == str(package)
    assert hidden["CUDA_VISIBLE_DEVICES"] == hidden["HIP_VISIBLE_DEVICES"] == "" and hidden["HELLO"] == "you"
    assert free.get("CUDA_VISIBLE_DEVICES") == before.get("CUDA_VISIBLE_DEVICES")
    assert "PYTHONPATH" not in free and "HELLO" not in free
    most = 19 - parent.nice()  # of a run that is niced itself
    behind = {name: behind[name] for name in ("pinned", "hidden", "free")}  # other tests' pools may be up
    assert behind == {"pinned": min(10, most), "hidden": min(10, most), "free": 0}


def test_what_workers_say_is_kept_and_told(
    tmp_path: Path, package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "audio_pool")
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)])) as pool:
        ask(pool, "tone to be heard")
    text = (tmp_path / "cache" / "logs" / "bench.log").read_text()
    assert "bench: asked to tone to be heard" in text
    assert any("[bench] bench: asked to tone to be heard" in record.getMessage() for record in caplog.records)


def test_a_frozen_worker_is_noticed_and_replaced(tmp_path: Path, package: Path) -> None:
    limits = {"heartbeat_s": 0.2, "missed_heartbeats": 15, "restart_backoff_s": 0.05}
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=limits)) as pool:
        first = worker_processes()["bench"]
        result = ask(pool, f"freeze {tmp_path / 'once'}")  # in the middle of a job
        second = result.metadata["engine_details"]["pid"]
        assert second != first.pid and not first.is_running()
        os.kill(second, signal.SIGSTOP)  # idle
        eventually(lambda: not psutil.pid_exists(second), "the frozen worker is gone")
        assert ask(pool, "tone at last").metadata["engine_details"]["pid"] not in (first.pid, second)


def test_a_job_that_never_ends_is_ended(tmp_path: Path, package: Path) -> None:
    limits = {"task_timeout_s": 2.0, "restart_backoff_s": 0.05}
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=limits)) as pool:
        pid = worker_processes()["bench"].pid
        with pytest.raises(Timeout, match="was stopped: a task took over 2 s"):
            ask(pool, f"hang {tmp_path / 'never'}")
        assert ask(pool, "tone after the hang").metadata["engine_details"]["pid"] != pid
        assert not psutil.pid_exists(pid)


# -- life ------------------------------------------------------------------------------------------


def test_stop_finishes_what_is_under_way(tmp_path: Path, package: Path) -> None:
    gate = tmp_path / "gate"
    pool = AudioPool.from_config(settings(tmp_path, [bench_worker(package)])).start()
    pid = worker_processes()["bench"].pid
    pending = pool.submit(f"wait {gate}")
    eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
    stopper = threading.Thread(target=pool.stop)
    stopper.start()
    eventually(lambda: not pool.running, "the pool takes nothing new")
    with pytest.raises(PoolClosed):
        pool.submit("tone too late")
    gate.touch()
    assert soundfile.info(pending.result(PATIENCE_S).path).frames
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive()
    assert not psutil.pid_exists(pid)


def test_stop_lets_decided_replies_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hit's file is still being read for its caller while the workers end."""
    pool = AudioPool.from_config(settings(tmp_path, [{"name": "w", "engines": ["mock"]}])).start()
    ask(pool, "tone")
    worker = worker_processes()["w"]
    gate = threading.Event()

    def slow_copy(source: Path, target: Path, *rest: Any) -> str:
        gate.wait(PATIENCE_S)
        return copy_file(source, target, *rest)

    monkeypatch.setattr(delivery, "copy_file", slow_copy)
    pending = pool.submit("tone", delivery="inline", output_path=str(tmp_path / "out.wav"))
    stopper = threading.Thread(target=pool.stop)
    stopper.start()
    psutil.wait_procs([worker], timeout=PATIENCE_S)
    gate.set()
    result = pending.result(PATIENCE_S)
    assert result.metadata["cached"] is True and result.data == Path(result.path).read_bytes()
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive()


def test_stop_does_not_wait_for_ever(tmp_path: Path, package: Path) -> None:
    pool = AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits={"term_timeout_s": 0.5})).start()
    pending = [pool.submit(f"hang {tmp_path / 'never'}"), pool.submit("tone behind it")]
    eventually(lambda: (tmp_path / "never.started").exists(), "the job runs")
    pid = worker_processes()["bench"].pid
    pool.stop(drain_timeout_s=0.2)
    for one in pending:
        with pytest.raises(PoolClosed):
            one.result(PATIENCE_S)
    assert not psutil.pid_exists(pid)
    with pytest.raises(PoolClosed):
        pool.submit("tone")


def test_a_pool_leaves_nothing_of_itself(tmp_path: Path) -> None:
    config = settings(tmp_path, [{"name": "w", "engines": ["mock"]}])
    process = psutil.Process()
    counts = []
    for number in range(3):
        with AudioPool.from_config(config) as pool:
            ask(pool, f"tone {number}")
        counts.append((process.num_fds(), threading.active_count(), len(process.children())))
    assert counts[1] == counts[2], "descriptors, threads or processes are left behind"


def test_callers_on_many_threads_while_the_pool_stops(tmp_path: Path) -> None:
    """Whatever the moment of the stop: every caller hears something."""
    pool = AudioPool.from_config(settings(tmp_path, [{"name": "w", "engines": ["mock"]}])).start()

    def call(number: int) -> str:
        try:
            for turn in range(1000):
                pool.generate(f"tone {number} {turn}", duration_s=0.05, timeout_s=PATIENCE_S)
        except PoolClosed:
            return "closed"
        return "done"

    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(call, number) for number in range(4)]
        eventually(lambda: pool.status()["answers"].get("result", 0) > 4, "they are at it")
        pool.stop(drain_timeout_s=0.0)
        assert [one.result(PATIENCE_S) for one in calls] == ["closed"] * 4
