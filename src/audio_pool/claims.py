"""Folders that belong to one running process, and the proof that their owner is gone.

Owns: claiming a folder by a lock in it, asking whether a claim still holds, and the gate that keeps those
who claim and those who sweep apart.
Must not know: what lies in the folders.

A claim is a flock: the kernel drops it however the process ends, and unlike a process id it is never given
to another process (also between containers). Local disks only.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["claim", "gate", "is_claimed"]


def claim(lock: Path) -> int:
    """Create and lock a file in a folder just made, inside ``gate``.

    Returns:
        The descriptor that holds the claim; closing it, or the end of the process, gives the claim back.

    Raises:
        OSError.
    """
    held = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held


def is_claimed(lock: Path) -> bool:
    """Return True while the process that claimed lives; asked inside ``gate``.

    Without its lock file a folder's owner ended while claiming or while giving back. A lock that cannot be
    opened counts as held: nobody's death is proven by it.
    """
    try:
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def gate(lock: Path, wait_s: float) -> Iterator[bool]:
    """Let one process at a time claim or sweep: a folder just made is not locked yet.

    Args:
        lock: beside the folders; created where it is missing.
        wait_s: seconds to wait for another process; 0 tries once.

    Yields:
        False where another process was still inside after that time.
    """
    handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        inside = False
        while not inside:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                inside = True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.01)
        yield inside
    finally:
        os.close(handle)
