"""A sound to start from, as a caller's program gives it: named, or sent.

Owns: ``split_sent``, which tells the two apart.
Must not know: sockets, how a sound that is sent travels and is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from audio_pool.errors import InvalidRequest

__all__ = ["split_sent"]


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
    try:
        sent = Path(given).read_bytes() if isinstance(given, PurePath) else bytes(given)
    except OSError as exc:
        raise InvalidRequest(f"init_audio: {str(given)!r} cannot be read: {exc.strerror}") from None
    if not sent:
        raise InvalidRequest("init_audio: given 0 bytes, allowed is a sound file")
    return {name: value for name, value in fields.items() if name != "init_audio"}, sent
