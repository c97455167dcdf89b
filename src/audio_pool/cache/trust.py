"""Which kept files are still what was stored, as far as has been looked.

Owns: the fingerprint of a file; Trust: a look at each file that is offered, its content read in the background, what
is found damaged taken out.
Must not know: what counts as a hit.

An offer costs one lstat. Only a file that was not seen in this very state (its time of change is another) is opened,
for its first bytes; later the writer thread reads its content and compares the hash, some megabytes at a time.

Threads: ``master``, ``rendition`` and ``doubt`` on the one that looks up, ``tend`` on the writer's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import NamedTuple

from audio_pool.cache.checks import KeptFile
from audio_pool.cache.entry import Row
from audio_pool.cache.store import KeptRendition, Store
from audio_pool.errors import InvalidAudio

__all__ = ["Fault", "Trust", "fault_in", "fault_in_rendition", "fingerprint"]

_log = logging.getLogger(__name__)

_FLAC = b"fLaC"
_HEADS: dict[str, tuple[bytes, ...]] = {
    ".wav": (b"RIFF",), ".flac": (_FLAC, b"ID3"), ".ogg": (b"OggS",), ".opus": (b"OggS",), ".png": (b"\x89PNG",),
}  # fmt: skip
"""First bytes of a file, by the ending of its name; of others nothing is known. A signed FLAC begins with a tag."""
_LONGEST_HEAD = 4
_MOST_KNOWN = 65_536
_BYTES_AT_ONCE = 32 << 20
_MUCH = 20
_MUCH_SHARE = 0.1


class Fault(NamedTuple):
    """Why a file is not what was stored."""

    detail: str
    missing: bool = False
    unread: bool = False
    """The disk did not give it; what it holds is not known."""


def fault_in(store: Store, kept: KeptFile, *, content: bool = True) -> Fault | None:
    """Compare a master with its row; None where it is what was stored.

    Args:
        content: read every byte; otherwise size and header are believed.
    """
    return _fault(Path(store.blobs.path_of(kept.file)), kept.size_bytes, kept.sha256 if content else b"", (_FLAC,))


def fault_in_rendition(store: Store, kept: KeptRendition, *, content: bool = True) -> Fault | None:
    """Compare a rendition with its row, as ``fault_in``; one of before renditions were hashed by its size alone."""
    digest = kept.sha256 if content else b""
    return _fault(Path(store.blobs.path_of(kept.file)), kept.size_bytes, digest, _heads_of(kept.file))


def _heads_of(file: str) -> tuple[bytes, ...]:
    return _HEADS.get(os.path.splitext(file)[1], (b"",))


def _fault(path: Path, size: int, digest: bytes, heads: tuple[bytes, ...]) -> Fault | None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return Fault("is not a regular file")
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                return Fault(f"has {found:,} bytes, was stored with {size:,}")
            if not file.read(_LONGEST_HEAD).startswith(heads):
                return Fault("does not begin as such files do")
            file.seek(0)
            if digest and hashlib.file_digest(file, "sha256").digest() != digest:
                return Fault("its content is not what was stored")
    except FileNotFoundError:
        return Fault("its file is gone", missing=True)
    except OSError as exc:
        return Fault(f"cannot be read: {exc}", unread=True)
    return None


def fingerprint(path: Path) -> tuple[bytes, int]:
    """Return SHA-256 and size of a FLAC file.

    Raises:
        InvalidAudio: it is missing, or is not FLAC.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"fLaC":
                raise InvalidAudio(f"{path} is not a FLAC file; the cache keeps 24-bit FLAC masters")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            return digest, file.tell()
    except FileNotFoundError:
        raise InvalidAudio(f"{path} does not exist") from None


