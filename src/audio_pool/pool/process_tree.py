"""Who is whose child on this machine, read from /proc.

Owns: the questions "is this process beneath that one" and "which children has this one".
Must not know: workers, sockets.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_beneath", "parent_of"]

_DEEPEST = 64


def parent_of(pid: int) -> int:
    """Return the id of a process's parent; 0 where there is none (any more)."""
    try:
        # "pid (name) state ppid ...": the name may hold blanks and parentheses
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def is_beneath(pid: int, ancestor: int) -> bool:
    """Return True for the process itself and its descendants."""
    for _ in range(_DEEPEST):
        if pid == ancestor:
            return True
        pid = parent_of(pid)
        if pid <= 1:
            return False
    return False
