"""The chunks of a WAV file that say what it is: loop points, tags, recipe.

Owns: ``smpl``, ``LIST``/``INFO``, ``_PMX`` (XMP, in which IPTC has its words) and ``apRc``, written and read.
Must not know: how sound is encoded; standard library only.

They lie behind the samples: libsndfile loses comments of 2,048 bytes and more, and Godot loops any file that has a
``smpl``, so only loops get one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from audio_pool.plain_tags import AIGC, LICENCE, SOFTWARE, SOURCE_TYPE, plain_tags

__all__ = ["append_chunks", "check_size", "chunks", "info_of", "recipe_in", "without_told"]

RECIPE_CHUNK = b"apRc"
COMMENT = "COMMENT"
_INFO = {b"ICMT": COMMENT, b"ISFT": SOFTWARE, b"ICOP": LICENCE, b"IKEY": SOURCE_TYPE, b"AIGC": AIGC}
_SOURCE = b"ISRC"
_MOST_CHUNKS = 1024
_LONGEST_CHUNK = 1 << 20
"""Of those behind a WAV's data, which may come from anywhere."""
_STREAMED = 0xFFFF_FF00
"""RIFF sizes from here on are placeholders of programs that streamed the file."""
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType={term}/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def append_chunks(path: Path, frames: int, rate: int, comment: str, loop: bool) -> None:
    """Append all that is told of a sound after everything libsndfile wrote, and correct the RIFF size."""
    parts = b""
    if loop:
        # one forward loop over the whole file; period in ns, MIDI unity note 60, endless
        header = struct.pack("<9I", 0, 0, round(1e9 / rate), 60, 0, 0, 0, 1, 0)
        parts += _chunk(b"smpl", header + struct.pack("<6I", 0, 0, 0, frames - 1, 0, 0))
    if comment:
        parts += _told(comment)
    parts += _chunk(RECIPE_CHUNK, comment.encode())
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)  # even: libsndfile pads what it writes
        file.write(parts)
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))


# xml.sax.saxutils would bring ssl and http.client into every process
_QUOTED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def without_told(path: Path) -> bytes:
    """Return a file of ours up to the end of its samples."""
    data = path.read_bytes()
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        at += 8 + size + size % 2
        if name == b"data":
            break
    return data[:at]


def _told(comment: str) -> bytes:
    """Return ``LIST``/``INFO``, which every program shows, and XMP where a word of IPTC is told."""
    tags = plain_tags(comment)
    told = {COMMENT: comment, **tags}
    info = {name: told[tag] for name, tag in _INFO.items() if tag in told}
    if source := _source_of(tags):
        info[_SOURCE] = source
    # texts end with a zero, which counts
    body = b"".join(_chunk(name, text.encode() + b"\0") for name, text in info.items())
    parts = _chunk(b"LIST", b"INFO" + body)
    if term := tags.get(SOURCE_TYPE):
        parts += _chunk(b"_PMX", _XMP.replace("{term}", f'"{term.translate(_QUOTED)}"').encode())
    return parts


def _source_of(tags: Mapping[str, str]) -> str:
    """Return engine and model in the one field that there is for a source."""
    model, revision = tags.get("MODEL", ""), tags.get("MODEL_REVISION", "")
    made_of = f"{model}@{revision}" if model and revision else model
    return " ".join(part for part in (tags.get("ENGINE", ""), f"({made_of})" if made_of else "") if part)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield a RIFF file's first chunks except those whose body is large, as that of ``data`` is."""
    file.seek(12)
    for _ in range(_MOST_CHUNKS):
        if len(head := file.read(8)) < 8:
            return
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data" or size > _LONGEST_CHUNK:
            file.seek(size + size % 2, os.SEEK_CUR)
            continue
        yield name, file.read(size)
        file.seek(size % 2, os.SEEK_CUR)


def recipe_in(path: Path) -> str:
    """Return the recipe's chunk of a WAV file, the first where somebody added another; "" where there is none."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return ""
        found = (body for name, body in chunks(file) if name == RECIPE_CHUNK)
        return next(found, b"").decode(errors="replace")


def info_of(body: bytes) -> dict[str, str]:
    """Return the tags of a ``LIST`` chunk, by our names; of any other list none."""
    if body[:4] != b"INFO":
        return {}
    at, found = 4, {}
    while at + 8 <= len(body):
        name, size = body[at : at + 4], struct.unpack_from("<I", body, at + 4)[0]
        if name in _INFO:
            found[_INFO[name]] = body[at + 8 : at + 8 + size].rstrip(b"\0").decode(errors="replace")
        at += 8 + size + size % 2
    return found


def check_size(path: Path) -> tuple[int, int] | None:
    """Return how many bytes are there and how many there should be, of a truncated WAV; else None."""
    with path.open("rb") as file:
        claimed = struct.unpack("<I", file.read(8)[4:])[0] + 8
    found = path.stat().st_size
    return (found, claimed) if found < claimed < _STREAMED else None
