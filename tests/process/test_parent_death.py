"""SIGKILL of the process that holds the pool: no process is left, and after the next start no file."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.bench_pool import bench_package, bench_worker, settings
from tests.support.waiting import PATIENCE_S, eventually

from audio_pool import AudioPool
from audio_pool.cache.manage import AudioSemanticCache
from audio_pool.transport.arena import default_directory

_HOST = """
import json, sys, time
from audio_pool import AudioPool
pool = AudioPool.from_config(json.loads(sys.argv[1]), serve=True).start()
pool.generate("tone first", timeout_s=120)
pending = [pool.submit(prompt) for prompt in sys.argv[2:]]
print("ready", flush=True)
time.sleep(3600)
"""


def _host(config: dict[str, Any], *prompts: str) -> subprocess.Popen[str]:
    """Another process with a pool in it."""
    host = subprocess.Popen(
        [sys.executable, "-c", _HOST, json.dumps(config), *prompts], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None and host.stdout.readline() == "ready\n"
    return host


@pytest.mark.parametrize("at_work", ["idle", "wait", "hang"])
def test_nothing_outlives_its_parent(tmp_path: Path, at_work: str) -> None:
    package = bench_package(tmp_path / "package")
    workers = [
        bench_worker(package, "maker", roles=["generate"], count=2),
        {"name": "master", "roles": ["master"]},
    ]
    bind = tmp_path / "serve.sock"
    config = settings(tmp_path, workers, server={"bind": f"ipc://{bind}"})
    gate = tmp_path / "gate"
    host = _host(config, *([] if at_work == "idle" else [f"{at_work} {gate}"]))
    try:
        if at_work != "idle":
            eventually(lambda: Path(f"{gate}.started").exists(), "the job runs")
        family = psutil.Process(host.pid).children(recursive=True)
        arenas = list(default_directory().glob(f"arena-{host.pid}-*"))
        assert len(family) == 3 and len(arenas) == 1 and list(arenas[0].glob("*.safetensors")) and bind.exists()
        host.kill()
        left = psutil.wait_procs(family, timeout=PATIENCE_S)[1]
        assert not left, f"orphans: {left}"
    finally:
        host.kill()
        host.communicate()
    with AudioPool.from_config(config, serve=True) as pool:  # the same socket, the same cache
        assert not arenas[0].exists(), "the dead owner's arena is swept at the next start"
        assert pool.generate("tone first", timeout_s=PATIENCE_S).metadata["cached"] is True
        mine = list(default_directory().glob(f"arena-{psutil.Process().pid}-*"))
        assert len(mine) == 1
    assert not mine[0].exists() and not bind.exists(), "an orderly end sweeps for itself"
    assert AudioSemanticCache(tmp_path / "cache").verify()["problems"] == []
    assert {file.name for file in (tmp_path / "cache" / "incoming").iterdir()} <= {".lock"}


def test_workers_of_a_thread_that_ended_live_on(tmp_path: Path) -> None:
    """The kernel ties a child's life to the thread that started it: that must not be the caller's."""
    pool = AudioPool.from_config(settings(tmp_path, [{"name": "w", "engines": ["mock"]}]))
    starter = threading.Thread(target=pool.start)
    starter.start()
    starter.join(PATIENCE_S)
    with pool:
        assert pool.generate("tone", timeout_s=PATIENCE_S).path
        assert pool.status()["workers"]["w"]["incarnation"] == 1
