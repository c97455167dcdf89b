"""Messages as bytes: msgpack maps with size limits.

Owns: ``pack`` and ``unpack``, texts that can be sent, the name of a request in a message that cannot be taken.
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

__all__ = ["encodable", "pack", "request_id_in", "unpack"]

_LIMITS = {
    "max_str_len": 1 << 16,
    "max_bin_len": 1 << 20,
    "max_array_len": 4096,
    "max_map_len": 256,
    "max_ext_len": 0,
}
_MOST_KEYS = 1024
"""Keys that are looked at in search of ``request_id``."""
_LONGEST_ID = 128
_ID_KEYS = frozenset(head + b"request_id" for head in (b"\xaa", b"\xd9\x0a", b"\xda\x00\x0a", b"\xdb\x00\x00\x00\x0a"))
"""The key as each of msgpack's kinds of string."""
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


def request_id_in(data: bytes) -> str:
    """Return the ``request_id`` of a message, also of one that is refused for what else is in it.

    Reads the outermost map key by key and steps over everything else, building nothing of it. The last of several
    counts, as for ``unpack``; what comes behind a place that is not msgpack is not found.

    Returns:
        "" where there is none, or none that is a string of at most 128 characters.
    """
    reader = msgpack.Unpacker(max_buffer_size=len(data), strict_map_key=False)
    found = ""
    try:
        reader.feed(data)
        for _ in range(min(_MOST_KEYS, reader.read_map_header())):
            start = reader.tell()
            reader.skip()
            middle = reader.tell()
            reader.skip()
            if data[start:middle] in _ID_KEYS and reader.tell() - middle <= 4 * _LONGEST_ID + 5:
                value = msgpack.unpackb(data[middle : reader.tell()], raw=False, strict_map_key=False)
                found = value if isinstance(value, str) and len(value) <= _LONGEST_ID else ""
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        pass  # found so far is the best that can be said
    return found
