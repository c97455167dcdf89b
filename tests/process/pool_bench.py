"""What the pool's process tests share: an engine that does as its prompt says, and how to find workers.

The engine is one of another package, as any user may bring: a module and an entry point in a directory
that its worker has on PYTHONPATH.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 120.0
"""Longer than anything here takes on a machine that does much else."""

_ENGINE = '''
import os
import signal
import sys
import time

import numpy as np

from audio_pool.engines.base import EngineInfo, Notes

INFO = EngineInfo(
    name="bench", role="generator", model="bench", licence="Apache-2.0", commercial_use=True,
    sample_rate=44_100, channels=2, any_rate=True, gated=False, summary="does as its prompt says",
)


class Bench:
    info = INFO

    def notes(self, item):
        odd = {"odd": np.float32(1)} if item.prompt.startswith("odd") else {}
        return Notes(details={"pid": os.getpid(), **odd})

    def generate(self, items, on_step=None):
        sounds = []
        for item in items:
            verb, _, path = item.prompt.partition(" ")
            print("bench: asked to", item.prompt, flush=True)
            getattr(self, verb, self.tone)(path, on_step)
            frames = round(item.duration_s * item.sample_rate)
            wave = 0.3 * np.sin(np.arange(frames) * (0.03 + item.seed % 100 / 1000))
            sounds.append(np.tile(wave.astype(np.float32), (2, 1)))
        return sounds

    def tone(self, path, on_step):
        on_step and on_step(1, 1)

    def wait(self, path, on_step):
        """Until the file is there; can be cancelled."""
        open(path + ".started", "w").close()
        while not os.path.exists(path):
            on_step and on_step(1, 2)
            time.sleep(0.02)

    def hang(self, path, on_step):
        """As a library that never comes back."""
        open(path + ".started", "w").close()
        while not os.path.exists(path):
            time.sleep(0.02)

    def die(self, path, on_step):
        os.kill(os.getpid(), signal.SIGKILL)

    def once(self, path, on_step):
        """Dies the first time."""
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    def freeze(self, path, on_step):
        """Stops the whole process the first time."""
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)

    def fail(self, path, on_step):
        raise RuntimeError("a gear is broken")

    def starve(self, path, on_step):
        raise MemoryError

    def close(self):
        pass


def load(*, trouble="", **settings):
    if trouble == "raise":
        raise RuntimeError("the weights are torn")
    if trouble == "exit":
        print("bench: these are my last words", flush=True)
        os._exit(7)
    return Bench()
'''


def bench_package(directory: Path) -> Path:
    """Writes the engine's package; the directory is what PYTHONPATH must name."""
    info = directory / "bench_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (directory / "bench_engine.py").write_text(_ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[audio_pool.engines]\nbench = bench_engine\n")
    return directory


def bench_worker(package: Path, name: str = "bench", **more: Any) -> dict[str, Any]:
    """A worker hosting the bench; its own interpreter named, as its engine is known to that one alone."""
    return {"name": name, "engines": ["bench"], "python": sys.executable, "env": {"PYTHONPATH": str(package)}, **more}


def settings(tmp_path: Path, workers: list[dict[str, Any]], **sections: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose every file lies under ``tmp_path``."""
    engine = next(name for worker in workers for name in worker.get("engines", []))
    return {
        **sections,
        "defaults": {"engine": engine, "duration_s": 0.3, **sections.get("defaults", {})},
        "cache": {"dir": str(tmp_path / "cache"), "encoder": "off", **sections.get("cache", {})},
        "workers": workers,
    }


def worker_processes(parent: int | None = None) -> dict[str, psutil.Process]:
    """The living worker processes of this (or another) process, by worker name."""
    found = {}
    for child in psutil.Process(parent).children():
        try:
            command = child.cmdline()
            if (
                child.status() != psutil.STATUS_ZOMBIE
                and len(command) > 6
                and "audio_pool.worker.process" in " ".join(command)
            ):
                found[command[-4]] = child
        except psutil.Error:  # it ended just now
            continue
    return found


def eventually(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """The condition's value once it is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s: {what}")
