"""Sounds that come with their requests: files of the pool's own, kept while anybody needs them.

Owns: the directory of those files, how many bytes of them there may be, in all and of one client, who holds which.
Must not know: sockets, what is in them, what they are for.

A file for each request, not one for equal bytes: then nobody's is removed under somebody else's hands. The pool's
private directory goes with the pool, also after a kill (transport/arena.py).
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import structs

from audio_pool.errors import AudioPoolError, Busy, InvalidAudio, StorageError
from audio_pool.types import AudioRequest

__all__ = ["SENT", "Frames", "SentAudio", "named", "opener_of", "was_sent"]

Frames = Sequence[bytes | memoryview]
"""The bytes of one sound, in pieces as they came."""

SENT = "sent:"
"""Begins ``init_audio`` in the journal: a sound that came with its request, by its SHA-256. No path begins so."""
_SHARE = 4
"""One client may have so many times what is left free, as of the queue."""


class _File:
    def __init__(self, client: str, size: int) -> None:
        self.client, self.size = client, size
        self.holders = 1


class SentAudio:
    """The sounds sent with requests. Router's thread only; what ``take`` returns is called on a reading thread."""

    def __init__(self, directory: Path, *, largest: int, most_bytes: int) -> None:
        """
        Args:
            directory: made with the first sound.
            largest: bytes of one sound.
            most_bytes: of all that are there at a time.
        """
        self._directory = directory
        self._largest, self._most_bytes = largest, most_bytes
        self._files: dict[str, _File] = {}
        self._clients: collections.Counter[str] = collections.Counter()
        self._numbers = itertools.count(1)

    def check(self, frames: Frames, *, name: str = "init_audio") -> int:
        """Return the size of a sound that may be sent, as the field ``name``. Raises InvalidAudio."""
        size = sum(len(frame) for frame in frames)
        if not 0 < size <= self._largest:
            raise InvalidAudio(
                f"{name}: {size:,} bytes were sent, allowed are 1 to {self._largest:,}",
                hint="send a shorter or compressed file (FLAC, OGG), or name one that the server can read",
            )
        return size

    def take(self, client: str, frames: Frames, *, name: str = "init_audio") -> tuple[str, Callable[[], int]]:
        """Take a sound in, for one holder; return its path, and what writes it at its first call and opens it.

        Raises:
            InvalidAudio: it is too large. Busy: there are too many.
        """
        size = self.check(frames, name=name)
        free = self._most_bytes - sum(one.size for one in self._files.values())
        share = _SHARE * free if client else free
        if size > free or (self._clients[client] and self._clients[client] + size > share):
            raise Busy(f"{self._most_bytes - free:,} bytes of sent sounds are held; no room", retry_after_ms=1000)
        path = str(self._directory / f"{next(self._numbers)}")
        self._files[path] = _File(client, size)
        self._clients[client] += size
        return path, _Writing(Path(path), frames).open

    def hold(self, path: str | None) -> None:
        """Keep a sound for one more holder; nothing where it is no sent one."""
        if path in self._files:
            self._files[path].holders += 1

    def release(self, path: str | None) -> None:
        """Let a sound go for one holder; the last removes it."""
        file = self._files.get(path or "")
        if file is None or path is None:
            return
        file.holders -= 1
        if not file.holders:
            del self._files[path]
            self._clients[file.client] -= file.size
            with contextlib.suppress(OSError):
                os.unlink(path)


class _Writing:
    """One sound on its way into its file. On reading threads, one after the other."""

    def __init__(self, path: Path, frames: Frames) -> None:
        self._path = path
        self._frames: Frames | None = frames

    def open(self) -> int:
        """Return a descriptor for reading; the first call writes the file."""
        if self._frames is not None:
            try:
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                with open(self._path, "xb", opener=lambda name, flags: os.open(name, flags, 0o400)) as file:
                    file.writelines(self._frames)
            except OSError as exc:
                raise StorageError(f"init_audio: the sound sent finds no room here: {exc.strerror}") from exc
            self._frames = None
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)


def opener_of(frames: Frames) -> Callable[[], int]:
    """Return what opens a sound in memory for reading: for who only wants to know its hash."""

    def open_() -> int:
        handle = os.memfd_create("sent", os.MFD_CLOEXEC)
        try:
            for frame in frames:
                left = memoryview(frame)
                while left:
                    left = left[os.write(handle, left) :]
            os.lseek(handle, 0, os.SEEK_SET)
        except BaseException:
            os.close(handle)
            raise
        return handle

    return open_


def named(request: AudioRequest, sha256: str | AudioPoolError) -> AudioRequest:
    """Return a request as the journal keeps it: by the hash of the sound that came with it, or raise why there is none.
    """
    if isinstance(sha256, AudioPoolError):
        raise sha256
    return structs.replace(request, init_audio=f"{SENT}{sha256}")


def was_sent(request: AudioRequest) -> bool:
    """Return whether a request of the journal starts from a sound that came with it."""
    return request.init_audio is not None and request.init_audio.startswith(SENT)
