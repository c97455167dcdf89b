"""``LOOPSTART`` and ``LOOPLENGTH`` in FLAC and Ogg Vorbis, as RPG Maker, Godot plug-ins and many players read them.

Owns: the comment blocks of both formats, which libsndfile writes but does not let anybody add to.
Must not know: how sound is encoded; standard library only.

Both formats keep comments as the Vorbis comment header does (xiph.org, "Ogg Vorbis I format specification: comment
field and header specification"): vendor, count, ``NAME=value`` each with its length before it, little-endian.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from audio_pool.audio.id3 import ID3_HEAD_BYTES, id3_bytes
from audio_pool.audio.stamps import ogg_crc
from audio_pool.errors import InvalidAudio

__all__ = ["flac_with", "loop_tags", "read_loop_tags", "write_comment", "write_loop_tags"]

_FLAC_COMMENTS = 4
_FLAC_LAST = 0x80
_OGG_HEAD = struct.Struct("<4sBBqIIIB")
_VORBIS_COMMENTS = b"\x03vorbis"


def write_loop_tags(path: Path, format: str, start: int, length: int) -> None:
    """Add loop points to a FLAC or Ogg Vorbis file that has just been written.

    Args:
        format: ``flac`` or ``ogg``.
        start, length: frames.

    Raises:
        InvalidAudio: not such a file.
    """
    tags = loop_tags(start, length)
    data = path.read_bytes()
    changed = flac_with(data, tags) if format == "flac" else (_ogg_with(data, tags),)
    beside = path.with_name(path.name + ".tags")
    with beside.open("wb") as file:
        file.writelines(changed)
    os.replace(beside, path)


def write_comment(source: Path, target: Path, comment: str) -> None:
    """Write a FLAC file anew, fsynced, with another ``comment``; all else is as it was.

    Raises:
        InvalidAudio: it is none, or has no comments. OSError.
    """
    data = source.read_bytes()
    others = [tag for tag in _tags_of(_flac_comments(data)) if tag[:8].lower() != b"comment="]
    with target.open("xb") as file:
        file.writelines(flac_with(data, [*others, f"comment={comment}".encode()], instead=True))
        file.flush()
        os.fsync(file.fileno())


def loop_tags(start: int, length: int) -> list[bytes]:
    """Return the two comments that say where a loop is, in frames."""
    return [f"LOOPSTART={start}".encode(), f"LOOPLENGTH={length}".encode()]


def read_loop_tags(path: Path, format: str) -> tuple[int, int] | None:
    """Return start and length in frames, or None where a FLAC or Ogg Vorbis file says nothing of a loop."""
    with path.open("rb") as file:
        if format == "flac":
            file.seek(id3_bytes(file.read(ID3_HEAD_BYTES)))
        data = file.read(1 << 18)
    body = _flac_comments(data) if format == "flac" else _ogg_comments(data)
    found = dict(tag.upper().split(b"=", 1) for tag in _tags_of(body) if b"=" in tag)
    try:
        return int(found[b"LOOPSTART"]), int(found[b"LOOPLENGTH"])
    except (KeyError, ValueError):
        return None


def _tags_of(body: bytes) -> list[bytes]:
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
    every = tags if instead else [*_tags_of(body), *tags]
    return body[: 4 + vendor] + struct.pack("<I", len(every)) + b"".join(struct.pack("<I", len(t)) + t for t in every)


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
            return data[: at - 3], len(body).to_bytes(3, "big") + body, data[at + size :]
    raise InvalidAudio("the FLAC file has no comment block to add loop points to")


def _ogg_page(data: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    """Return a page's segment table, its body, and where the next one starts."""
    if data[at : at + 4] != b"OggS" or at + _OGG_HEAD.size > len(data):
        return None
    segments = data[at + 27 : at + 27 + data[at + 26]]
    body = at + 27 + len(segments)
    return segments, data[body : body + sum(segments)], body + sum(segments)


def _first_packet(segments: bytes) -> tuple[int, int]:
    """Return how many segments the first packet of a page has, and its size."""
    count = next((number for number, size in enumerate(segments, 1) if size < 255), len(segments))
    return count, sum(segments[:count])


def _ogg_second(data: bytes) -> tuple[int, bytes, bytes, int]:
    """Return where the page with the comments starts, its segments and body, and where it ends."""
    first = _ogg_page(data, 0)
    second = _ogg_page(data, first[2]) if first is not None else None
    if first is None or second is None or not second[1].startswith(_VORBIS_COMMENTS):
        raise InvalidAudio("the file is no Ogg Vorbis whose second page holds its comments")
    return first[2], *second


def _ogg_comments(data: bytes) -> bytes:
    try:
        _, segments, body, _ = _ogg_second(data)
    except InvalidAudio:
        return b""
    return body[len(_VORBIS_COMMENTS) : _first_packet(segments)[1]]


def _ogg_with(data: bytes, tags: list[bytes]) -> bytes:
    at, segments, body, end = _ogg_second(data)
    count, size = _first_packet(segments)
    packet = _VORBIS_COMMENTS + _with_tags(body[len(_VORBIS_COMMENTS) : size], tags) + b"\x01"
    lacing = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    table = lacing + segments[count:]
    if len(table) > 255:
        raise InvalidAudio("the comments are too long for loop points to be added on their page")
    head = data[at : at + 22] + b"\0\0\0\0" + bytes([len(table)])
    page = bytearray(head + table + packet + body[size:])
    struct.pack_into("<I", page, 22, ogg_crc(page))
    return data[:at] + bytes(page) + data[end:]