class Trust:
    """The files of one opening of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, int] = {}
        """Files by name, with the state they were seen in."""
        self._unread: dict[str, int | KeptRendition] = {}
        """Files whose content was not compared yet: an entry's master, or a rendition."""
        self._amiss: set[int] = set()
        self._doubted: set[int] = set()
        """Entries whose master could not be decoded, until it has been judged."""
        self._damaged: set[str] = set()
        """Files whose content is not what was stored; they may be there for their grace yet."""
        self._taken = 0

    def master(self, row: Row) -> bool:
        """Return True where the row's file is there and looks like what was stored."""
        if row.id not in self._doubted and self._looks_well(row.file, row.size_bytes, row.id):
            return True
        self._amiss.add(row.id)
        return False

    def rendition(self, kept: KeptRendition) -> bool:
        """Return True where the rendition's file is there and looks like what was stored."""
        return self._looks_well(kept.file, kept.size_bytes, kept)

    def doubt(self, entry_id: int) -> None:
        """Offer an entry no more until the content of its master has been compared."""
        self._doubted.add(entry_id)
        self._amiss.add(entry_id)

    def _looks_well(self, file: str, size_bytes: int, what: int | KeptRendition) -> bool:
        blobs = self._store.blobs
        state = blobs.state_of(file, size_bytes)
        if state is None:
            return file not in self._damaged and blobs.elsewhere(file)
        if file in self._damaged:
            return False
        if self._seen.get(file) == state:
            return True
        if not blobs.head_of(file, _LONGEST_HEAD).startswith(_heads_of(file)):
            return False
        if len(self._seen) >= _MOST_KNOWN:  # plain dicts, cleared when full: safe from two threads
            self._seen.clear()
            self._unread.clear()
        self._seen[file] = state
        self._unread[file] = what
        return True

    def tend(self) -> None:
        """Read on, and take out what is damaged; its file goes to quarantine.

        A sound without its file stays: a disk that is not mounted would empty the store. ``verify`` removes those.
        """
        left = _BYTES_AT_ONCE
        for file, what in list(self._unread.items()):
            if left <= 0:
                break
            self._unread.pop(file, None)
            if isinstance(what, int):
                self._amiss.discard(what)
                left -= self._judge(what)
                self._doubted.discard(what)
            else:
                left -= what.size_bytes
                fault = fault_in_rendition(self._store, what)
                if fault and not fault.missing and not fault.unread and not self._is_copy(file):
                    self._damaged.add(file)
                    self._store.renditions.drop(what.entry_id, what.spec, damaged=True)
                    _log.warning("a rendition of entry %d is removed: %s", what.entry_id, fault.detail)
        for entry_id in list(self._amiss):
            self._amiss.discard(entry_id)
            self._judge(entry_id)
            self._doubted.discard(entry_id)

    def _judge(self, entry_id: int) -> int:
        """Take an entry out if its master is damaged; return how many bytes that took."""
        kept = self._store.checks.master(entry_id)
        if kept is None:
            return 0
        fault = fault_in(self._store, kept)
        if fault and not fault.missing and not fault.unread and not self._is_copy(kept.file):
            self._damaged.add(kept.file)
            if self._may_take():
                self._store.entries.expel([entry_id])
                _log.warning("entry %d is removed: its file %s", entry_id, fault.detail)
        return kept.size_bytes

    def _is_copy(self, file: str) -> bool:
        """Return True for a damaged copy of what is elsewhere: it goes to quarantine, the next offer brings another."""
        if not self._store.blobs.elsewhere(file):
            return False
        place = self._store.blobs.quarantine(file)
        self._seen.pop(file, None)
        _log.warning("the copy %s was damaged; it lies in %s now, and is fetched again", file, place)
        return True

    def _may_take(self) -> bool:
        """Return False where so much is damaged that another disk lies there: it is a miss, and its rows stay."""
        self._taken += 1
        if self._taken <= _MUCH or self._taken <= _MUCH_SHARE * self._store.inventory.totals().entries:
            return True
        if self._taken == _MUCH + 1:
            where = self._store.location
            _log.error("many sounds in %s are damaged: is the right disk mounted? No more are removed", where)
        return False
