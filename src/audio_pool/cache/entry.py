"""An entry as columns: what a sound is filed under, and which entries fit what is asked.

Owns: Row, Entry, Filters, the keys' digests, and the columns of a finished sound.
Must not know: the database, the directory, what counts as a hit.
"""

from __future__ import annotations

import functools
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from audio_pool.errors import InvalidAudio
from audio_pool.prompts.normalize import CANONICAL_VERSION, canonical_key, text_key
from audio_pool.results import FinishedSound, SoundMetadata
from audio_pool.types import Recipe

__all__ = [
    "DESCRIPTORS",
    "FITS",
    "ROW_COLUMNS",
    "SOUND_PREFIX",
    "Entry",
    "Filters",
    "Row",
    "bound",
    "canonical_digest",
    "columns_of",
    "family_of",
    "fingerprint",
    "score_of",
    "text_digest",
]


SOUND_PREFIX = "sound:"
"""Names of vectors that describe the sound start with it, e.g. ``sound:clap`` and ``sound:descriptors``."""
DESCRIPTORS = f"{SOUND_PREFIX}descriptors"


class Row(NamedTuple):
    """What look-ups need to know of an entry; the columns of ``ROW_COLUMNS``."""

    id: int
    prompt: str
    engine: str
    duration_s: float
    sample_rate: int
    clap_similarity: float | None
    quality: float | None
    created_at: float
    file: str

    @property
    def score(self) -> float:
        """How good the sound is among its like: CLAP's judgement where there is one, else the gate's."""
        return self.clap_similarity if self.clap_similarity is not None else self.quality or 0.0


ROW_COLUMNS = "id, prompt, engine, duration_s, sample_rate, clap_similarity, quality, created_at, file"


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished sound that is kept, or (``id`` None) one that is only delivered."""

    id: int | None
    path: str
    recipe: Recipe
    metadata: SoundMetadata
    created_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Filters:
    """The sound settings an entry must fit to be offered."""

    namespace: str
    engine: str | None
    """None: any."""
    loop: bool
    voice: str
    negative: str
    """Normalised by ``text_key``; "" where there is none."""
    shortest_s: float
    longest_s: float
    sample_rate: int
    """Hz; an entry below it does not fit."""
    commercial_only: bool
    by_meaning: bool = False
    """True leaves out entries that speak words."""


FITS = (  # SQL that holds for the entries that fit
    "namespace = :namespace AND loop = :loop AND voice = :voice AND negative = :negative"
    " AND sample_rate >= :sample_rate AND duration_s BETWEEN :shortest_s AND :longest_s"
    " AND (:engine IS NULL OR engine = :engine) AND commercial >= :commercial_only"
    " AND spoken <= 1 - :by_meaning"
)


@functools.lru_cache(4096)
def text_digest(namespace: str, prompt: str) -> bytes:
    """16 bytes that stand for a namespace and a normalised prompt."""
    return hashlib.blake2b(f"{namespace}\0{text_key(prompt)}".encode(), digest_size=16).digest()


def canonical_digest(namespace: str, prompt: str) -> bytes:
    """16 bytes that stand for a namespace and a canonical prompt, as this version makes it."""
    text = f"{namespace}\0{CANONICAL_VERSION}\0{canonical_key(prompt)}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def family_of(recipe: Recipe) -> bytes:
    """The identity of a recipe whatever its seed: 32 bytes."""
    return bytes.fromhex(msgspec.structs.replace(recipe, seed=None).identity())


def bound(filters: Filters) -> dict[str, Any]:
    """The values of the names in ``FITS``."""
    return {name: getattr(filters, name) for name in Filters.__slots__}


def score_of(metadata: SoundMetadata) -> float:
    """How good a sound is among its like, as ``Row.score``."""
    clap, quality = metadata.get("clap_similarity"), metadata.get("quality")
    return float(clap if clap is not None else (quality or {}).get("score") or 0.0)


def columns_of(sound: FinishedSound, file: str, origin: str, size: int, digest: bytes) -> dict[str, Any]:
    """The values of the table ``entries`` for a sound that lies at ``file``."""
    recipe, metadata = sound.recipe, sound.metadata
    quality = metadata.get("quality")
    return {
        "identity": bytes.fromhex(recipe.identity()),
        "family": family_of(recipe),
        "text_key": text_digest(recipe.namespace, recipe.prompt),
        "canonical_key": canonical_digest(recipe.namespace, recipe.prompt),
        "prompt": recipe.prompt,
        "namespace": recipe.namespace,
        "engine": recipe.engine,
        "loop": recipe.loop,
        "voice": recipe.voice or "",
        "negative": text_key(recipe.negative_prompt) if recipe.negative_prompt else "",
        "duration_s": recipe.duration_s,
        "sample_rate": recipe.sample_rate,
        # what is not known to be allowed is not offered where only that will do
        "commercial": metadata.get("commercial_use") is True,
        "spoken": recipe.voice is not None or metadata.get("speech") is True,
        "clap_similarity": metadata.get("clap_similarity"),
        "quality": quality.get("score") if isinstance(quality, dict) else None,
        "created_at": time.time(),
        "file": file,
        "origin": origin,
        "size_bytes": size,
        "sha256": digest,
    }


def fingerprint(path: Path) -> tuple[bytes, int]:
    """SHA-256 and size of a FLAC file."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"fLaC":
                raise InvalidAudio(f"{path} is not a FLAC file; the cache keeps 24-bit FLAC masters")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            return digest, file.tell()
    except FileNotFoundError:
        raise InvalidAudio(f"{path} does not exist") from None
