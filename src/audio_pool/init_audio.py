"""A sound to start from, as a caller's program gives it: named, or sent.

Owns: ``split_sent``, which tells the two apart, and ``read_sent``, the bytes of one that is sent.
Must not know: sockets, how a sound that is sent travels and is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from audio_pool.errors import InvalidRequest

__all__ = ["read_sent", "split_sent"]


def split_sent(fields: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:  # Any: unchecked values
    """Return a request's fields without an ``init_audio`` that is to be sent, and its bytes; b"": there is none.

    Args:
        fields: as callers give them: ``init_audio`` as bytes or a Path is sent, as text it is named.

    Raises:
        InvalidRequest: there are no bytes, or they cannot be read.
    """
    given = fields.get("init_audio")
    if not isinstance(given, bytes | bytearray | memoryview | PurePath):
        return dict(fields), b""
    return {name: value for name, value in fields.items() if name != "init_audio"}, read_sent("init_audio", given)


def read_sent(name: str, given: bytes | bytearray | memoryview | PurePath) -> bytes:
    """Return the bytes of a sound that is sent: these, or those of a file. Raises InvalidRequest, naming the field."""
    if not isinstance(given, bytes | bytearray | memoryview | PurePath):
        raise InvalidRequest(f"{name}: given {given!r:.80}, allowed are the bytes of a sound file, or its Path")
    try:
        sent = Path(given).read_bytes() if isinstance(given, PurePath) else bytes(given)
    except OSError as exc:
        raise InvalidRequest(f"{name}: {str(given)!r} cannot be read: {exc.strerror}") from None
    if not sent:
        raise InvalidRequest(f"{name}: given 0 bytes, allowed is a sound file")
    return sent
