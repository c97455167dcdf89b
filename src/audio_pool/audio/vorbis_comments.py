"""The comments of FLAC, Ogg Vorbis and Ogg Opus files, which libsndfile writes but does not let anybody add to.

Owns: these blocks and pages, read and written anew.
Must not know: what the comments say, how sound is encoded; standard library only.

All three keep comments as the Vorbis comment header does (xiph.org, "Ogg Vorbis I format specification: comment
field and header specification"; RFC 7845, 5.2): vendor, count, ``NAME=value`` each with its length before it,
little-endian.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from audio_pool.audio.id3 import ID3_HEAD_BYTES, id3_bytes
from audio_pool.audio.stamps import ogg_crc
from audio_pool.errors import InvalidAudio

__all__ = ["add_comments", "comments_in_flac", "flac_with", "read_comments"]

_FLAC_COMMENTS = 4
_FLAC_LAST = 0x80
_OGG_HEAD = struct.Struct("<4sBBqIIIB")
_HEADS = {b"\x03vorbis": b"\x01", b"OpusTags": b""}
"""How a packet of comments begins, and what ends it."""
_CONTINUED = 1
_UNFINISHED = -1
"""The position of a page on which no packet ends."""
_MOST_SEGMENTS = 255
_HEAD_BYTES = 1 << 20
"""Of a file: comments lie within it, or are not read."""


def add_comments(path: Path, format: str, tags: list[bytes], *, instead: bool = False) -> None:
    """Add comments to a file that has just been written.

    Args:
        format: ``flac``, ``ogg`` or ``opus``.
        instead: they take the place of those that are there.

    Raises:
        InvalidAudio: not such a file.
    """
    data = path.read_bytes()
    changed = flac_with(data, tags, instead=instead) if format == "flac" else (_ogg_with(data, tags, instead),)
    beside = path.with_name(path.name + ".tags")
    with beside.open("wb") as file:
        file.writelines(changed)
    os.replace(beside, path)


def read_comments(path: Path, format: str) -> list[bytes]:
    """Return a file's comments; none where it has none, or is cut short."""
    with path.open("rb") as file:
        if format == "flac":
            file.seek(id3_bytes(file.read(ID3_HEAD_BYTES)))
        data = file.read(_HEAD_BYTES)
    return comments_in_flac(data) if format == "flac" else _comments_of(_ogg_comments(data))


def comments_in_flac(data: bytes) -> list[bytes]:
    """Return a FLAC file's comments; none where it has none."""
    return _comments_of(_flac_comments(data))


def _comments_of(body: bytes) -> list[bytes]:
    """Return the comments of a comment header; what is cut short is left out."""
    try:
        (vendor,) = struct.unpack_from("<I", body, 0)
        (count,) = struct.unpack_from("<I", body, 4 + vendor)
        at, tags = 8 + vendor, []
        for _ in range(min(count, 1000)):
            (size,) = struct.unpack_from("<I", body, at)
            tags.append(body[at + 4 : at + 4 + size])
            at += 4 + size
    except struct.error:
        return []
    return tags


def _with_tags(body: bytes, tags: list[bytes], *, instead: bool = False) -> bytes:
    """Return a comment header, without anything after it, with more comments, or with these instead."""
    (vendor,) = struct.unpack_from("<I", body, 0)
    every = tags if instead else [*_comments_of(body), *tags]
    return body[: 4 + vendor] + struct.pack("<I", len(every)) + b"".join(struct.pack("<I", len(t)) + t for t in every)


# -------------------------------------------------------------------------------------------------- FLAC


def _flac_blocks(data: bytes | memoryview) -> list[tuple[int, int, int]]:
    """Return kind (with the flag of the last), first byte and size of each metadata block, headers left out."""
    if data[:4] != b"fLaC":
        return []
    at, blocks = 4, []
    while at + 4 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        blocks.append((data[at], at + 4, size))
        at += 4 + size
        if blocks[-1][0] & _FLAC_LAST:
            break
    return blocks


def _flac_comments(data: bytes) -> bytes:
    found = [data[at : at + size] for kind, at, size in _flac_blocks(data) if kind & 0x7F == _FLAC_COMMENTS]
    return found[0] if found else b""


