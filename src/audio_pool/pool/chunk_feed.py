"""The parts of one sound on their way to one caller: as they are made, and from the file what was not taken then.

Owns: ChunkFeed (which part comes next, and its number), and how a caller who is behind catches up.
Must not know: the scheduler, sockets, workers, what a sound is made of.

A part leaves at once where the caller has room for it. Where it has none, or came later than the first part, nothing
is kept for it: the file will hold the very same samples, and is read for it at the pace that it takes them. So a slow
caller holds up nobody, and costs no memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from audio_pool.audio.stored_samples import StoredSamples, opened
from audio_pool.errors import AudioPoolError
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.turns import Turns
from audio_pool.results import SAMPLE_ENCODINGS, Chunk, SoundMetadata

__all__ = ["CatchingUp", "ChunkFeed"]

log = logging.getLogger(__name__)

_AGAIN_S = 0.01
"""Between two looks at whether a slow caller has room."""
_PATIENCE_S = 30.0
"""How long one may take nothing: then it gets the final reply without the rest."""
_READ_CHUNKS = 4
"""Parts, of a second each, that are read at a time."""


class ChunkFeed:
    """One request's parts. Router's thread only."""

    def __init__(self, sink: ReplySink) -> None:
        self.next = 0
        """The first frame that has not been sent."""
        self._number = 0
        self._sink = sink

    def take(self, chunk: Chunk) -> bool:
        """Send a part if it is the next one and there is room for it; return whether it was sent."""
        if chunk.start != self.next:
            return False
        if not self._sink.take_chunk(msgspec.structs.replace(chunk, number=self._number + 1)):
            return False
        self._number += 1
        self.next += chunk.frames
        return True


class CatchingUp:
    """Brings callers to the end of their sound before they get the final reply. Router's thread only."""

    def __init__(
        self, files: Turns, post: Callable[[Callable[[], None]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            files: where files are read, by turns of clients.
            post: has something done on the router's thread.
        """
        self.call_at: Callable[[float, Callable[[], None]], None] = lambda when, call: post(call)
        """Has something done on the router's thread at a time."""
        self._files = files
        self._post = post
        self._clock = clock
        self._going: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number in self._going

    def stop(self, number: int) -> None:
        """Send a request nothing more."""
        self._going.discard(number)

    def finish(self, number: int, feed: ChunkFeed, reply: Reply, client: str, then: Callable[[Reply], None]) -> None:
        """Send what a request's caller has not got of its sound, then the final reply.

        Args:
            client: whose turn its file is read in.
        """
        metadata = reply.metadata
        if metadata is None or reply.path is None or feed.next >= _frames_of(metadata):
            then(reply)
            return
        self._going.add(number)
        _Rest(self, number, feed, reply, metadata, client, then).go_on()


class _Rest:
    """What one caller is still to get, from the file."""

    def __init__(
        self,
        owner: CatchingUp,
        number: int,
        feed: ChunkFeed,
        reply: Reply,
        metadata: SoundMetadata,
        client: str,
        then: Callable[[Reply], None],
    ) -> None:
        self._owner, self._number, self._feed = owner, number, feed
        self._reply, self._metadata, self._client, self._then = reply, metadata, client, then
        self._file: StoredSamples | None = None
        self._read: list[Chunk] = []
        self._moved_at = owner._clock()

    def go_on(self) -> None:
        """Send what was read as far as there is room, and see that more is."""
        owner = self._owner
        now = owner._clock()
        if self._number not in owner:
            self._end(None)
            return
        while self._read and self._feed.take(self._read[0]):
            self._read.pop(0)
            self._moved_at = now
        if self._read:
            if now - self._moved_at > _PATIENCE_S:
                log.info("a slow caller gets its reply without the rest of its stream")
                self._end(self._reply)
            else:
                owner.call_at(now + _AGAIN_S, self.go_on)
        elif self._file is not None and self._feed.next >= self._file.frames:
            self._end(self._reply)
        else:
            try:
                owner._files.submit(self._client, self._read_on, bounded=False)
            except RuntimeError:  # the pool has stopped
                self._end(self._reply)

    def _read_on(self) -> None:
        """Read the next parts; on the files' thread."""
        try:
            if self._file is None:
                self._file = opened(Path(self._reply.path or ""), self._metadata.sample_rate)
            file, start = self._file, self._feed.next
            for _ in range(_READ_CHUNKS):
                data = file.read(start, file.sample_rate)
                frames = len(data) // file.frame_bytes
                if not frames:
                    break
                self._read.append(
                    Chunk(
                        number=0,
                        start=start,
                        frames=frames,
                        sample_rate=file.sample_rate,
                        channels=file.channels,
                        encoding=SAMPLE_ENCODINGS[file.bit_depth],
                        data=data,
                    )
                )
                start += frames
        except (OSError, AudioPoolError) as exc:
            log.warning("the rest of a stream cannot be read: %s", exc)
            self._owner._post(lambda: self._end(self._reply))
        else:
            self._owner._post(self.go_on)

    def _end(self, reply: Reply | None) -> None:
        self._owner.stop(self._number)
        if self._file is not None:
            self._file.close()
            self._file = None
        if reply is not None:
            self._then(reply)


def _frames_of(metadata: SoundMetadata) -> int:
    return round(metadata.duration_s * metadata.sample_rate)
