"""Processes that workers leave behind: adopted by this process where it asks for that, and ended.

Owns: which children of this process are a dead worker's, and their end.
Must not know: how workers are started, why they died.

A worker's own process group dies with it; what has left that group (setsid, a daemon) would go to init and live
on. A subreaper gets such processes as its own children. Only a process that is ours alone may be one
(``audio-pool serve``): a host program would find children that it never had.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from audio_pool.pool.process_tree import parent_of

__all__ = ["MARK", "adopt_orphans", "adopts_orphans", "end_orphans", "own"]

log = logging.getLogger(__name__)

MARK = "AUDIO_POOL_WORKER"
"""The environment variable that says whose descendant a process is: NAME:INCARNATION."""
_OWN = "AUDIO_POOL_BESIDE"
_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37


def own() -> dict[str, str]:
    """Return what is in the environment of a process that this one starts for itself, in a group of its own."""
    return {_OWN: str(os.getpid())}


def adopt_orphans() -> None:
    """Let what workers leave behind come to this process."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def adopts_orphans() -> bool:
    """Return True if ``adopt_orphans`` was called in this process."""
    asked = ctypes.c_int(0)
    ctypes.CDLL(None, use_errno=True).prctl(_GET_CHILD_SUBREAPER, ctypes.byref(asked), 0, 0, 0)
    return bool(asked.value)


def end_orphans(workers: Collection[int], living: Collection[str], within_s: float = 1.0) -> int:
    """Kill and reap the children that dead workers have left to this process; return how many there were.

    Args:
        workers: ids of the worker processes, which others reap.
        living: marks of the workers that live: what theirs have set free is theirs still.
        within_s: the longest that this may take, where the machine is busy.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        # an orphan's own children come to us once it has ended: so again, until none is left
        spared = [f"{MARK}={mark}".encode() for mark in living] + [f"{_OWN}={os.getpid()}".encode()]
        found = [pid for pid in _children() if pid not in workers and not _has_any(pid, spared)]
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        ended.update(found)
        time.sleep(0.005)
    if ended:
        log.info("ended %d processes that dead workers had left behind", len(ended))
    return len(ended)


def _children() -> list[int]:
    """Return the children of this process that are not of its own group: those it started for itself are."""
    ours, group = os.getpid(), os.getpgrp()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and parent_of(int(entry)) == ours:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(entry)) != group:
                    found.append(int(entry))
    return found


def _has_any(pid: int, marks: Collection[bytes]) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(mark in variables for mark in marks)
