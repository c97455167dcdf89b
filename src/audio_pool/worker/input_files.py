"""Files that callers name, read where the sound is made.

Owns: what such a file must be to be read.
Must not know: who named it, what it is for.
"""

from __future__ import annotations

import hashlib

from audio_pool.engines import Audio
from audio_pool.errors import InvalidAudio, NotFound
from audio_pool.roots import Roots, file_of

__all__ = ["read_input"]


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
    from audio_pool.audio.codec import InputBound

    try:
        with roots.opened(field, path) as handle:
            if sha256 is not None:
                with open(handle, "rb", closefd=False) as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        raise InvalidAudio(f"{field}: {path!r} has changed since it was asked for")
            place = file_of(handle)
            try:
                return codec.read(place, InputBound(seconds=longest_s))
            except (NotFound, InvalidAudio) as exc:
                raise type(exc)(exc.message.replace(str(place), field if alone else path), hint=exc.hint) from None
    except OSError as exc:
        raise NotFound(f"{field}: {path!r} cannot be read: {exc.strerror}") from None
