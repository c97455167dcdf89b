"""Workers are killed at their work: every caller is answered, and the pool is whole again."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import soundfile
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_processes import worker_processes

from audio_pool import AudioPool
from audio_pool.errors import Poisoned, WorkerDied

LIMITS = {"restart_backoff_s": 0.05}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return bench_package(tmp_path / "package")


def test_a_job_whose_worker_is_killed_is_done_by_the_next(tmp_path: Path, package: Path) -> None:
    gate = tmp_path / "gate"
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=LIMITS)) as pool:
        pending = [pool.submit(f"wait {gate}"), pool.submit("tone behind it"), pool.submit("tone at the end")]
        eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
        first = worker_processes()["bench"]
        Path(f"{gate}.started").unlink()
        first.kill()
        eventually(lambda: Path(f"{gate}.started").exists(), "it runs again")
        gate.touch()
        for one in pending:
            result = one.result(PATIENCE_S)
            assert soundfile.info(result.path).frames == round(0.3 * 44_100)
            assert result.metadata["engine_details"]["pid"] != first.pid
        worker = pool.status()["workers"]["bench"]
        assert worker["state"] == "ready" and worker["incarnation"] == 2


def test_another_worker_takes_over_at_once(tmp_path: Path, package: Path) -> None:
    """Without waiting for the restart: its pause is longer than this test may take."""
    gate = tmp_path / "gate"
    config = settings(tmp_path, [bench_worker(package, count=2)], limits={"restart_backoff_s": 3000.0})
    with AudioPool.from_config(config) as pool:
        pending = pool.submit(f"wait {gate}")
        eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
        at_work = next(name for name, worker in pool.status()["workers"].items() if worker["jobs"])
        gate.touch()
        worker_processes()[at_work].kill()
        assert pending.result(PATIENCE_S).metadata["worker"]["id"] != at_work
        assert pool.health()["state"] == "degraded"


def test_a_poisoned_job_is_given_up(tmp_path: Path, package: Path) -> None:
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=LIMITS)) as pool:
        poisoned = pool.submit("die")
        behind = [pool.submit(f"tone number {number}") for number in range(3)]
        how = "worker 'bench': signal SIGKILL"
        told = f"2 workers have ended at this very request: {how}; {how}"
        with pytest.raises(Poisoned, match=told) as caught:
            poisoned.result(PATIENCE_S)
        assert not caught.value.retryable and caught.value.retry_after_ms
        for one in behind:  # what waited behind it is not to blame
            assert one.result(PATIENCE_S).path
        eventually(lambda: pool.status()["workers"]["bench"]["incarnation"] == 3, "it is started again")


def test_a_job_that_dies_once_is_retried(tmp_path: Path, package: Path) -> None:
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=LIMITS)) as pool:
        assert pool.generate(f"once {tmp_path / 'marker'}", timeout_s=PATIENCE_S).path
        assert (tmp_path / "marker").exists()


def test_no_retry_where_none_is_allowed(tmp_path: Path, package: Path) -> None:
    config = settings(tmp_path, [bench_worker(package)], limits={**LIMITS, "max_attempts": 1})
    with AudioPool.from_config(config) as pool, pytest.raises(WorkerDied, match="tried 1 times"):
        pool.generate(f"once {tmp_path / 'marker'}", timeout_s=PATIENCE_S)


def test_too_many_crashes_in_a_row_break_a_worker_until_its_probe(tmp_path: Path, package: Path) -> None:
    limits = {**LIMITS, "max_restarts": 0, "max_attempts": 1, "breaker_s": 60.0}
    config = settings(tmp_path, [bench_worker(package)], limits=limits)
    with AudioPool.from_config(config) as pool:
        for prompt in ("die", "tone, but nobody is left to make it"):
            with pytest.raises(WorkerDied, match="worker 'bench' died"):
                pool.generate(prompt, timeout_s=PATIENCE_S)
        worker = pool.status()["workers"]["bench"]
        assert worker["state"] == "broken" and worker["incarnation"] == 1
        health = pool.health()
        assert health["state"] == "degraded" and "SIGKILL" in health["reasons"][0]
        assert "broken: it is tried again in" in health["reasons"][0]
        assert health["engines"] == {"bench": "broken"}


def test_poison_prompts_take_an_engine_down_for_a_while_and_no_longer(tmp_path: Path, package: Path) -> None:
    limits = {"restart_backoff_s": 0.0, "max_restarts": 1, "breaker_s": 0.2, "breaker_max_s": 0.2}
    config = settings(tmp_path, [bench_worker(package)], limits=limits)
    with AudioPool.from_config(config) as pool:
        for number in range(3):
            with pytest.raises(WorkerDied):
                pool.generate(f"die {number}", timeout_s=PATIENCE_S)
        assert eventually(lambda: _made(pool), "the engine is there again without anybody's help")
        assert pool.status()["workers"]["bench"]["state"] == "ready"


def _made(pool: AudioPool) -> bool:
    try:
        return bool(pool.generate("tone", timeout_s=PATIENCE_S).path)
    except WorkerDied:
        return False


def test_a_worker_takes_its_own_children_with_it(tmp_path: Path) -> None:
    package = bench_package(tmp_path / "package")
    engine = package / "bench_engine.py"
    engine.write_text(
        engine.read_text().replace(
            "    return Bench(INFO)",
            "    import subprocess\n    subprocess.Popen(['sleep', '3000'])\n    return Bench(INFO)",
        )
    )
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=LIMITS)) as pool:
        worker = worker_processes()["bench"]
        grandchildren = worker.children()
        assert [child.name() for child in grandchildren] == ["sleep"]
        worker.kill()
        assert not psutil.wait_procs(grandchildren, timeout=PATIENCE_S)[1], "a grandchild lives on"
        assert pool.generate("tone", timeout_s=PATIENCE_S).path
