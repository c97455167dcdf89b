"""The process that routes never loads what computes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.bench_pool import settings
from tests.support.waiting import PATIENCE_S

_HOST = """
import json, sys
from audio_pool import AudioPool
with AudioPool.from_config(json.loads(sys.argv[1]), serve=True) as pool:
    new = pool.generate("rain on a roof", duration_s=1, loop=True, timeout_s=120)
    hit = pool.generate("rain on a roof", duration_s=1, loop=True, timeout_s=120)
    other = pool.generate("rain on a roof", duration_s=1, loop=True, format="ogg", timeout_s=120)
    assert (new.metadata.cached, hit.metadata.cached, other.metadata.cached) == (False, True, True)
    pool.status(), pool.health(), pool.engines(), pool.cache_stats()
    print(json.dumps(sorted(sys.modules)))
"""

HEAVY = ("torch", "diffusers", "transformers", "librosa", "soundfile", "scipy", "soxr", "pyloudnorm",
         "sentence_transformers", "ssl", "http.client", "audio_pool.worker.runner", "audio_pool.worker.mastering",
         "obstore", "audio_pool.cache.objects.bucket", "audio_pool.cache.objects.upkeep",
         "psycopg", "psycopg_pool", "audio_pool.cache.postgres", "audio_pool.cache.postgres.store",
         "audio_pool.jobs.postgres", "audio_pool.jobs.bell")  # fmt: skip


def test_a_serving_process_stays_light(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        [{"name": "w", "engines": ["procedural"]}],
        server={"bind": f"ipc://{tmp_path / 'serve.sock'}"},
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", _HOST, json.dumps(config)],
        check=True, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    loaded = set(json.loads(told.stdout))
    assert {"audio_pool.pool.router", "audio_pool.scheduler.scheduler", "audio_pool.server.zmq_frontend"} <= loaded
    assert not loaded & set(HEAVY)
