"""A progress bar for requests in flight.

Owns: how an event looks on a terminal.
Must not know: where events come from.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TextIO

from audio_pool.results import Event, Progress

__all__ = ["ProgressBar"]


class ProgressBar:
    """Draws a request's progress: ``with ProgressBar() as bar: client.generate(..., on_event=bar)``.

    Args:
        stream: stderr where None; only a terminal is drawn on.
        width: of the bar, in characters.
    """

    def __init__(self, stream: TextIO | None = None, width: int = 30) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._width = width
        self._drawn = 0

    def __call__(self, event: Event) -> None:
        if not self._stream.isatty():
            return
        stage, fraction = "queued", 0.0
        if isinstance(event.body, Progress):
            stage, fraction = event.body.stage, min(1.0, max(0.0, event.body.fraction))
        full = round(fraction * self._width)
        line = f"[{'#' * full}{'.' * (self._width - full)}] {fraction:4.0%} {stage}"
        self._stream.write("\r" + line.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(line)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
