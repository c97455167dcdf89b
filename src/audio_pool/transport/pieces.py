"""Large messages in pieces, so that none keeps a socket, or who reads it, for long.

Owns: how a message of several frames is parted, and put together again.
Must not know: sockets, what the message says.

A message that is small goes as it is, behind a frame ``whole``. Of a larger one every piece is a message of two frames:
a Piece, the first with the sizes of what comes, and up to 1 MiB of all frames' bytes one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import BadMessage
from audio_pool.transport.compression import Codec, Encoded, decoded, encoded

__all__ = ["PIECE_BYTES", "Assembly", "Parting"]

PIECE_BYTES = 1 << 20
_MOST_FRAMES = 4096
_WHOLE = b"w"
"""Not empty: that would look like the delimiter of a client's message."""
_numbers = itertools.count(1)


class _Piece(Struct, frozen=True, array_like=True):
    """What a piece says of itself."""

    message: Annotated[int, Meta(ge=1)]
    number: Annotated[int, Meta(ge=0)]
    frames: Annotated[list[Encoded], Meta(max_length=_MOST_FRAMES)] = []
    """Of the whole message; the first piece has them."""


_PACK = msgspec.msgpack.Encoder().encode
_READ: msgspec.msgpack.Decoder[_Piece] = msgspec.msgpack.Decoder(_Piece)


class Parting:
    """One end's way to part messages."""

    def __init__(self, codec: Codec = "") -> None:
        """``codec``: that pays on this link."""
        self._codec = codec

    def parted(self, frames: Sequence[bytes | memoryview]) -> Iterator[list[bytes | memoryview]]:
        """Yield what is to be sent for a message, one after the other."""
        if sum(memoryview(frame).nbytes for frame in frames) <= PIECE_BYTES:
            yield [_WHOLE, *frames]
            return
        parts = list(encoded(frames, self._codec))
        message, told = next(_numbers), [how for how, _ in parts]
        left = [memoryview(data) for _, data in parts]
        for number in itertools.count():
            piece: list[memoryview] = []
            room = PIECE_BYTES
            while left and room:
                piece.append(left[0][:room])
                room -= len(piece[-1])
                left[0] = left[0][len(piece[-1]) :]
                if not left[0]:
                    left.pop(0)
            data = piece[0] if len(piece) == 1 else b"".join(piece)
            yield [_PACK(_Piece(message, number, told if number == 0 else [])), data]
            if not left:
                return


class _Coming:
    """A message of which pieces are missing."""

    def __init__(self, piece: _Piece) -> None:
        self.message = piece.message
        self.number = 0
        self.told = piece.frames
        self.data = bytearray(sum(one.stored for one in piece.frames))
        self.filled = 0


class Assembly:
    """Puts together what one sender sends; its pieces come in order, and one message after the other."""

    def __init__(self, most_bytes: int) -> None:
        """``most_bytes``: of one message, before and after it is decoded."""
        self._most_bytes = most_bytes
        self._coming: _Coming | None = None

    @staticmethod
    def is_whole(frames: Sequence[bytes | memoryview]) -> bool:
        """Return True for what is a message by itself."""
        return bool(frames) and frames[0] == _WHOLE

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are kept for a message that is not whole yet."""
        return 0 if self._coming is None else len(self._coming.data)

    def take(self, frames: Sequence[bytes | memoryview]) -> list[bytes | memoryview] | None:
        """Take what came; return the message that it completes, None while there is more to come.

        Raises:
            BadMessage: it is not what ``Parting`` makes.
        """
        if not frames:
            raise BadMessage("a message without a frame")
        if frames[0] == _WHOLE:
            if self._coming is not None:
                raise BadMessage("a message came before the one before was whole")
            return list(frames[1:])
        if len(frames) != 2:
            raise BadMessage(f"a piece of {len(frames)} frames, expected 2")
        try:
            piece = _READ.decode(frames[0])
        except msgspec.DecodeError as exc:
            raise BadMessage(f"no piece of a message: {exc}") from None
        coming = self._begun(piece)
        data = memoryview(frames[1])
        if not data or len(data) > min(PIECE_BYTES, len(coming.data) - coming.filled):
            raise BadMessage(f"a piece of {len(data):,} bytes")
        coming.data[coming.filled : coming.filled + len(data)] = data
        coming.filled += len(data)
        coming.number += 1
        if coming.filled < len(coming.data):
            return None
        self._coming = None
        return _whole(coming)

    def _begun(self, piece: _Piece) -> _Coming:
        """Return the message that a piece belongs to. Raises BadMessage."""
        coming = self._coming
        if coming is None:
            if piece.number or not piece.frames:
                raise BadMessage(f"piece {piece.number} of a message that has not begun")
            for size in (sum(one.stored for one in piece.frames), sum(one.size for one in piece.frames)):
                if size > self._most_bytes or any(one.stored < 0 or one.size < 0 for one in piece.frames):
                    raise BadMessage(f"a message of {size:,} bytes, allowed are {self._most_bytes:,}")
            coming = self._coming = _Coming(piece)
        elif (piece.message, piece.number) != (coming.message, coming.number):
            raise BadMessage(f"piece {piece.number} of message {piece.message}, where {coming.number} was due")
        return coming


def _whole(coming: _Coming) -> list[bytes | memoryview]:
    frames, place, data = [], 0, memoryview(coming.data)
    for one in coming.told:
        frames.append(decoded(one, data[place : place + one.stored]))
        place += one.stored
    return frames
