"""Several sounds that came in the frames of one message, told apart again.

Owns: ``parted``.
Must not know: sockets, what the sounds are for.
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_pool.errors import BadMessage
from audio_pool.pool.sent_audio import Frames

__all__ = ["parted"]


def parted(frames: Frames, sizes: Sequence[int]) -> list[Frames]:
    """Return the pieces of each sound, without copying one.

    Args:
        frames: all sounds one after the other, parted wherever their sender liked.
        sizes: bytes of each.

    Raises:
        BadMessage: there are more or fewer bytes.
    """
    given, told = sum(map(len, frames)), sum(sizes)
    if given != told:
        raise BadMessage(f"sounds: {told:,} bytes are announced, {given:,} came in further frames")
    rest = [memoryview(frame) for frame in frames]
    rest.reverse()
    found: list[Frames] = []
    for size in sizes:
        pieces: list[bytes | memoryview] = []
        while size:
            frame = rest.pop()
            if len(frame) > size:
                rest.append(frame[size:])
                frame = frame[:size]
            pieces.append(frame)
            size -= len(frame)
        found.append(pieces)
    return found
