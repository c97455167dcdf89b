"""What is done now and then while a pool runs.

Owns: a clock that orders the chores from the writer, one round at a time.
Must not know: what the chores are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor as Writer
from concurrent.futures import Future

__all__ = ["Housekeeping"]

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_STOP_S = 5.0


class Housekeeping:
    """A thread that only waits; the work is the writer's."""

    def __init__(self, writer: Writer, chores: Sequence[Callable[[], int | None]], every_s: float = _EVERY_S) -> None:
        """Start it."""
        self._writer = writer
        self._chores = chores
        self._every_s = every_s
        self._stopping = threading.Event()
        self._round: Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="audio-pool-housekeeping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Order nothing any more."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            if self._round is None or self._round.done():
                self._round = self._writer.submit(self._do)

    def _do(self) -> None:
        for chore in self._chores:
            if self._stopping.is_set():
                return
            try:
                chore()
            except Exception:  # the next round may go better
                log.exception("a chore failed")
