"""Where a cluster's libraries are installed and none is configured, a machine loads none of them, nor our own parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient

LIBRARIES = ("psycopg", "psycopg_pool", "obstore", "ray", "zstandard")
OURS = (
    "audio_pool.cache.postgres",
    "audio_pool.cache.objects",
    "audio_pool.jobs.postgres",
    "audio_pool.pool.cluster",
    "audio_pool.pool.launchers",
    "audio_pool.pool.remote",
    "audio_pool.transport.compression",
    "audio_pool.transport.remote",
    "audio_pool.transport.worker_keys",
)
"""Beginnings of names of what only a cluster needs."""
AT_THE_DOOR = {
    "audio_pool.cache.objects",
    "audio_pool.cache.objects.opening",
    "audio_pool.cache.objects.place",
    "audio_pool.pool.launchers",
    "audio_pool.pool.launchers.local",
}
"""Settings and choices: what finds out that there is no cluster."""
_POOL = """
import json, sys
from audio_pool import AudioClient, AudioPool
told = {"import": sorted(sys.modules)}
place = sys.argv[1]
config = {
    "cache": {"dir": f"{place}/cache", "encoder": "off"},
    "workers": [{"name": "w", "engines": ["procedural"]}],
    "server": {"bind": f"ipc://{place}/s"},
}
with AudioPool.from_config(config, serve=True) as pool, AudioClient(f"ipc://{place}/s") as client:
    new = pool.generate("rain", duration_s=0.5, timeout_s=120)
    hit = client.generate("rain", duration_s=0.5, timeout_s=120)
    assert (new.metadata.cached, hit.metadata.cached) == (False, True)
    client.generate("wind", duration_s=0.5, timeout_s=120, durable=True)
    pool.library.remove(hit.metadata.entry_id)
    client.status(), client.health(), client.jobs()
    told["served"] = sorted(sys.modules)
print(json.dumps(told))
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_libraries_are_there(library: str) -> None:
    """Else nothing here could fail."""
    pytest.importorskip(library, reason=f"{library} is not installed: make test-cluster")


def test_no_cluster_is_loaded_where_none_is_configured(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _POOL, str(tmp_path)],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "audio_pool.pool.router" in told["served"]
    for when, names in told.items():
        theirs = [name for name in names if name.split(".")[0] in LIBRARIES]
        ours = [name for name in names if name.startswith(OURS) and name not in AT_THE_DOOR]
        assert (theirs, ours) == ([], []), when


def test_no_process_of_a_server_has_a_clusters_libraries_in_its_memory(tmp_path: Path) -> None:
    worker = {"name": "w", "engines": ["procedural"], "env": {}}
    with Served(tmp_path, brings=(), workers=[worker], defaults={"engine": "procedural"}) as server:
        with AudioClient(server.ready().endpoint, timeout_s=PATIENCE_S) as client:
            client.generate("rain")
            assert client.generate("rain").metadata.cached
        head = psutil.Process(server.process.pid)
        processes = [head, *head.children(recursive=True)]
        assert len(processes) > 1
        for process in processes:
            files = [Path(one.path) for one in process.memory_maps()]
            loaded = {part.split(".")[0] for path in files if ".so" in path.name for part in path.parts}
            assert "numpy" in loaded, process.cmdline()
            assert not loaded & {*LIBRARIES, "psycopg_binary", "psycopg_c"}, process.cmdline()
