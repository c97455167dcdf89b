"""The end of the process that started this one: no worker outlives its pool.

Owns: the three ways of hearing of it, as each alone has a gap.
Must not know: what the process does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading

__all__ = ["die_with"]

_PR_SET_PDEATHSIG = 1


def die_with(parent: int, pipe: int) -> None:
    """End with the parent, in three ways, as each alone has a gap: a kernel signal, its pid, the end of a pipe."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(4)

    def watch() -> None:
        os.read(pipe, 1)
        os._exit(4)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
