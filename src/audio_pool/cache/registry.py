"""The registry: which sounds were made here, whether they are still kept or not.

Owns: the protocol Registry, and what is known of each sound in it.
Must not know: any database, how two sounds are compared.

It outlives eviction: whoever asks where a file comes from is answered though the sound went long ago. It knows no
words: a prompt is told as long as its sound is kept. What somebody removes is forgotten here, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from audio_pool.origin import Made

__all__ = ["REMEMBERED", "KeptFingerprint", "Noted", "Registered", "Registry", "Unregistered"]

REMEMBERED = 100_000
"""Sounds that are remembered after they were evicted, where nobody says."""


class Registered(NamedTuple):
    """One sound that was made here."""

    number: int
    entry_id: int | None
    """None: it is not kept any more."""
    namespace: str
    made: Made


class KeptFingerprint(NamedTuple):
    """A fingerprint as it is kept."""

    number: int
    """Higher than that of every one that was kept before."""
    data: bytes


class Unregistered(NamedTuple):
    """An entry without a fingerprint."""

    entry_id: int
    path: str
    loop: bool


class Registry(Protocol):
    """Reads on any thread; writes wait as other writes do."""

    def with_file(self, sha256: bytes) -> list[Registered]:
        """Return the sounds of which this is a file's hash: the master's, or a rendition's."""

    def with_samples(self, md5: bytes) -> list[Registered]:
        """Return the sounds whose master has these samples."""

    def with_recipe(self, identity: str) -> list[Registered]:
        """Return the sounds of a recipe, the newest first."""

    def with_fingerprint(self, number: int) -> tuple[Registered, bytes] | None:
        """Return a sound by the number of its fingerprint, and that."""

    def fingerprints_after(self, number: int, limit: int) -> list[KeptFingerprint]:
        """Return the next fingerprints by number."""

    def counts(self) -> tuple[int, int, int]:
        """Return the number of sounds, of those that are not kept any more, and of entries without a fingerprint."""

    def without(self, after: int, limit: int) -> list[Unregistered]:
        """Return the next entries by id that have no fingerprint."""

    def fill(self, found: Sequence[tuple[int, bytes]]) -> None:
        """Keep the fingerprints of entries that have none. Raises StorageError."""

    def note(self, sounds: Iterable[Noted]) -> None:
        """Remember sounds that are not kept. Raises StorageError."""

    def forget_gone(self) -> int:
        """Forget all that are not kept any more; return how many that were. Raises StorageError."""

    def settle(self, remembered: int) -> None:
        """Remember so many that are not kept any more, from now on, in every process. Raises StorageError."""


class Noted(NamedTuple):
    """A sound that is not kept, as ``note`` takes it."""

    namespace: str
    made: Made
    samples: bytes
    """MD5 of the samples; b"": not known."""
    files: tuple[bytes, ...]
    """SHA-256 of each of its files."""
    fingerprint: bytes
