"""The parse of a prompt as it is kept beside it, so that comparing with it costs no parsing.

Owns: its form, and whether one that was kept is still today's.
Must not know: where it is kept, how prompts are parsed.
"""

from __future__ import annotations

import msgspec

from audio_pool.prompts.grammar import Chunk
from audio_pool.prompts.normalize import CANONICAL_VERSION, analyse

__all__ = ["Events", "events_of", "packed"]

Events = tuple[tuple[Chunk, ...], ...]
"""As ``normalize.Analysis.events``."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, Events]).decode


def packed(prompt: str) -> bytes:
    """Return a prompt's parse as it is to be kept: about a hundred bytes."""
    return _encode((CANONICAL_VERSION, analyse(prompt).events))


def events_of(prompt: str, parse: bytes = b"") -> Events:
    """Return a prompt's events, out of what was kept of it where that is today's and whole."""
    if parse:
        try:
            version, events = _decode(parse)
        except (msgspec.DecodeError, UnicodeDecodeError):  # a damaged page may give anything
            version, events = 0, ()
        if version == CANONICAL_VERSION:
            return events
    return analyse(prompt).events
