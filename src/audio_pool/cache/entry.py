"""A kept sound: the row that look-ups read, the whole entry, and the keys that prompts are filed under.

Owns: Row, Entry, Adopted, the digests of prompts, and reading metadata of any version.
Must not know: the database, the directory, what counts as a hit.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from audio_pool.cache.marks import Marked
from audio_pool.prompts.normalize import CANONICAL_VERSION, canonical_key, text_key
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import Recipe

__all__ = [
    "Adopted",
    "Entry",
    "Row",
    "Vector",
    "canonical_digest",
    "read_stored",
    "same_key",
    "score_of",
    "text_digest",
]


Vector = npt.NDArray[np.float32]
"""float32 [D]."""


class Row(NamedTuple):
    """The columns of an entry that look-ups read."""

    id: int
    prompt: str
    engine: str
    duration_s: float
    sample_rate: int
    clap_similarity: float | None
    quality: float | None
    created_at: float
    file: str
    size_bytes: int
    text_key: bytes = b""
    """As ``text_digest`` gave it."""
    canonical_key: bytes = b""
    """As ``canonical_digest`` gave it, of whichever version."""
    preferred: int = 0
    """1: it was asked for in place of what was offered before."""
    parse: bytes = b""
    """The prompt's, as ``prompts/parses.py`` gave it, of whichever version; b"" where it is not kept yet."""

    @property
    def is_sane(self) -> bool:
        """Its columns are what they must be; a damaged page, or a foreign tool, may give anything."""
        return (
            type(self.prompt) is str
            and type(self.file) is str
            and type(self.created_at) is float
            and type(self.size_bytes) is int
            and type(self.parse) is bytes
            and (self.clap_similarity is None or type(self.clap_similarity) is float)
            and (self.quality is None or type(self.quality) is float)
        )

    @property
    def score(self) -> float:
        """The sound's rank among its like: CLAP's judgement where there is one, else the quality gate's."""
        return self.clap_similarity if self.clap_similarity is not None else self.quality or 0.0


class Entry(Struct, frozen=True, kw_only=True):
    """A finished sound that is kept, or (``id`` None) one that is only delivered."""

    id: int | None
    path: str
    recipe: Recipe
    metadata: SoundMetadata
    created_at: float
    size_bytes: int


class Adopted(NamedTuple):
    """A master that lies in its place, and what is known of it, to be given a row."""

    sound: FinishedSound
    """Its ``path`` says nothing."""
    file: str
    size_bytes: int
    sha256: bytes
    created_at: float
    vectors: Mapping[str, Vector] = {}
    entry_id: int | None = None
    """None: a new one."""
    origin: str = ""
    renditions: tuple[tuple[str, str, int, bytes], ...] = ()
    """Spec, file, size and SHA-256 of each."""
    pinned: bool = False
    hits: int = 0
    last_used: float = 0.0
    """Seconds since 1970; of those hits."""
    preferred: bool = False
    """It is offered before others of its words."""
    marked: Marked = Marked()
    source: bytes = b""
    """What it was taken over from; b"": what its metadata name, or nothing."""


def score_of(metadata: SoundMetadata) -> float:
    """Return the rank of a sound among its like, as ``Row.score``."""
    return metadata.clap_similarity if metadata.clap_similarity is not None else metadata.quality.score


@functools.lru_cache(4096)
def text_digest(namespace: str, prompt: str) -> bytes:
    """16 bytes that stand for a namespace and a normalised prompt."""
    return hashlib.blake2b(f"{namespace}\0{text_key(prompt)}".encode(), digest_size=16).digest()


def canonical_digest(namespace: str, prompt: str) -> bytes:
    """16 bytes that stand for a namespace and a canonical prompt, as this version makes it."""
    text = f"{namespace}\0{CANONICAL_VERSION}\0{canonical_key(prompt)}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def same_key(namespace: str, prompt: str, row: Row) -> Literal["text", "canonical", ""]:
    """Tell which of a row's keys is that of a prompt, without parsing the row's."""
    if row.text_key == text_digest(namespace, prompt):
        return "text"
    return "canonical" if row.canonical_key == canonical_digest(namespace, prompt) else ""


# -- what was stored -------------------------------------------------------------------------------

_decode_recipe = msgspec.json.Decoder(Recipe).decode
_decode_metadata = msgspec.json.Decoder(SoundMetadata).decode
_decode_map = msgspec.json.Decoder(dict[str, Any]).decode  # opaque: checked field by field


def read_stored(recipe: bytes, metadata: bytes) -> tuple[Recipe, SoundMetadata] | None:
    """Decode what was stored of a sound, by whatever version; None where it cannot be read.

    A field of the metadata that does not fit has its default.
    """
    try:
        return _decode_recipe(recipe), _metadata_from(metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _metadata_from(data: bytes) -> SoundMetadata:
    try:
        metadata = _decode_metadata(data)
    except msgspec.ValidationError:
        stored = _decode_map(data)
        known = {}
        for field in msgspec.structs.fields(SoundMetadata):
            if field.encode_name in stored:
                try:
                    known[field.name] = msgspec.convert(stored[field.encode_name], field.type)
                except msgspec.ValidationError:
                    continue
        metadata = SoundMetadata(**known)
    if metadata.implementation or not metadata.engine:
        return metadata
    # written before there were named models
    return msgspec.structs.replace(metadata, implementation=metadata.engine)
