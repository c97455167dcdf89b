"""What answers a request: a kept sound, a rendition of one, a new sound, or what a small call came to.

Owns: these, as data. All of them can be encoded and read back.
Must not know: how a job comes to its answer, how an answer is delivered.
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.results import RenditionReport, SoundMetadata
from audio_pool.tasks import Called, Embedded, Rendered

__all__ = ["CallReply", "HitFile", "RenderedHit", "ReplyValue", "StoredSound"]


class HitFile(Struct, frozen=True, kw_only=True, tag=True):
    """A kept sound that answers a job."""

    entry: int
    master: str
    """Path of the 24-bit master."""
    path: str | None
    """The file as asked for; None: that rendition must be made first."""
    metadata: SoundMetadata
    """Of the master, and why it is a hit."""
    comment: str = ""
    """The recipe for a rendition's file; only where ``path`` is None."""


class RenderedHit(Struct, frozen=True, kw_only=True, tag=True):
    """A hit whose rendition has just been made."""

    hit: HitFile
    path: str
    """The rendition, not kept yet."""
    report: RenditionReport


class StoredSound(Struct, frozen=True, kw_only=True, tag=True):
    """A new sound in its place."""

    path: str
    metadata: SoundMetadata
    candidates: int = 0
    """Under which number the pool keeps those that were not chosen; 0: it keeps none."""


class CallReply(Struct, frozen=True, kw_only=True, tag=True):
    """The answer to an echo or CLAP call, a prompt's vector, or a rendition of a kept sound."""

    called: Called | Embedded | Rendered


ReplyValue = HitFile | RenderedHit | StoredSound | CallReply
