"""A progress bar for requests in flight.

Owns: how an event looks on a terminal.
Must not know: where events come from.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TextIO

from audio_pool.results import Accepted, Chunk, Event, Progress

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
        stage, fraction = _shown(event.body)
        full = round(fraction * self._width)
        line = f"[{'#' * full}{'.' * (self._width - full)}] {fraction:4.0%} {stage}"
        self._stream.write("\r" + line.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(line)

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed in its place; the next event draws it again."""
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()
            self._drawn = 0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()


def _shown(body: Accepted | Progress | Chunk) -> tuple[str, float]:
    """Return what is being done, and how much of it is done, 0..1."""
    match body:
        case Progress(stage="loading", note=str(note)):
            return f"waiting: {note[:60]}", 0.0
        case Progress(stage=stage, fraction=fraction):
            return stage, min(1.0, max(0.0, fraction))
        case Chunk():
            return "sent", min(1.0, body.number / (body.number + 1))
        case Accepted(joined=True):
            return "queued, with an identical request", 0.0
        case Accepted(queue_position=ahead) if ahead > 0:
            return f"queued, {ahead} before it", 0.0
        case _:
            return "queued", 0.0
