"""Finding a pool's worker processes from outside, as an operator would."""

from __future__ import annotations

import psutil


def worker_processes(parent: int | None = None) -> dict[str, psutil.Process]:
    """Return the living worker processes of a process (this one by default), by worker name."""
    found = {}
    for child in psutil.Process(parent).children():
        try:
            command = child.cmdline()
            if (
                child.status() != psutil.STATUS_ZOMBIE
                and len(command) > 6
                and "audio_pool.worker.start" in " ".join(command)
            ):
                found[command[-4]] = child
        except psutil.Error:  # it ended just now
            continue
    return found
