"""What this process takes of its devices' memory, and giving back what nobody refers to any more.

Owns: ``taken_bytes``, ``give_back``, ``Peak``.
Must not know: engines, how much there is, who wants it. Imports torch nowhere: where a GPU is in use it has been.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from audio_pool.engines import give_back

__all__ = ["Peak", "give_back", "taken_bytes"]

_DEVICE_VARIABLE = "AUDIO_POOL_DEVICE"
"""Set where this process counts for a logical device: what it has in memory is what it takes of that."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
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


class Peak:
    """The most that this process has of a device's memory, from now on."""

    def __init__(self, device: str) -> None:
        self._torch = sys.modules.get("torch") if device.startswith("cuda") else None
        self._device = device
        self._counts = self._torch is None and _DEVICE_VARIABLE in os.environ
        if self._torch is not None:
            self._torch.cuda.reset_peak_memory_stats(device)
        elif self._counts:
            try:
                _CLEAR.write_text("5")  # proc(5): the peak of what is in memory begins anew
            except OSError:
                self._counts = False

    def bytes(self) -> int | None:
        """Return it; None where there is no device to take memory of, or nobody can tell."""
        if self._torch is not None:
            return int(self._torch.cuda.max_memory_reserved(self._device))
        if not self._counts:
            return None
        told = (line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return next((int(line.split()[1]) << 10 for line in told), None)
