"""Memory that a closed engine gives back.

Owns: ``give_back``.
Must not know: any engine. Imports torch only where a GPU's memory is meant.
"""

from __future__ import annotations

import ctypes
import gc

__all__ = ["give_back"]


def give_back(device: str = "cpu") -> None:
    """Return to the system and to the device what nobody refers to any more.

    Modules hang together in circles, which only the collector ends; and what the C library has free between blocks in
    use it keeps, however much: half a gigabyte of a model in half precision.

    Args:
        device: where the engine computed: "cpu", "cuda:0", ...
    """
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give back at once
    if trim is not None:
        trim(0)
