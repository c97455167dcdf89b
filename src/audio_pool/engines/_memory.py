"""Memory that a closed engine gives back.

Owns: ``give_back``.
Must not know: any engine. Imports no torch: where a GPU is in use, somebody has.
"""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["give_back"]


def give_back(device: str = "cpu") -> None:
    """Return to the system and to the device what nobody refers to any more.

    Modules hang together in circles, which only the collector ends; and what the C library has free between blocks in
    use it keeps, however much: half a gigabyte of a model in half precision.

    Args:
        device: where the engine computed: "cpu", "cuda:0", ...
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give back at once
    if trim is not None:
        trim(0)
