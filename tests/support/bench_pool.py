"""Configuration of a pool inside the test's process whose engine is ``engines/bench_engine.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.support.engine_packages import engine_package


def bench_package(directory: Path) -> Path:
    """Write the package that brings ``bench``; return the directory that PYTHONPATH must name."""
    return engine_package(directory, "bench")


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
