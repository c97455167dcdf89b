"""A sound that arrives while it is made, for callers that block or await.

Owns: SoundStream: chunks in order, and what is said of one that is missing.
Must not know: who makes the sound, how chunks travel.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from audio_pool.errors import Busy, Disconnected
from audio_pool.results import AudioResult, Chunk, Event

if TYPE_CHECKING:
    from audio_pool.pending import Pending

__all__ = ["SoundStream"]


class SoundStream(Iterator[Chunk], AsyncIterator[Chunk]):
    """The chunks of one sound, for ``for`` and ``async for``, in ``with`` or ``async with``.

    The loop ends when all of the sound has come; what the request came to instead is raised in it.
    """

    def __init__(self, pending: Pending) -> None:
        """``pending``: of a request with ``stream`` and events."""
        self.pending = pending
        self._events = pending.events()
        self._next = 0
        """Frames so far."""

    @property
    def request_id(self) -> str:
        """The request's name everywhere."""
        return self.pending.request_id

    def result(self, timeout_s: float | None = None) -> AudioResult:
        """Return the finished sound, which is there once all chunks have come; wait for it."""
        return self.pending.result(timeout_s)

    def close(self) -> None:
        """Cancel the request, unless it has ended."""
        self.pending.cancel()

    def __next__(self) -> Chunk:
        for event in self._events:
            if (chunk := self._taken(event)) is not None:
                return chunk
        self._check_whole(self.pending.result())
        raise StopIteration

    async def __anext__(self) -> Chunk:
        async for event in self._events:
            if (chunk := self._taken(event)) is not None:
                return chunk
        self._check_whole(await self.pending)
        raise StopAsyncIteration

    def _taken(self, event: Event) -> Chunk | None:
        """Return the next chunk, if the event is one. Raises Disconnected: one before it has been lost."""
        if not isinstance(event.body, Chunk):
            return None
        if event.body.start != self._next:
            self.close()
            raise Disconnected(f"frames {self._next:,} to {event.body.start:,} of the stream were lost on their way")
        self._next += event.body.frames
        return event.body

    def _check_whole(self, result: AudioResult) -> None:
        """Raise Busy where the sound is there and its last chunks are not."""
        metadata = result.metadata
        frames = round(metadata.duration_s * metadata.sample_rate)
        if self._next < frames:
            raise Busy(
                f"{self._next:,} of {frames:,} frames came in chunks: they were taken too slowly",
                hint=f"all of the sound is in {result.path}",
            )

    def __enter__(self) -> SoundStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> SoundStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
