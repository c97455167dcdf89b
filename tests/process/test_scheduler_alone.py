"""The scheduler needs nothing but msgspec: it can be imported, and used, where there is nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.waiting import PATIENCE_S

_ALONE = """
import json, sys
for name in ("numpy", "zmq", "msgpack", "soundfile", "safetensors", "click", "torch"):
    sys.modules[name] = None  # an import of it fails

import audio_pool.scheduler.scheduler
from audio_pool.config import LimitsConfig, QueueConfig
from audio_pool.scheduler import events
from audio_pool.scheduler.actions import SpawnWorker
from audio_pool.scheduler.worker_state import WorkerPlan

plan = WorkerPlan(name="w", engines=frozenset({"tone"}), roles=frozenset({"generate", "master"}))
scheduler = audio_pool.scheduler.scheduler.Scheduler([plan], LimitsConfig(), QueueConfig())
assert scheduler.handle(events.Tick(), 0.0) == [SpawnWorker(worker="w", incarnation=1)]
print(json.dumps(sorted(name for name in sys.modules if name.startswith("audio_pool"))))
"""


def test_the_scheduler_can_be_imported_alone() -> None:
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", _ALONE], check=True, capture_output=True, text=True, timeout=PATIENCE_S
    )
    loaded = {name.removeprefix("audio_pool").removeprefix(".") for name in json.loads(told.stdout)}
    others = {name for name in loaded if not name.startswith(("scheduler", "config."))}
    assert others <= {
        *("", "errors", "types", "plain_mapping", "reports", "results", "engine_info", "tasks"),
        *("config", "validation", "trace_record", "craft", "residents", "heard", "origin"),
        *("presets", "scene", "object_settings"),
    }
