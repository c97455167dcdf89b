"""The interface to the place of the cache's files: masters, renditions, renders, files in the making.

Owns: the protocol BlobStore.
Must not know: rows, recipes, sound. The implementations are files.py and objects/files.py.

A kept file has a name relative to the store, e.g. ``audio/ab/KEY.flac``; a name is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from audio_pool.errors import NotFound, StorageError

__all__ = ["BlobStore", "Neighbours", "Placement", "Render"]


class Placement(NamedTuple):
    """A file that has been moved into place and whose row is not committed yet."""

    mark: Path
    """Says, as long as it exists, that without a row this file is rubbish."""
    file: str
    source: Path


class Render(NamedTuple):
    """A delivered result that is not kept."""

    path: Path
    size_bytes: int
    modified_at: float
    file: str
    """Its name, for ``discard``."""


class Neighbours(Protocol):
    """Processes that make sounds for a cache, each known by its ``owner``."""

    def lives(self, owner: str) -> bool:
        """Return False where an owner is known to be gone."""

    def alone(self, owner: str) -> bool:
        """Return True where it is known that nobody but this owner makes sounds; on the router's thread."""


class BlobStore(Protocol):
    """Files by name, put into place so that a crash at any moment can be judged by the rows alone."""

    @property
    def location(self) -> str:
        """Its place, for messages."""

    @property
    def incoming(self) -> Path:
        """A local folder for files in the making; this process's own."""

    @property
    def owner(self) -> str:
        """The name of this process's folder: no other has had it, or ever will."""

    @property
    def neighbours(self) -> Neighbours:
        """Other processes that have such folders."""

    def path_of(self, file: str) -> str:
        """Return a local path that the file can be read at."""

    def exists(self, file: str) -> bool:
        """Return True where the file is there."""

    def is_whole(self, file: str, size_bytes: int) -> bool:
        """Return True where a regular file of this size is there."""

    @property
    def remote(self) -> bool:
        """True where files may be elsewhere than here, and are brought."""

    @property
    def trouble(self) -> str:
        """Why nothing can be kept or brought for now, as far as it is known unasked; "" where all is well."""

    @property
    def lost(self) -> Sequence[str]:
        """What was asked for elsewhere lately, and is not there."""

    def is_copy(self, file: str) -> bool:
        """Return True for a file whose bytes are elsewhere: what lies here is a copy."""

    def elsewhere(self, file: str) -> bool:
        """Return True where a file that is not here can be brought, as far as is known."""

    def bring(self, file: str, size_bytes: int) -> None:
        """Have a file here, as a whole; wait for it. Raises NotFound: it is gone; StorageError."""

    def bring_soon(self, file: str, size_bytes: int, done: Callable[[StorageError | NotFound | None], None]) -> None:
        """Have a file here; ``done`` gets None then, or what ``bring`` would raise, on another thread mostly."""

    @property
    def store_id(self) -> str:
        """The store whose files these are, as all who share it know it; "" before it is opened."""

    def belongs_to(self, store_id: str) -> None:
        """Take note of the store whose files these are."""

    def name_for(self, folder: str, digest: bytes, suffix: str) -> str:
        """Return a new name for a file of these bytes (their SHA-256), in ``audio`` or ``renditions``."""

    def send_ahead(self, paths: list[str], then: Callable[[], None]) -> None:
        """Do what takes long of placing these files, beside everything else; then go on."""

    def state_of(self, file: str, size_bytes: int) -> int | None:
        """Return a number that is another once the file was changed; None where no regular file of this size is."""

    def head_of(self, file: str, count: int) -> bytes:
        """Return the first bytes of a file; b"" where they cannot be read."""

    def is_odd(self, file: str) -> bool:
        """Return True where something else than a regular file has the name."""

    def size_of(self, file: str) -> int | None:
        """Return the size of what has the name; None where nothing has."""

    def place(self, source: Path, file: str) -> Placement:
        """Move a file (already fsynced, in ``incoming`` or elsewhere on the same disk) into place.

        Its row is committed next, then ``settle``; or, where that fails, ``withdraw``.
        """

    def settle(self, placement: Placement) -> None:
        """Note that the row is committed."""

    def withdraw(self, placement: Placement) -> None:
        """Move the file back where no row was committed, as far as the disk lets it."""

    def origin_of(self, source: Path) -> str:
        """Return the name of a file in ``incoming``, for its row; "" for one that lies elsewhere.

        Where a power cut undoes the move into place, the row's origin brings the file back.
        """

    def discard(self, file: str) -> int:
        """Unlink a file, one of ``renders`` too; return the bytes freed, 0 where it is not there."""

    def quarantine(self, file: str, *, leave: bool = False) -> Path | None:
        """Move whatever has the name where a person can look at it; return that place, None where nothing has.

        Args:
            leave: the name stays as well, and leads to the same file.
        """

    def set_aside(self, source: Path) -> Path:
        """Move a file that is not kept to ``renders``, under a name of its own.

        Raises:
            StorageError: it stays where it was.
        """

    def renders(self) -> list[Render]:
        """Delivered results that are not kept."""

    def files(self) -> Iterator[str]:
        """Yield every master and rendition that is there."""

    def in_flight(self, file: str) -> bool:
        """Return True while a process is putting this file into place."""

    def stale(self) -> list[str]:
        """Files in ``incoming`` whose maker is gone. Changes nothing."""

    def sweep(self, is_known: Callable[[str], bool], home_of: Callable[[str], str]) -> list[str]:
        """Clear away what processes that are gone left behind; return the files removed or brought back.

        Args:
            is_known: whether a row names this file.
            home_of: the file that a row says came from this origin; "" where there is none.
        """

    def restore(self) -> None:
        """Make folders anew that have vanished; what lay in them is gone. Raises StorageError."""

    def probe(self, size_bytes: int) -> None:
        """Write so many bytes as a new sound would be written, and remove them. Raises StorageError."""

    def release(self) -> None:
        """Give ``incoming`` back, with what is left in it."""