def flac_with(
    data: bytes | memoryview, tags: list[bytes], *, instead: bool = False
) -> tuple[bytes | memoryview, ...]:
    """Add comments to a FLAC file; return the parts of the new one, in order: most of it is the old one's.

    Args:
        instead: they take the place of those that are there.

    Raises:
        InvalidAudio: it has no comments to add to.
    """
    for kind, at, size in _flac_blocks(data):
        if kind & 0x7F == _FLAC_COMMENTS:
            body = _with_tags(bytes(data[at : at + size]), tags, instead=instead)
            if len(body) >= 1 << 24:
                raise InvalidAudio(f"the comments of the FLAC file would be {len(body):,} bytes, allowed are 16 MiB")
            return data[: at - 3], len(body).to_bytes(3, "big") + body, data[at + size :]
    raise InvalidAudio("the FLAC file has no comment block to add to")


# --------------------------------------------------------------------------------------------------- Ogg


def _ogg_page(data: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    """Return a page's segment table, its body, and where the next one starts."""
    if data[at : at + 4] != b"OggS" or at + _OGG_HEAD.size > len(data):
        return None
    segments = data[at + 27 : at + 27 + data[at + 26]]
    body = at + 27 + len(segments)
    return segments, data[body : body + sum(segments)], body + sum(segments)


def _ogg_second(data: bytes) -> tuple[int, bytes, bytes, int, int]:
    """Return where the first page with comments starts, segments and body of all such pages, how many, where they end.

    Raises:
        InvalidAudio: neither Vorbis nor Opus, or cut short.
    """
    first = _ogg_page(data, 0)
    at = start = first[2] if first is not None else 0
    segments, body, pages = b"", b"", 0
    while first is not None and (page := _ogg_page(data, at)) is not None:
        segments, body, pages, at = segments + page[0], body + page[1], pages + 1, page[2]
        if not body.startswith(tuple(_HEADS)):
            break
        if segments and min(segments) < _MOST_SEGMENTS:  # the packet ends here
            return start, segments, body, pages, at
    raise InvalidAudio("the file is no Ogg Vorbis or Opus whose second page begins with its comments")


def _first_packet(segments: bytes) -> tuple[int, int]:
    """Return how many segments the first packet has, and its size."""
    count = next((number for number, size in enumerate(segments, 1) if size < 255), len(segments))
    return count, sum(segments[:count])


def _ogg_comments(data: bytes) -> bytes:
    try:
        _, segments, body, _, _ = _ogg_second(data)
    except InvalidAudio:
        return b""
    head = next(head for head in _HEADS if body.startswith(head))
    return body[len(head) : _first_packet(segments)[1]]


def _ogg_with(data: bytes, tags: list[bytes], instead: bool) -> bytes:
    start, segments, body, pages, end = _ogg_second(data)
    count, size = _first_packet(segments)
    head = next(head for head in _HEADS if body.startswith(head))
    packet = head + _with_tags(body[len(head) : size], tags, instead=instead) + _HEADS[head]
    table = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) + segments[count:]
    written = _paged(data[start : start + _OGG_HEAD.size], table, packet + body[size:])
    return data[:start] + b"".join(written) + _renumbered(data[end:], len(written) - pages)


def _paged(head: bytes, table: bytes, body: bytes) -> list[bytes]:
    """Return pages with these segments; ``head``: that of the page which they replace, for stream and number."""
    _, _, _, _, stream, number, _, _ = _OGG_HEAD.unpack(head)
    pages: list[bytes] = []
    at = 0
    for first in range(0, len(table), _MOST_SEGMENTS):
        part = table[first : first + _MOST_SEGMENTS]
        kind = _CONTINUED if first and table[first - 1] == 255 else 0
        position = 0 if min(part) < 255 else _UNFINISHED
        length = sum(part)
        told = _OGG_HEAD.pack(b"OggS", 0, kind, position, stream, number + len(pages), 0, len(part))
        pages.append(_signed(told + part + body[at : at + length]))
        at += length
    return pages


def _renumbered(data: bytes, by: int) -> bytes:
    """Return the pages that follow, each with its number changed."""
    if not by:
        return data
    pages, at = [], 0
    while (page := _ogg_page(data, at)) is not None:
        one = bytearray(data[at : page[2]])
        struct.pack_into("<I", one, 18, struct.unpack_from("<I", one, 18)[0] + by)
        pages.append(_signed(one))
        at = page[2]
    return b"".join([*pages, data[at:]])


def _signed(page: bytes | bytearray) -> bytes:
    """Return a page with its checksum."""
    one = bytearray(page)
    struct.pack_into("<I", one, 22, 0)
    struct.pack_into("<I", one, 22, ogg_crc(one))
    return bytes(one)
