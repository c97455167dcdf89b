"""An ID3v2 tag before a file's own beginning: MP3s have one, and signed FLAC files.

Owns: how long it is.
Must not know: what is in it; standard library only.
"""

from __future__ import annotations

__all__ = ["ID3_HEAD_BYTES", "id3_bytes"]

ID3_HEAD_BYTES = 10
_FOOTER = 0x10


def id3_bytes(head: bytes) -> int:
    """Return how long the ID3v2 tag is that a file begins with, 0 where it begins with none.

    Args:
        head: its first ten bytes, or more.
    """
    if head[:3] != b"ID3" or len(head) < ID3_HEAD_BYTES:
        return 0
    size = 0
    for byte in head[6:ID3_HEAD_BYTES]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return ID3_HEAD_BYTES + size + (ID3_HEAD_BYTES if head[5] & _FOOTER else 0)
