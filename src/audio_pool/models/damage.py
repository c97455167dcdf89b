"""Tells what is wrong with one file of a model, by its first and last bytes.

Owns: ``damage_of``: what stands in a file's place where its content never came (a Git LFS pointer, a web page,
nothing), and what shows that it is cut short or of another kind.
Must not know: which files a model has, what it is for, torch.

Headers only, of files of any size: an engine's start asks this of each file that it is about to read.
"""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

__all__ = ["WEIGHT_SUFFIXES", "damage_of"]

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
_BINARY = (*WEIGHT_SUFFIXES, ".onnx", ".model")
_PICKLES = re.compile(r"(.*\.(pt|pth|ckpt)|(.*_)?(pytorch_model|state_dict)[^/]*\.bin)$")
"""Files of torch's own format. Others end in ``.bin`` too: a voice's raw numbers, an optimiser's."""
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""A zip archive, and the bare pickle of torch before 1.6."""
_POINTER = b"version https://git-lfs"
_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")
_SHOWN = 24
_HEAD = 256
_ZIP_END, _ZIP_TAIL = b"PK\x05\x06", (1 << 16) + 22
"""The last record of a zip archive, and how far from the file's end it can begin."""
_JSON_READ_WHOLE = 8 << 20
"""Bytes up to which a JSON file is parsed: that of a larger one (a tokenizer's) is looked at where it begins."""
_LONGEST_HEADER = 100_000_000
"""Bytes, by the format."""


def damage_of(file: Path) -> str | None:
    """Return what is wrong with a file, as the end of a sentence that begins with its name; None where nothing shows.

    Raises:
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    return _stands_in(file, head, size) or _of_its_kind(file, head, size)


def _stands_in(file: Path, head: bytes, size: int) -> str | None:
    """Return what was stored in place of the file's content."""
    if head.startswith(_POINTER):
        whole = re.search(rb"^size (\d+)", head, re.MULTILINE)
        of = f" to {int(whole[1]):,} bytes" if whole else ""
        return f"is a Git LFS pointer{of} that were not fetched: 'git lfs pull' in its repository brings them"
    if file.suffix not in (*_BINARY, ".json"):
        return None
    if not size:
        return "is empty"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGE):
        return f"is a web page, not {file.suffix[1:]}: it begins with {_beginning(head)}"
    return None


def _of_its_kind(file: Path, head: bytes, size: int) -> str | None:
    if file.suffix == ".json" and file.name not in ("vocab.json", "merges.json"):
        return _json_damage(file, head, size)
    if file.suffix == ".safetensors":
        return _safetensors_damage(file, head, size)
    if file.suffix in WEIGHT_SUFFIXES and size < 64:
        return "is too short to hold weights"
    if _PICKLES.match(file.name):
        return _pickle_damage(file, head, size)
    return None


def _beginning(head: bytes) -> str:
    return repr(head[:_SHOWN].decode("utf-8", "replace"))


def _json_damage(file: Path, head: bytes, size: int) -> str | None:
    if size > _JSON_READ_WHOLE:
        begins = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return None if begins in (b"{", b"[") else f"is not JSON: it begins with {_beginning(head)}"
    try:
        json.loads(file.read_bytes())
    except (ValueError, RecursionError) as exc:
        return f"is not JSON: {exc}"
    return None


def _safetensors_damage(file: Path, head: bytes, size: int) -> str | None:
    """Return what is wrong with a safetensors file: 8 bytes of header length, a JSON header, tensors without a gap."""
    if size < 8:
        return "is too short to be safetensors"
    length = struct.unpack("<Q", head[:8])[0]
    if length > size - 8:
        if head[8:9] != b"{":
            return f"is not safetensors: it begins with {_beginning(head)}"
        return f"is cut short: its header says {length:,} bytes and the file has {size:,}"
    if length > _LONGEST_HEADER:  # as safetensors itself refuses; it would be read into memory
        return f"is not safetensors: {length:,} bytes of header, at most {_LONGEST_HEADER:,} are allowed"
    with file.open("rb") as stream:
        stream.seek(8)
        read = stream.read(length)
    try:
        header = json.loads(read)
        end = max(
            (int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError) as exc:
        return f"its header cannot be read: {exc}"
    expected = 8 + length + end
    if expected != size:
        cut = "is cut short: it " if size < expected else ""
        return f"{cut}has {size:,} bytes and its header describes {expected:,}"
    return None


def _pickle_damage(file: Path, head: bytes, size: int) -> str | None:
    if not head.startswith(_PICKLE_STARTS):
        return f"is no checkpoint of torch: it begins with {_beginning(head)}"
    if head.startswith(b"PK"):
        with file.open("rb") as stream:
            stream.seek(max(0, size - _ZIP_TAIL), os.SEEK_SET)
            if _ZIP_END not in stream.read():
                return f"is cut short at {size:,} bytes: the end of its archive is missing"
    return None
