"""What lies in a folder.

Owns: listing one, and the time of its last change.
Must not know: what the files are.
"""

from __future__ import annotations

import os
import time

__all__ = ["changed_ns", "is_settled", "listed"]

_UNSURE_NS = 2_000_000_000
"""A folder that changed so lately may change again at what its disk takes for the same time."""


def listed(path: str) -> tuple[list[str], list[str]]:
    """Return the names of everything but folders, and those of folders; nothing where it cannot be read."""
    names: tuple[list[str], list[str]] = [], []
    try:
        with os.scandir(path) as found:
            for one in found:
                names[one.is_dir(follow_symlinks=False)].append(one.name)
    except OSError:
        return [], []
    return names


def changed_ns(path: str) -> int | None:
    """Return the time of the last change; None where it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def is_settled(changed: int | None) -> bool:
    """Return True where a later change would show in the time."""
    return changed is not None and time.time_ns() - changed >= _UNSURE_NS
