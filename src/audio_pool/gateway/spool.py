"""Bytes on their way from a sound that is made to a client that takes them at its own pace.

Owns: Spool: a little of it in memory, the rest in a file without a name.
Must not know: what the bytes are, where they come from or go.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile

__all__ = ["Spool"]

_IN_MEMORY = 1 << 20
"""Bytes; more than a client that reads ever lets wait."""
_AT_ONCE = 256 << 10


class Spool:
    """Written by one task, read by another, of one event loop."""

    def __init__(self) -> None:
        # a temporary file has a name nowhere, and goes with its descriptor
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._written = self._read = 0
        self._ended = False
        self._more = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Add bytes. Raises OSError: the disk is full."""
        if self._read == self._written:  # what has been read need not be kept
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._more.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._more.set()

    async def get(self) -> bytes:
        """Return the next bytes; b"": that was all."""
        while self._read == self._written and not self._ended:
            self._more.clear()
            await self._more.wait()
        self._file.seek(self._read)
        data = self._file.read(min(_AT_ONCE, self._written - self._read))
        self._read += len(data)
        return data

    def close(self) -> None:
        """Give everything back."""
        with contextlib.suppress(OSError):  # a full disk is met once more: what lay before it goes all the same
            self._file.close()
