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
from audio_pool.errors import WorkerDied

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
        told = r"worker 'bench' died at work: signal SIGKILL \(tried 2 times\)"
        with pytest.raises(WorkerDied, match=told) as caught:
            poisoned.result(PATIENCE_S)
        assert caught.value.retryable
        for one in behind:  # what waited behind it is not to blame
            assert one.result(PATIENCE_S).path
        assert pool.status()["workers"]["bench"]["incarnation"] == 3


def test_a_job_that_dies_once_is_retried(tmp_path: Path, package: Path) -> None:
    with AudioPool.from_config(settings(tmp_path, [bench_worker(package)], limits=LIMITS)) as pool:
        assert pool.generate(f"once {tmp_path / 'marker'}", timeout_s=PATIENCE_S).path
        assert (tmp_path / "marker").exists()


def test_no_retry_where_none_is_allowed(tmp_path: Path, package: Path) -> None:
    config = settings(tmp_path, [bench_worker(package)], limits={**LIMITS, "max_attempts": 1})
    with AudioPool.from_config(config) as pool, pytest.raises(WorkerDied, match="tried 1 times"):
        pool.generate(f"once {tmp_path / 'marker'}", timeout_s=PATIENCE_S)


def test_too_many_crashes_in_a_row_are_the_last(tmp_path: Path, package: Path) -> None:
    config = settings(tmp_path, [bench_worker(package)], limits={**LIMITS, "max_restarts": 2, "max_attempts": 10})
    with AudioPool.from_config(config) as pool:
        for prompt in ("die", "tone, but nobody is left to make it"):
            with pytest.raises(WorkerDied, match="worker 'bench' died"):
                pool.generate(prompt, timeout_s=PATIENCE_S)
        worker = pool.status()["workers"]["bench"]
        assert worker["state"] == "failed" and worker["incarnation"] == 3
        health = pool.health()
        assert health["state"] == "degraded" and "SIGKILL" in health["reasons"][0]
        assert health["engines"] == {"bench": "failed"}


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
