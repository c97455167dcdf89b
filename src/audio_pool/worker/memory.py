"""What this process takes of its devices' memory, and giving back what nobody refers to any more.

Owns: ``taken_bytes``, ``give_back``.
Must not know: engines, how much there is, who wants it. Imports torch nowhere: where a GPU is in use it has been.
"""

from __future__ import annotations

import os
import sys

from audio_pool.engines import give_back

__all__ = ["give_back", "taken_bytes"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def taken_bytes() -> dict[str, int]:
    """Return the bytes that this process takes, by device: "cpu" (what of it is in memory), "cuda:0", ..."""
    taken = {"cpu": _resident_bytes()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for index in range(torch.cuda.device_count()):
            taken[f"cuda:{index}"] = int(torch.cuda.memory_reserved(index))
    return taken


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):  # not Linux: nobody knows
        return 0
