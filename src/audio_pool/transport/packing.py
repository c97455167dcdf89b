"""Messages as bytes: msgpack maps with size limits.

Owns: ``pack`` and ``unpack``.
Must not know: what a message means.

Two libraries for one format: msgspec writes, and reads what comes from our own processes straight into
types; msgpack reads strangers' bytes, because msgspec's decoder has no size limits.
"""

from __future__ import annotations

from collections.abc import Mapping
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
_encode = msgspec.msgpack.Encoder().encode


def pack(message: Struct | Mapping[str, Any]) -> bytes:  # any values that msgpack knows
    """Return a message (a Struct, or a mapping of plain values) as msgpack bytes."""
    return _encode(message)


def unpack(data: bytes) -> dict[str, Any]:  # a stranger's: opaque until it is decoded
    """Return the map in ``data``, which may come from anywhere.

    Raises:
        BadMessage: not msgpack, not a map, or beyond the size limits.
    """
    try:
        value = msgpack.unpackb(data, raw=False, **_LIMITS)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
        raise BadMessage(f"not a msgpack map within the size limits: {type(exc).__name__}: {exc}"[:200]) from None
    if not isinstance(value, dict):
        raise BadMessage(f"given a msgpack {type(value).__name__}, allowed is a map")
    return value
