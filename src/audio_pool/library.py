"""The vocabulary of the library: kept sounds as those see them who look for one, listen, rate and tag.

Owns: SoundSearch, KeptSound and the other answers.
Must not know: who asks, how sounds are found, where they are kept.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from audio_pool.plain_mapping import PlainMapping
from audio_pool.results import Failure, SoundMetadata
from audio_pool.types import (
    MAX_LABELS,
    MAX_PROMPT_CHARS,
    BitDepth,
    BitRate,
    Format,
    Label,
    Lufs,
    Name,
    Quality,
    SampleRate,
    Tag,
)

__all__ = [
    "MAX_BUCKETS",
    "MAX_CHOSEN",
    "MAX_PAGE",
    "WRITING_TIMEOUT_S",
    "EntryId",
    "EntryIds",
    "FileForm",
    "KeptSound",
    "KeptSounds",
    "NotChanged",
    "PictureReport",
    "Rating",
    "SoundFile",
    "SoundMarks",
    "SoundRemoved",
    "SoundSearch",
    "SoundSort",
    "SoundsChanged",
    "Tags",
    "Waveform",
]

MAX_PAGE = 200
MAX_CHOSEN = 1_000
"""Sounds that one question names by their ids."""
MAX_BUCKETS = 4096
"""Of a waveform."""
WRITING_TIMEOUT_S = 60.0
"""How long is waited for what a worker may have to embed, draw or write first."""
EntryId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
EntryIds = Annotated[list[EntryId], Meta(min_length=1, max_length=MAX_CHOSEN)]
Rating = Annotated[int, Meta(ge=1, le=5)]
Tags = Annotated[list[Tag], Meta(max_length=MAX_LABELS)]
Length = Annotated[float, Meta(ge=0.0, le=3600.0)]
SoundSort = Literal["newest", "oldest", "rating", "quality", "longest", "shortest", "last_used"]


class SoundSearch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which kept sounds are looked for: those that fit everything that is given."""

    words: Annotated[str, Meta(max_length=200)] = ""
    """All of them stand in the prompt, whole but for English endings; with a star behind it as the beginning of one."""
    meaning: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] = ""
    """The nearest come first, each with its ``score``; no more than 1,000 are looked at."""
    text: Annotated[str, Meta(max_length=200)] = ""
    """What a person types: sounds that have all of its words (the last one may be a beginning), and those that are near
    to its meaning where an encoder compares it; the best come first, each with its ``score``. Neither with ``words``
    nor with ``meaning``."""
    ids: Annotated[list[EntryId], Meta(max_length=MAX_CHOSEN)] = []
    """Only these; none: all."""
    tags: Annotated[list[Tag], Meta(max_length=8)] = []
    """All of them."""
    engine: Name | None = None
    engines: Annotated[list[Name], Meta(max_length=64)] = []
    """Made by one of these; none: by any."""
    namespace: Name | None = None
    """None: the caller's own, else ``default``."""
    shortest_s: Length | None = None
    longest_s: Length | None = None
    loop: bool | None = None
    min_quality: Quality | None = None
    min_rating: Rating | None = None
    favourite: bool | None = None
    pinned: bool | None = None
    commercial_use: bool | None = None
    sort: SoundSort | None = None
    """None: the newest first; with ``meaning`` or ``text`` the nearest or best first, and nothing else is allowed."""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    after: Annotated[str, Meta(max_length=200)] = ""
    """The ``next`` of the page before."""


class SoundMarks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A change of what is marked of one sound; None leaves a mark as it is."""

    rating: Annotated[int, Meta(ge=0, le=5)] | None = None
    """1..5; 0 takes it back."""
    favourite: bool | None = None
    pinned: bool | None = None
    """No rule removes it."""
    tags: Tags | None = None
    """All that it has from now on; before those that are added or taken away."""
    add_tags: Tags = []
    remove_tags: Tags = []


class KeptSound(PlainMapping, Struct, frozen=True, kw_only=True):
    """One kept sound. Times in seconds since 1970."""

    id: int
    prompt: str
    namespace: str
    engine: str
    model: str
    duration_s: float
    sample_rate: int
    is_loop: bool
    commercial_use: bool
    created_at: float
    size_bytes: int
    """Of its master."""
    quality: float | None = None
    """The quality gate's score, 0..100."""
    clap_similarity: float | None = None
    voice: str | None = None
    tags: tuple[str, ...] = ()
    labels: dict[str, Label] = {}
    rating: int | None = None
    """1..5."""
    favourite: bool = False
    pinned: bool = False
    hits: int = 0
    last_used: float | None = None
    """None: it was never delivered from the cache."""
    score: float | UnsetType = UNSET
    """Similarity to the ``meaning`` that was asked for, as its encoder tells it, -1..1; how well it fits the ``text``,
    0..1."""
    metadata: SoundMetadata | UnsetType = UNSET
    """How it was made and what was measured; where one sound is asked for."""


class FileForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a kept sound's file is written; None: as it is kept."""

    format: Format = "flac"
    sample_rate: SampleRate | None = None
    bit_depth: BitDepth | None = None
    """WAV and FLAC only; None: 24 in FLAC, else the configured one."""
    bit_rate: BitRate | None = None
    """Kilobits a second, MP3 and Opus only."""
    target_lufs: Lufs | None = None
    loudness_profile: Name | None = None


class KeptSounds(PlainMapping, Struct, frozen=True, kw_only=True):
    """One page of kept sounds."""

    sounds: tuple[KeptSound, ...] = ()
    next: str | None = None
    """What to ask for as ``after`` to get the next page; None: this is the last."""
    by_meaning: bool | UnsetType = UNSET
    """Of a search by ``text``: whether an encoder compared it, or words alone decided."""


class SoundFile(PlainMapping, Struct, frozen=True, kw_only=True):
    """A kept sound in one format."""

    entry: int
    format: str
    size_bytes: int
    sha256: str
    """Of the file, in hex: the same file as long as it says the same."""
    metadata: SoundMetadata
    """As they are of this format."""
    path: str | None = None
    """Of the cache's own file; None: delivered as bytes."""
    data: bytes | UnsetType = UNSET
    """The file itself, at a client that asked for it inline."""


class PictureReport(PlainMapping, Struct, frozen=True, kw_only=True):
    """A picture of a kept sound."""

    entry: int
    path: str | None = None
    """Of the cache's own PNG file; None: delivered as bytes."""
    data: bytes | UnsetType = UNSET
    """The file itself, at a client that asked for it inline."""


class Waveform(PlainMapping, Struct, frozen=True, kw_only=True):
    """The least and the greatest sample of each bucket, as the program *audiowaveform* writes it (version 2)."""

    channels: int
    sample_rate: int
    samples_per_pixel: int
    """Frames of one bucket."""
    length: int
    """Buckets."""
    data: tuple[int, ...]
    """For each bucket, for each channel: least, greatest; -32768..32767."""
    version: int = 2
    bits: int = 16


class SoundRemoved(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to the removal of a kept sound: nobody is offered it any more."""

    entry: int
    freed_after_s: float = 0.0
    """Its files stay so long, for their paths may just have been delivered."""


class NotChanged(PlainMapping, Struct, frozen=True, kw_only=True):
    """A sound that a change of many could not be made to."""

    id: int
    error: Failure


class SoundsChanged(PlainMapping, Struct, frozen=True, kw_only=True):
    """The answer to a change of many sounds: each of them is in one of the two."""

    changed: tuple[int, ...] = ()
    failed: tuple[NotChanged, ...] = ()
    freed_after_s: float = 0.0
    """Files of removed ones stay so long, for their paths may just have been delivered."""
