"""Memory that one sound gave back is there for the next.

Owns: what the C library's allocator keeps.
Must not know: who needs memory.

By itself it gives every array of some megabytes back to the system when it is let go, and the next sound's arrays are
new pages, each cleared and mapped when it is first touched: a fifth of what finishing a loop takes.
"""

from __future__ import annotations

import ctypes
import logging

__all__ = ["KEPT_BYTES", "keep_freed_memory"]

log = logging.getLogger(__name__)

KEPT_BYTES = 128 << 20
_LARGEST_BYTES = 32 << 20
"""Arrays beyond it are always given back; glibc allows no more."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""malloc.h's numbers."""


def keep_freed_memory() -> bool:
    """Keep up to ``KEPT_BYTES`` of what is freed; return whether this process's C library can be told to."""
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    kept = tell is not None and bool(tell(_MMAP_THRESHOLD, _LARGEST_BYTES) and tell(_TRIM_THRESHOLD, KEPT_BYTES))
    log.debug("freed memory is %s", "kept for the next sound" if kept else "given back at once")
    return kept
