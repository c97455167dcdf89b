"""Messages as bytes: msgpack maps with size limits.

Owns: ``pack`` and ``unpack``, and texts that can be sent.
Must not know: what a message means.

Two libraries for one format: msgspec writes, and reads what comes from our own processes straight into
types; msgpack reads strangers' bytes, because msgspec's decoder has no size limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgpack
import msgspec
from msgspec import Struct

from audio_pool.errors import BadMessage

__all__ = ["encodable", "pack", "unpack"]

_LIMITS = {
    "max_str_len": 1 << 16,
    "max_bin_len": 1 << 20,
    "max_array_len": 4096,
    "max_map_len": 256,
    "max_ext_len": 0,
}
_encode = msgspec.msgpack.Encoder().encode


_SURROGATES = re.compile("[\ud800-\udfff]")


def pack(message: Struct | Mapping[str, Any]) -> bytes:  # any values that msgpack knows
    """Return a message (a Struct, or a mapping of plain values) as msgpack bytes.

    What UTF-8 cannot carry (half a surrogate pair, as file names and foreign errors have) becomes "?": a text
    is never the reason why nothing is said.
    """
    try:
        return _encode(message)
    except UnicodeEncodeError:
        return _encode(encodable(msgspec.to_builtins(message, builtin_types=(bytes, bytearray, memoryview))))


def encodable(value: Any) -> Any:  # any values that msgpack knows, and the same again
    """Return plain values with every text encodable as UTF-8."""
    if isinstance(value, str):
        return _SURROGATES.sub("?", value)
    if isinstance(value, Mapping):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encodable(item) for item in value]
    return value


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
