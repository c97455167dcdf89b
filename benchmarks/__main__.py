"""Runs the benchmarks and prints one table each; figures also go to bench_out/bench.json.

    make bench                                  everything that can run here
    make bench-cluster                          what is about several machines, with the servers that it needs
    python -m benchmarks routing seam           some of it
    python -m benchmarks --list

A benchmark is a module of this folder with ``rows() -> list[dict]``: one dict a line, its keys the
columns. Ratios are taken against a floor measured in the same run; absolute times depend on the machine.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks._absent import Absent

OUT = Path("bench_out")
ORDER = ("routing", "hits_beside_work", "handover", "startup", "seam", "engine_speed", "cache_insert", "cache_quality")


def names() -> list[str]:
    """Benchmarks with ``rows``, the quick and central ones first."""
    here = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_")]
    return sorted(here, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as lines of aligned columns."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_shown(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(asked: list[str]) -> int:
    if "--list" in asked:
        print("\n".join(names()))
        return 0
    if unknown := [name for name in asked if name not in names()]:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    figures: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    failed = []
    for name in asked or names():
        try:
            module = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            print(f"\n== {name}: skipped, {error.name} is not installed", flush=True)
            continue
        if not hasattr(module, "rows"):
            continue
        print(f"\n== {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        try:
            figures[name] = module.rows()
        except Absent as missing:
            print(f"skipped, {missing}", flush=True)
            continue
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        print("\n".join(table(figures[name])), flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "bench.json").write_text(json.dumps(figures, indent=1, default=str))
    print(f"\nfigures: {OUT / 'bench.json'}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
