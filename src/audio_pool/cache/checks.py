"""Consistency of a database and its repair: the interface to it.

Owns: Checks, and what it gives.
Must not know: the database, what counts as damage to a sound.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Checks", "KeptFile", "VectorSize"]


class KeptFile(NamedTuple):
    """A master as its row describes it."""

    entry_id: int
    file: str
    size_bytes: int
    sha256: bytes


class VectorSize(NamedTuple):
    """Vectors of one length in one space."""

    space: str
    size_bytes: int
    vectors: int
    """Their number."""


class Checks(Protocol):
    """Consistency of the database, and its repair."""

    def damage(self, after: int = 0) -> str:
        """Return the faults of the database file itself; "" where there are none.

        Args:
            after: read only what was written with later changes; 0: all of the file.
        """

    def masters(self) -> list[KeptFile]:
        """Return every master that a row names."""

    def masters_after(self, after: int, limit: int) -> list[KeptFile]:
        """Return the next masters by ascending id."""

    def master(self, entry_id: int) -> KeptFile | None:
        """Return an entry's master; None where there is no such entry."""

    def exists(self, entry_id: int) -> bool:
        """Return True where there is such an entry."""

    def folders(self) -> set[str]:
        """Return the folders that rows name files in."""

    def rows_in(self, folder: str) -> int:
        """Number of masters, or of renditions, that rows name in a folder."""

    def masters_in(self, folder: str) -> list[KeptFile]:
        """Return the masters that rows name in a folder."""

    def knows(self, file: str) -> bool:
        """Return True where a row names this file, or where it is just being removed."""

    def known_files(self, folder: str = "") -> set[str]:
        """Return every file that a row names, in a folder or anywhere."""

    def unreadable(self) -> list[int]:
        """Return entries whose recipe or metadata cannot be read."""

    def stray_rows(self) -> dict[str, int]:
        """Number of rows without their other half, by table."""

    def remove_stray_rows(self, table: str) -> None:
        """Remove what ``stray_rows`` counts."""

    def wrong_sums(self) -> list[str]:
        """Return the tables of kept sums that do not say what counting says."""

    def recount(self) -> None:
        """Count everything that sums are kept of."""

    def vector_sizes(self) -> list[VectorSize]:
        """Return the lengths that there are in each space."""

    def remove_vectors(self, space: str, size_bytes: int) -> None:
        """Remove the vectors of one length from a space."""
