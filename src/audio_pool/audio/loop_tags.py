"""``LOOPSTART`` and ``LOOPLENGTH`` in FLAC and Ogg Vorbis, as RPG Maker, Godot plug-ins and many players read them.

Owns: these two comments.
Must not know: how a file holds comments (vorbis_comments.py), how sound is encoded.
"""

from __future__ import annotations

from pathlib import Path

from audio_pool.audio.vorbis_comments import add_comments, read_comments

__all__ = ["loop_tags", "read_loop_tags", "write_loop_tags"]


def write_loop_tags(path: Path, format: str, start: int, length: int) -> None:
    """Add loop points to a FLAC or Ogg Vorbis file that has just been written.

    Args:
        format: ``flac`` or ``ogg``.
        start, length: frames.

    Raises:
        InvalidAudio: not such a file.
    """
    add_comments(path, format, loop_tags(start, length))


def loop_tags(start: int, length: int) -> list[bytes]:
    """Return the two comments that say where a loop is, in frames."""
    return [f"LOOPSTART={start}".encode(), f"LOOPLENGTH={length}".encode()]


def read_loop_tags(path: Path, format: str) -> tuple[int, int] | None:
    """Return start and length in frames, or None where a FLAC or Ogg Vorbis file says nothing of a loop."""
    found = dict(tag.upper().split(b"=", 1) for tag in read_comments(path, format) if b"=" in tag)
    try:
        return int(found[b"LOOPSTART"]), int(found[b"LOOPLENGTH"])
    except (KeyError, ValueError):
        return None
