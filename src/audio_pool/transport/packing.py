"""Messages as bytes: msgpack maps with size limits.

Owns: ``pack`` and ``unpack``.
Must not know: what a message means.
"""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
from msgspec import Struct

from audio_pool.errors import BadMessage

__all__ = ["pack", "unpack"]

_LIMITS = {
    "max_str_len": 1 << 16,
    "max_bin_len": 1 << 20,
    "max_array_len": 4096,
    "max_map_len": 256,
    "max_ext_len": 0,
}


_WORKER_LIMITS = {
    "max_str_len": 1 << 22,
    "max_bin_len": 1 << 26,
    "max_array_len": 1 << 20,
    "max_map_len": 1 << 16,
    "max_ext_len": 0,
}


def pack(message: Any) -> bytes:
    """A message (a Struct of this module or a plain mapping) as msgpack bytes."""
    if isinstance(message, Struct):
        return msgspec.msgpack.encode(message)
    return msgpack.packb(message, default=msgspec.to_builtins)  # type: ignore[no-any-return]


def unpack(data: bytes, *, trusted: bool = False) -> dict[str, Any]:
    """The map in ``data``.

    Raises:
        BadMessage: not msgpack, not a map, or beyond the size limits.
    """
    try:
        value = msgpack.unpackb(data, raw=False, **(_WORKER_LIMITS if trusted else _LIMITS))
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
        raise BadMessage(f"not a msgpack map within the size limits: {type(exc).__name__}: {exc}"[:200]) from None
    if not isinstance(value, dict):
        raise BadMessage(f"given a msgpack {type(value).__name__}, allowed is a map")
    return value
