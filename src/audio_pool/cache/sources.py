"""The interface to which sounds were taken over from where.

Owns: the protocol Sources.
Must not know: any database (``sqlite/sources.py`` is the implementation); directories that sounds come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["Sources"]


class Sources(Protocol):
    """The sources of one opened cache."""

    def known(self, digests: Iterable[bytes]) -> set[bytes]:
        """Return those of the sources that an entry was made from."""

    def has_master(self, namespace: str, prompt: str, sha256: bytes) -> bool:
        """Return True where a master of these very bytes is kept for these words."""

    def entry_of(self, namespace: str, prompt: str, sha256: bytes) -> int | None:
        """Return the entry of that master; None where there is none."""
