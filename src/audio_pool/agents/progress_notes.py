"""Progress as the protocol wants it: one number that only grows, for one sound or for several.

Owns: how far a sound is at each event.
Must not know: how a note is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from audio_pool.results import Accepted, Chunk, Event, Progress

__all__ = ["ProgressNotes", "Report"]

Report = Callable[[float, float, str], Awaitable[None]]
"""Sends a note: done, of how much, in words."""

_SPANS: dict[str, tuple[float, float]] = {
    "embed": (0.01, 0.02),
    "generate": (0.05, 0.85),
    "score": (0.86, 0.92),
    "master": (0.92, 0.98),
}
"""Where each stage begins and ends within a sound that is done at 1."""
_AGAIN = 0.01
"""Of what is left: how far a stage that begins once more takes it, for the number may not fall."""


class ProgressNotes:
    """The notes of one call.

    Args:
        sounds: made by it.
    """

    def __init__(self, sounds: int, report: Report) -> None:
        self._done = [0.0] * sounds
        self._report = report
        self._said = (-1.0, "")

    async def heard(self, number: int, event: Event) -> None:
        """Tell of an event of the sound with this number, from 0."""
        words, place = _told(event.body)
        await self._tell(number, words, place)

    async def finished(self, number: int) -> None:
        """Tell that a sound is there."""
        self._done[number] = 1.0
        there = sum(1 for one in self._done if one >= 1.0)
        total = len(self._done)
        await self._send("the sound is there" if total == 1 else f"{there} of {total} sounds are there")

    async def _tell(self, number: int, words: str, place: float) -> None:
        before = self._done[number]
        if place <= before:
            if words == self._said[1]:
                return
            place = before + (1.0 - before) * _AGAIN
        self._done[number] = place
        await self._send(words if len(self._done) == 1 else f"sound {number + 1} of {len(self._done)}: {words}")

    async def _send(self, words: str) -> None:
        done = round(sum(self._done), 6)
        if done > self._said[0]:
            self._said = done, words
            await self._report(done, float(len(self._done)), words)


def _told(body: Accepted | Progress | Chunk) -> tuple[str, float]:
    match body:
        case Progress(stage=stage, fraction=fraction):
            begin, end = _SPANS.get(stage, (0.0, 0.0))
            return stage, begin + (end - begin) * min(1.0, max(0.0, fraction))
        case Accepted(joined=True):
            return "waits with an identical request", 0.001
        case Accepted(queue_position=ahead) if ahead > 0:
            return f"waits, {ahead} before it", 0.001
        case _:
            return "is taken", 0.002
