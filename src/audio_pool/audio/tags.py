"""The plain tags of a sound file, whatever its container: written beside the comment that they follow from, and read.

Owns: which container keeps them how.
Must not know: what they mean (plain_tags.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_pool.audio import id3_frames, riff
from audio_pool.audio.loop_tags import loop_tags
from audio_pool.audio.vorbis_comments import add_comments, comments_in_flac, flac_with, read_comments
from audio_pool.plain_tags import NAMES, plain_tags

__all__ = ["read_comment", "read_tags", "tags_as_comments", "with_comment", "write_comment", "write_tags"]

_VORBIS = ("flac", "ogg", "opus")
_LOOPING = ("flac", "ogg")
_REWRITTEN = frozenset(("COMMENT", *NAMES))
_LOOP_NAMES = frozenset(("LOOPSTART", "LOOPLENGTH"))


def write_tags(path: Path, format: str, frames: int, rate: int, comment: str, loop: bool) -> None:
    """Add to a file that has just been written what its comment tells in plain words, and where its loop is.

    Raises:
        InvalidAudio: not such a file.
    """
    if format == "wav":
        riff.append_chunks(path, frames, rate, comment, loop)
    elif format == "mp3":
        if comment:
            id3_frames.add_tags(path, comment, plain_tags(comment))
    elif format in _VORBIS:
        added = tags_as_comments(comment, frames if loop and format in _LOOPING else None)
        if comment and format != "flac":  # which has it already
            added.insert(0, f"COMMENT={comment}".encode())
        if added:
            add_comments(path, format, added)


def write_comment(source: Path, target: Path, comment: str) -> None:
    """Write a FLAC file anew, fsynced, with another ``comment`` and the tags that follow from it; all else stays.

    Raises:
        InvalidAudio: it is none, or has no comments. OSError.
    """
    data = source.read_bytes()
    others = [tag for tag in comments_in_flac(data) if _name_of(tag) not in _REWRITTEN]
    tags = [f"comment={comment}".encode(), *tags_as_comments(comment, None), *others]
    with target.open("xb") as file:
        file.writelines(flac_with(data, tags, instead=True))
        file.flush()
        os.fsync(file.fileno())


def with_comment(source: Path, target: Path, told: Mapping[str, Any], frames: int, rate: int) -> None:
    """Write a file of ours anew with what another one says: its comment, its tags, its loop.

    Args:
        told: what ``codec.inspect`` says of the other one, which has this one's format.
        frames, rate: of the sound.

    Raises:
        InvalidAudio: not such a file. OSError.
    """
    comment, format_, loop = told["comment"], told["format"], told["loop"] is not None
    if format_ == "flac":
        write_comment(source, target, comment)
        return
    target.write_bytes(riff.without_told(source) if format_ == "wav" else source.read_bytes())
    if format_ == "wav":
        riff.append_chunks(target, frames, rate, comment, loop)
    elif format_ == "mp3":
        id3_frames.add_tags(target, comment, plain_tags(comment), instead=True)
    elif format_ in _VORBIS:
        others = [tag for tag in read_comments(source, format_) if _name_of(tag) not in _REWRITTEN | _LOOP_NAMES]
        tags = tags_as_comments(comment, frames if loop and format_ in _LOOPING else None)
        first = [f"COMMENT={comment}".encode()] if comment else []
        add_comments(target, format_, [*others, *first, *tags], instead=True)


def _name_of(tag: bytes) -> str:
    return tag.partition(b"=")[0].decode(errors="replace").upper()


def tags_as_comments(comment: str, loop_frames: int | None) -> list[bytes]:
    """Return the plain tags, and a loop's points, as Vorbis comments."""
    tags = [f"{name}={value}".encode() for name, value in plain_tags(comment).items()]
    return tags if loop_frames is None else [*tags, *loop_tags(0, loop_frames)]


def read_comment(path: Path, format: str) -> str:
    """Return the comment of a file as libsndfile does not: a long one in Ogg, and under ffmpeg's names for it."""
    if format == "mp3":
        return id3_frames.read_tags(path).get("COMMENT", "")
    tags = read_comments(path, format) if format in _VORBIS else []
    found = {_name_of(tag): tag.partition(b"=")[2] for tag in reversed(tags)}
    return (found.get("COMMENT") or found.get("DESCRIPTION") or b"").decode(errors="replace")


def read_tags(path: Path, format: str) -> dict[str, str]:
    """Return the plain tags that a file has, ours or another program's; none of what has no such tags."""
    if format == "mp3":
        found = id3_frames.read_tags(path)
    elif format in _VORBIS:
        pairs = (tag.decode(errors="replace").partition("=") for tag in read_comments(path, format))
        found = {}
        for name, _, value in pairs:
            found.setdefault(name.upper(), value)
    else:
        found = {}
        if format == "wav":
            with path.open("rb") as file:
                for chunk, body in riff.chunks(file):
                    if chunk == b"LIST":
                        found = {**riff.info_of(body), **found}
    return {name: found[name] for name in NAMES if found.get(name)}
