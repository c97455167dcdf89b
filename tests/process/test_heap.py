"""What a sound's arrays took is kept for the next one, in a process that masters."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

KEPT = """
import sys
import numpy as np
from audio_pool.worker.heap import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1])

assert "told" not in sys.argv or keep_freed_memory()
before = resident()
for _ in range(3):
    arrays = [np.ones(20 << 20, np.uint8) for _ in range(4)]
    del arrays
print((resident() - before) * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_freed_arrays_stay_with_the_process_that_was_told() -> None:
    def left_mb(*words: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", KEPT, *words], capture_output=True, text=True, check=True, timeout=60
        )
        return int(done.stdout)

    assert left_mb("told") > 70
    assert left_mb() < 50
