"""Files that callers name, read where the sound is made.

Owns: what such a file must be to be read.
Must not know: who named it, what it is for.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from audio_pool.engines import Audio
from audio_pool.errors import InvalidAudio, NotFound
from audio_pool.roots import Roots, file_of

__all__ = ["Given", "read_given", "read_input"]


class Given(Struct, frozen=True, kw_only=True):
    """A whole file that a caller gave."""

    audio: Audio
    """float32 [C, T]."""
    facts: dict[str, Any]  # opaque: as audio/codec.py tells them of any file
    sha256: str
    """Of the file, in hex."""


def read_input(
    path: str, roots: Roots, field: str, longest_s: float, *, sha256: str | None = None, alone: bool = False
) -> tuple[Audio, int]:
    """Read a file that a caller named: float32 [C, T] and its sample rate in Hz.

    Args:
        longest_s: what it may decode to.
        alone: the field names one file, which errors need not repeat: it may lie where a sound that was sent is kept.
        sha256: of the bytes that it must have: those that the caller was allowed to name, and the recipe stands for.

    Raises:
        PathNotAllowed, NotFound, InvalidAudio.
    """
    from audio_pool.audio import codec  # only here: a worker may do without soundfile

    with _opened(path, roots, field, alone) as (handle, place):
        if sha256 is not None and _sha256(handle) != sha256:
            raise InvalidAudio(f"{field}: {path!r} has changed since it was asked for")
        return codec.read(place, codec.InputBound(seconds=longest_s))


def read_given(path: str, roots: Roots, field: str, longest_s: float, *, alone: bool = False) -> Given:
    """Read a file that a caller gave, and what its header says; arguments and errors as those of ``read_input``."""
    from audio_pool.audio import codec

    with _opened(path, roots, field, alone) as (handle, place):
        audio, _ = codec.read(place, codec.InputBound(seconds=longest_s))
        return Given(audio=audio, facts=codec.inspect(place), sha256=_sha256(handle))


@contextlib.contextmanager
def _opened(path: str, roots: Roots, field: str, alone: bool) -> Iterator[tuple[int, Path]]:
    """Give a caller's file, open, and a path by which it is read; errors name it as the caller did."""
    try:
        with roots.opened(field, path) as handle:
            place = file_of(handle)
            try:
                yield handle, place
            except (NotFound, InvalidAudio) as exc:
                raise type(exc)(exc.message.replace(str(place), field if alone else path), hint=exc.hint) from None
    except OSError as exc:
        raise NotFound(f"{field}: {path!r} cannot be read: {exc.strerror}") from None


def _sha256(handle: int) -> str:
    with open(handle, "rb", closefd=False) as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
