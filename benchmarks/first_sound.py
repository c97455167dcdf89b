"""From nothing to a sound: a command's exact hit, its new sound, a pool that is ready, a server's first sound.

``BESIDE=FOLDER/src`` measures another version of the package in turns with this one; wall time and, since others may be
at work on the machine, the processor time of everything that was started.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = int(os.environ.get("ROUNDS", "3"))
AIMS_S = {"exact hit": 0.35, "new sound": 1.2, "pool ready": 1.0, "server's first sound": 1.0}
_COMMAND = [sys.executable, "-m", "audio_pool.cli"]
_READY = """
from audio_pool import AudioPool
with AudioPool.from_config():
    print('up', flush=True)
"""
_SERVED = """
import subprocess, sys, time
from audio_pool import AudioClient
server = subprocess.Popen([sys.executable, "-m", "audio_pool.cli", "serve"], stdout=subprocess.PIPE, text=True)
with AudioClient(timeout_s=60) as client:
    client.generate("a beep", duration_s=1.0)
print('up', flush=True)
server.terminate()
server.wait(60)
"""


def rows() -> list[dict[str, Any]]:
    """Medians of each way, by version."""
    versions = {"this": str(Path(__file__).resolve().parents[1] / "src")}
    if os.environ.get("BESIDE"):
        versions["beside"] = os.environ["BESIDE"]
    took: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(ROUNDS + 1):  # the first fills caches: of sounds, of the encoder, of bytecode
            for version, source in versions.items():
                for what, arguments in _ways(number).items():
                    figures = _measured(Path(place, version), source, arguments)
                    if number:
                        took.setdefault((what, version), []).append(figures)
    return [
        {
            "what": what,
            "version": version,
            "wall, s": round(statistics.median(wall for wall, _ in figures), 3),
            "processor, s": round(statistics.median(cpu for _, cpu in figures), 3),
            "aim, wall": AIMS_S[what],
        }
        for (what, version), figures in sorted(took.items())
    ]


def _ways(number: int) -> dict[str, list[str]]:
    asked = ["generate", "--duration", "1"]
    return {
        "exact hit": [*_COMMAND, *asked, "rain on a tin roof"],
        "new sound": [*_COMMAND, *asked, f"rain on a tin roof and {number} dogs"],
        "pool ready": [sys.executable, "-c", _READY],
        "server's first sound": [sys.executable, "-c", _SERVED],
    }


def _measured(place: Path, source: str, arguments: list[str]) -> tuple[float, float]:
    """Seconds until the answer (a command's end, else the word "up"), and of processor time until all has ended."""
    for name in ("cache", "run", "bytecode"):
        (place / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {
        **os.environ,
        "PYTHONPATH": source,
        "PYTHONPYCACHEPREFIX": str(place / "bytecode"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "XDG_RUNTIME_DIR": str(place / "run"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        if "-c" in arguments:
            process.stdout.readline()
            wall = time.perf_counter() - started
            process.communicate(timeout=120)
        else:
            process.communicate(timeout=120)
            wall = time.perf_counter() - started
        assert process.returncode == 0, arguments
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
