"""Engines of another package, as any user may bring: modules, and entry points, in a directory for PYTHONPATH.

The engines are the modules ``NAME_engine.py`` of ``tests/support/engines/``.
"""

from __future__ import annotations

from pathlib import Path

SOURCES = Path(__file__).with_name("engines")


def engine_package(directory: Path, *names: str) -> Path:
    """Write a package that brings these engines; return the directory, which PYTHONPATH must name."""
    info = directory / "engines_of_tests-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    for source in SOURCES.glob("*_engine.py"):
        (directory / source.name).write_text(source.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: engines-of-tests\nVersion: 1.0\n")
    points = "".join(f"{name} = {name}_engine\n" for name in names)
    (info / "entry_points.txt").write_text(f"[audio_pool.engines]\n{points}")
    return directory
