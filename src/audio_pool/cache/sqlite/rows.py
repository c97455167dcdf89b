"""Entries as columns: the SQL by which settings fit, and what a finished sound is filed under.

Owns: the columns of the table ``entries``, and the SQL of ``settings.admits``.
Must not know: connections, the directory.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

from audio_pool.cache.entry import Row, canonical_digest, text_digest
from audio_pool.cache.settings import Filters, Settings, family_of, identity_of, made_as, settings_of
from audio_pool.prompts.parses import packed
from audio_pool.results import FinishedSound

__all__ = [
    "FITS",
    "ROW",
    "SCORE",
    "SETTINGS",
    "bound",
    "columns_of",
    "made_columns",
    "settings_at",
]

ROW = ", ".join(Row._fields)
"""The columns of a ``Row``, in order."""
SETTINGS = ", ".join(Settings._fields)
"""The columns of ``Settings``, in order."""
SCORE = "coalesce(clap_similarity, quality, 0)"
"""``Row.score``."""
FITS = (  # holds for the entries that ``settings.admits``
    # the plus keeps SQLite from searching by namespace, which may be all there is, in place of the words
    "+namespace = :namespace AND loop = :loop AND voice = :voice AND negative = :negative AND extras = :extras"
    " AND duration_s BETWEEN :shortest_s AND :longest_s"
    " AND (:same_settings = 'any' OR implementation = :implementation AND (:same_settings = 'family'"
    "  OR engine = :engine AND model = :model AND (:model_revision = '' OR model_revision = :model_revision)))"
    " AND (implementation <> :implementation OR (steps IS NULL OR steps >= :least_steps)"
    "  AND (guidance_scale IS NULL OR guidance_scale BETWEEN :least_guidance AND :most_guidance))"
    " AND sample_rate >= :sample_rate AND commercial >= :commercial_only AND inexact <= 1 - :strict"
    " AND spoken <= 1 - :by_meaning"
)


@functools.lru_cache(256)
def bound(filters: Filters) -> Mapping[str, Any]:  # Any: what SQLite stores
    """Return the values of the names in ``FITS``."""
    return dict(zip(Filters._fields, filters, strict=True))


def settings_at(row: tuple[Any, ...], start: int) -> Settings:
    """Return the settings that the columns of ``SETTINGS`` hold from ``start`` on."""
    return Settings._make(row[start : start + len(Settings._fields)])


def columns_of(sound: FinishedSound, file: str, origin: str, size: int, digest: bytes) -> dict[str, Any]:
    """Return the values of the table ``entries`` for a sound that lies at ``file``."""
    recipe, metadata = sound.recipe, sound.metadata
    return {
        **made_columns(sound),
        "text_key": text_digest(recipe.namespace, recipe.prompt),
        "canonical_key": canonical_digest(recipe.namespace, recipe.prompt),
        "parse": packed(recipe.prompt),
        "prompt": recipe.prompt,
        "spoken": recipe.voice is not None or metadata.speech,
        "clap_similarity": metadata.clap_similarity,
        "quality": metadata.quality.score,
        "created_at": time.time(),
        "file": file,
        "origin": origin,
        "size_bytes": size,
        "sha256": digest,
    }


def made_columns(sound: FinishedSound) -> dict[str, Any]:
    """Return the columns that say how a sound was made; a migration fills them again."""
    made = made_as(sound.recipe, sound.metadata)
    return {
        **settings_of(sound.recipe, sound.metadata)._asdict(),
        "identity": identity_of(sound),
        "family": family_of(sound.recipe),
        "seed": made.seed,
        "dtype": made.dtype,
        "quantization": made.quantization,
    }
