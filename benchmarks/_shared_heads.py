"""Servers of one cache: a PostgreSQL database, a folder of sounds, and an ``audio-pool serve`` for each head."""

from __future__ import annotations

from pathlib import Path

from benchmarks.routing import _Server

__all__ = ["Server", "configured", "directory"]

Server = _Server

_CONFIG = """
[cache]
encoder = "off"
{store}
[[workers]]
name = "w"
engines = ["procedural"]
roles = ["generate", "master"]
"""


def directory(place: Path, name: str) -> Path:
    """Make a head's own folder, whose sounds are everybody's; return it."""
    own = place / name
    (own / "cache").mkdir(parents=True)
    for folder in ("audio", "renditions"):
        shared = place / "files" / folder
        shared.mkdir(parents=True, exist_ok=True)
        (own / "cache" / folder).symlink_to(shared)
    return own


def configured(url: str, more: str = "") -> str:
    """Return a head's configuration; without a database it is one machine's.

    Args:
        more: lines of ``[cache]`` besides.
    """
    store = f'store = "{url}"\nstore_connect_s = 1.0\nstore_timeout_s = 5.0\n' if url else ""
    return _CONFIG.format(store=store + more)
