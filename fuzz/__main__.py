"""Fuzz every target for its share of FUZZ_SECONDS (60 in all by default), each in a process of its own.

A fault is printed with the file that holds its input, and ends this with exit code 1 after all have run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TARGETS = sorted(path.name for path in Path(__file__).with_name("corpus").iterdir())


def main() -> int:
    """Fuzz."""
    seconds = max(1, int(os.environ.get("FUZZ_SECONDS", "60")) // len(TARGETS))
    failed = []
    for name in TARGETS:
        command = [sys.executable, "-m", "fuzz.run", name, str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 120)
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        print(f"{name:16} {int(runs.group(1)) if runs else 0:>9,} inputs in {seconds} s  exit code {done.returncode}")
        if done.returncode:
            failed.append(name)
            print(done.stdout[-2000:], done.stderr[-6000:], sep="\n")
    print("nothing found" if not failed else f"failed: {', '.join(failed)}; the inputs are in .fuzz/found/")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
