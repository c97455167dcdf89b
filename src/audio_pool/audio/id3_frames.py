"""ID3v2 tags at the beginning of an MP3 file, to which libsndfile writes a comment and lets nobody add.

Owns: frames of ID3v2.3 and 2.4 (id3.org), read and added: ``COMM``, ``TSSE``, ``TCOP``, ``TXXX``.
Must not know: how sound is encoded; standard library only.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from audio_pool.errors import InvalidAudio
from audio_pool.plain_tags import LICENCE, SOFTWARE

__all__ = ["add_tags", "read_tags"]

_HEAD = struct.Struct(">3sBBB4s")
_FRAME = struct.Struct(">4sI2s")
_NAMED = {SOFTWARE: b"TSSE", LICENCE: b"TCOP"}
"""Frames of their own; the others are ``TXXX``, which any name may stand in."""
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_MOST_BYTES = 1 << 20


def add_tags(path: Path, comment: str, tags: Mapping[str, str], *, instead: bool = False) -> None:
    """Add a comment and tags to a file that has just been written; what an encoder says of itself is kept behind ours.

    Args:
        instead: they take the place of all that are there.

    Raises:
        InvalidAudio: its tag is none that libsndfile writes.
    """
    data = path.read_bytes()
    version, frames, rest = 3, [], data
    if data[:3] == b"ID3":
        _, version, _, flags, size = _HEAD.unpack_from(data)
        if flags or version not in (3, 4):
            raise InvalidAudio(f"the MP3 file has an ID3 tag of version 2.{version} with flags {flags:#x}")
        end = _HEAD.size + _plain(size)
        frames, rest = [] if instead else list(_frames(data[_HEAD.size : end], version)), data[end:]
    told = dict(tags)
    encoder = next((_text(body) for name, body in frames if name == b"TSSE"), "")
    if encoder and SOFTWARE in told:
        told[SOFTWARE] = f"{told[SOFTWARE]}; {encoder}"
    ours = {frame for name, frame in _NAMED.items() if name in told}
    kept = [(name, body) for name, body in frames if name not in ours]
    kept += [_comment(comment)] if comment else []
    kept += [_frame_of(name, value) for name, value in told.items()]
    body = b"".join(_FRAME.pack(name, _size(len(one), version), b"\0\0") + one for name, one in kept)
    head = _HEAD.pack(b"ID3", version, 0, 0, _syncsafe(len(body)))
    beside = path.with_name(path.name + ".tags")
    with beside.open("wb") as file:
        file.writelines((head, body, rest))
    os.replace(beside, path)


def read_tags(path: Path) -> dict[str, str]:
    """Return ``TXXX`` frames by their names, ``TSSE`` and ``TCOP`` by ours; none where there is no such tag."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:3] != b"ID3":
            return {}
        _, version, _, flags, size = _HEAD.unpack(head)
        if flags or version not in (3, 4):
            return {}
        data = file.read(min(_plain(size), _MOST_BYTES))
    found: dict[str, str] = {}
    ours = {frame: name for name, frame in _NAMED.items()}
    for name, body in _frames(data, version):
        text = _text(body)
        if name == b"TXXX":
            key, _, value = text.partition("\0")
            found.setdefault(key.upper(), value)
        elif name in ours:
            found.setdefault(ours[name], text)
    return found


def _frames(data: bytes, version: int) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + _FRAME.size <= len(data) and data[at] != 0:  # zeros: padding
        name, size, _ = _FRAME.unpack_from(data, at)
        length = size if version == 3 else _plain(struct.pack(">I", size))
        yield name, data[at + _FRAME.size : at + _FRAME.size + length]
        at += _FRAME.size + length


def _frame_of(name: str, value: str) -> tuple[bytes, bytes]:
    own = _NAMED.get(name)
    text = value if own is not None else f"{name}\0{value}"
    if text.isascii():
        return own or b"TXXX", b"\0" + text.encode("ascii")
    # each part of a frame begins with its own byte-order mark
    parts = b"\0\0".join(b"\xff\xfe" + part.encode("utf-16-le") for part in text.split("\0"))
    return own or b"TXXX", b"\x01" + parts


def _comment(text: str) -> tuple[bytes, bytes]:
    """Return the comment's frame: in English, without a description."""
    if text.isascii():
        return b"COMM", b"\0eng\0" + text.encode("ascii")
    return b"COMM", b"\x01eng\xff\xfe\0\0\xff\xfe" + text.encode("utf-16-le")


def _text(body: bytes) -> str:
    if not body or body[0] >= len(_ENCODINGS):
        return ""
    text = body[1:].decode(_ENCODINGS[body[0]], errors="replace")
    return text.replace("\ufeff", "").replace("\ufffe", "").rstrip("\0")


def _plain(size: bytes) -> int:
    """Return a size whose bytes have seven bits each."""
    return (size[0] & 127) << 21 | (size[1] & 127) << 14 | (size[2] & 127) << 7 | size[3] & 127


def _syncsafe(size: int) -> bytes:
    if size >= 1 << 28:
        raise InvalidAudio(f"the tags of the MP3 file would be {size:,} bytes, allowed are 256 MiB")
    return bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127))


def _size(length: int, version: int) -> int:
    return length if version == 3 else int.from_bytes(_syncsafe(length), "big")
