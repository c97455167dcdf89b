"""Results on their way from a device to main memory.

Owns: ``ToHost``: copies into pinned memory that nobody waits for one by one.
Must not know: any engine.

A copy from a GPU into ordinary memory goes through a small pinned buffer, and the process stands still until all that
was queued before it is done and the copy is, too: then the next batch's launches begin late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["ToHost"]


class ToHost:
    """Brings tensors of one device here; ``wait`` once before they are read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, found: torch.Tensor) -> torch.Tensor:
        """Return the tensor in main memory, float32; of a GPU's not before ``wait``."""
        import torch

        if self._device.type != "cuda":
            return found.float().cpu()
        here = torch.empty(found.shape, dtype=torch.float32, pin_memory=True)
        return here.copy_(found.float(), non_blocking=True)

    def wait(self) -> None:
        """Return when all that was asked for is here."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
