"""The JSON beside an exported sound: the whole entry, as it can be taken in again without loss.

Owns: that file's content, written and read.
Must not know: directories, the database.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from audio_pool.cache.entry import Entry, Vector, read_stored
from audio_pool.cache.marks import Marked
from audio_pool.cache.uses import Use
from audio_pool.errors import InvalidRequest
from audio_pool.library import Rating
from audio_pool.results import SoundMetadata
from audio_pool.types import MAX_LABELS, Recipe, Tag
from audio_pool.validation import parse

__all__ = ["Kept", "kept_in", "sidecar_of"]

_KIND, _VERSION = "cache entry", 1
_LONGEST_VECTOR = 1 << 16
Json = Mapping[str, Any]  # opaque: comes from anywhere; checked field by field


class Kept(NamedTuple):
    """An entry as its sidecar tells it."""

    recipe: Recipe
    metadata: SoundMetadata
    created_at: float
    sha256: bytes
    """Of the FLAC master."""
    vectors: dict[str, Vector]
    pinned: bool
    hits: int
    last_used: float
    preferred: bool
    marked: Marked


def sidecar_of(
    entry: Entry,
    file: str,
    sha256: bytes,
    vectors: Mapping[str, Vector],
    use: Use | None,
    *,
    pinned: bool,
    preferred: bool,
    marked: Marked,
) -> dict[str, Any]:  # JSON, as documented in docs/manager.md
    """Return what goes beside an exported sound.

    Args:
        file: its name, beside the sidecar.
        use: how it has been used; None where that is not known.
    """
    return {
        "audio_pool": {"kind": _KIND, "version": _VERSION},
        "file": file,
        "prompt": entry.recipe.prompt,
        "licence": entry.metadata.licence,
        "commercial_use": entry.metadata.commercial_use,
        "id": entry.id,
        "created_at": entry.created_at,
        "master_sha256": sha256.hex(),
        "recipe": msgspec.to_builtins(entry.recipe),
        "metadata": msgspec.to_builtins(entry.metadata),
        "vectors": {
            space: base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
            for space, vector in sorted(vectors.items())
        },
        "pinned": pinned,
        "preferred": preferred,
        "rating": marked.rating,
        "favourite": marked.favourite,
        "tags": list(entry.metadata.tags if marked.tags is None else marked.tags),
        "hits": use.hits if use else 0,
        "last_used": use.last_used if use else None,
    }


def kept_in(sidecar: Json | None) -> Kept | None:
    """Return the entry that a sidecar holds; None where it is another's."""
    if sidecar is None or not _is_ours(sidecar.get("audio_pool")):
        return None
    try:
        parts = [msgspec.json.encode(sidecar[name]) for name in ("recipe", "metadata")]
        sha256 = bytes.fromhex(str(sidecar["master_sha256"]))
        created_at = float(sidecar["created_at"])
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError):
        return None
    stored = read_stored(parts[0], parts[1])
    if stored is None or len(sha256) != 32 or not math.isfinite(created_at):
        return None
    pinned, hits, last = sidecar.get("pinned") is True, sidecar.get("hits"), sidecar.get("last_used")
    return Kept(
        *stored,
        created_at,
        sha256,
        _vectors_in(sidecar.get("vectors")),
        pinned,
        hits if isinstance(hits, int) and 0 < hits < 1 << 53 else 0,
        float(last) if isinstance(last, int | float) and math.isfinite(last) else created_at,
        sidecar.get("preferred") is True,
        _marked_in(sidecar, stored[1].tags),
    )


def _marked_in(sidecar: Json, made_with: tuple[str, ...]) -> Marked:
    """Return the marks of a sound, as far as they can be read.

    Args:
        made_with: the tags of its metadata.
    """
    rating, tags = sidecar.get("rating"), sidecar.get("tags")
    with contextlib.suppress(InvalidRequest):
        rated = parse(_Rated, {"rating": rating, "tags": tags if isinstance(tags, list) else list(made_with)})
        changed = sorted(set(rated.tags)) != sorted(set(made_with))
        favourite = sidecar.get("favourite") is True
        return Marked(rated.rating, favourite, tuple(sorted(set(rated.tags))) if changed else None)
    return Marked()


class _Rated(Struct, frozen=True, kw_only=True):
    """What is checked of them."""

    rating: Rating | None
    tags: Annotated[list[Tag], Meta(max_length=MAX_LABELS)]


def _is_ours(mark: object) -> bool:
    return isinstance(mark, dict) and mark.get("kind") == _KIND and mark.get("version") == _VERSION


def _vectors_in(told: object) -> dict[str, Vector]:
    """Return the vectors that can be read; one that cannot costs no other."""
    found: dict[str, Vector] = {}
    for space, text in told.items() if isinstance(told, dict) else ():
        try:
            data = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            continue
        if data and len(data) % 4 == 0 and len(data) <= 4 * _LONGEST_VECTOR:
            found[str(space)] = np.frombuffer(data, "<f4").astype(np.float32)
    return found
