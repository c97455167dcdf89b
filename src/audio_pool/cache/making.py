"""Sounds in the making: whoever asks for one that another process makes waits for it instead of making it twice.

Owns: MakingClaims, the interface to where claims are kept, and what a claim is for (``key_of``).
Must not know: the database, who makes what when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import msgspec

from audio_pool.cache.settings import family_of
from audio_pool.prompts.normalize import text_key
from audio_pool.types import Recipe

__all__ = ["LEASE_S", "MakingClaims", "key_of"]

LEASE_S = 30.0
"""How long a claim holds that its owner does not renew; one whose owner is known to be gone holds no longer."""


class MakingClaims(Protocol):
    """Which sounds are being made, and by whom."""

    def alone(self) -> bool:
        """Return True where it is known that nobody else makes sounds for this cache; on the router's thread."""

    def take(self, key: bytes) -> bool:
        """Take a claim, or keep one's own; False while another holds it, who lives and has renewed it.

        Raises:
            StorageError.
        """

    def give_back(self, key: bytes) -> None:
        """Give up a claim of one's own. Raises StorageError."""

    def renew(self, keys: Iterable[bytes]) -> None:
        """Keep claims of one's own for another lease. Raises StorageError."""


def key_of(recipe: Recipe) -> bytes:
    """Return what the making of a sound is claimed by: 16 bytes, equal for recipes whose sound is a hit for both.

    Without a seed any sound of the same text and settings will do; with one only the identical recipe.
    """
    if recipe.seed is None:
        same = family_of(msgspec.structs.replace(recipe, prompt=text_key(recipe.prompt)))
    else:
        same = bytes.fromhex(recipe.identity())
    return hashlib.blake2b(same, digest_size=16).digest()
