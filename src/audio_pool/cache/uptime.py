"""What time it is for everything that waits for a while to pass, whoever sets the clock on the wall.

Owns: the clock that graces are counted by, and its name.
Must not know: what is waited for.

The wall clock jumps: an hour back in autumn, ten years on when a battery was flat. The time since this machine
was started does not, is the same for every process, and goes on in sleep. It begins anew with each start, and
a time namespace may shift it: times of two clocks can be compared only where their names are the same.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

__all__ = ["clock_name", "uptime_s"]


def uptime_s() -> float:
    """Return the seconds since this machine was started, time asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@functools.cache
def clock_name() -> str:
    """Return what ``uptime_s`` is counted from: this start of the machine, in this time namespace."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # a container without it: no file of another process's clock is then ever due
        start = f"process {os.getpid()}"
    try:
        space = os.readlink("/proc/self/ns/time")
    except OSError:  # a kernel without time namespaces
        space = ""
    return f"{start} {space}"
