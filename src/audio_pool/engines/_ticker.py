"""The steps of a run as they are told to whoever waits for it.

Owns: Ticker.
Must not know: any engine, what a step is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from audio_pool.engines.base import OnStep

if TYPE_CHECKING:
    import torch

__all__ = ["Ticker"]


class Ticker:
    """Counts steps and reports them, at most two ahead of a GPU.

    Launches return long before the GPU has worked; without the wait a cancel would come after all of
    them were queued, and progress would be a fiction. Two steps in flight keep the GPU fed.
    """

    def __init__(self, on_step: OnStep | None, total: int, device: torch.device) -> None:
        self._on_step = on_step
        self._total = total
        self._done = 0
        self._events: list[torch.cuda.Event] = []
        self._mark: Callable[[], torch.cuda.Event] | None = None
        if on_step is not None and device.type == "cuda":
            import torch

            # by the stream's name: an event of the current device would mark nothing of another's work
            self._mark = lambda: torch.cuda.current_stream(device).record_event()

    def __call__(self) -> None:
        """Report one more step done; raises whatever ``on_step`` raises."""
        self._done += 1
        if self._on_step is None:
            return
        if self._mark is not None:
            self._events.append(self._mark())
            if len(self._events) > 2:
                self._events.pop(0).synchronize()
        self._on_step(self._done, self._total)
