"""What a new server would have to build, kept in the object store: a copy of the rows and the indexes over them.

Owns: the set of files that agree with each other, its description, and which of the sets is the newest.
Must not know: what is in the files, how they are made and followed on from.

    snapshots/SHA256       a file
    snapshots/latest.json  the files of the newest set, with their hashes; written last, as a whole

The set is derived: what is missing, damaged or of another version is passed over, and built as without it. A file that
no description names goes when it is an hour old: who is fetching it has it by then.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from audio_pool.cache.objects.bucket import Bucket, Missing
from audio_pool.errors import StorageError

__all__ = ["Snapshot", "Snapshots"]

_log = logging.getLogger(__name__)

_FOLDER = "snapshots"
_LATEST = f"{_FOLDER}/latest.json"
_FETCH_S = 3600.0
_OLD_S = 3600.0


class _File(Struct, frozen=True):
    name: str
    """Relative to the folder that it is brought into."""
    sha256: str
    size_bytes: int


class Snapshot(Struct, frozen=True, kw_only=True):
    """A set of files that agree with each other."""

    of: str
    """Whose rows they are, in which version of the schema; of no use to anybody else."""
    upto: str
    """How far they know what was written; another one is newer, or older, and followed on from alike."""
    files: tuple[_File, ...]


class Snapshots:
    """Of one prefix."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def latest(self) -> Snapshot | None:
        """Return the newest set; None where there is none that can be read. Raises StorageError."""
        try:
            return msgspec.json.decode(self._bucket.read(_LATEST), type=Snapshot)
        except Missing:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            _log.warning("the snapshots' description in %s cannot be read: %s", self._bucket.location, exc)
            return None

    def age_s(self) -> float | None:
        """Return how old the newest set is, by the store's clock; None where there is none. Raises StorageError."""
        found = self._bucket.look(_LATEST)
        if found is None:
            return None
        self._bucket.write(f"{_FOLDER}/clock", b"")
        now = self._bucket.look(f"{_FOLDER}/clock")
        return None if now is None else max(0.0, now.modified_at - found.modified_at)

    def put(self, of: str, upto: str, files: Mapping[str, Path]) -> Snapshot:
        """Store a set; who asks for the newest gets it when it is whole. Raises StorageError, OSError."""
        told = []
        for name, path in files.items():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._bucket.put(f"{_FOLDER}/{sha256}", path, sha256)
            told.append(_File(name, sha256, path.stat().st_size))
        snapshot = Snapshot(of=of, upto=upto, files=tuple(told))
        self._bucket.write(_LATEST, msgspec.json.encode(snapshot))
        self._clear(snapshot)
        return snapshot

    def _clear(self, newest: Snapshot) -> None:
        """Delete files of older sets."""
        named = {f"{_FOLDER}/{one.sha256}" for one in newest.files} | {_LATEST, f"{_FOLDER}/clock"}
        found = list(self._bucket.list(_FOLDER))
        now = max((one.modified_at for one in found), default=0.0)
        self._bucket.delete(one.key for one in found if one.key not in named and now - one.modified_at > _OLD_S)

    def fetch(self, snapshot: Snapshot, folder: Path) -> None:
        """Bring a set's files into a folder, all of them or none.

        Raises:
            StorageError: one is missing or damaged, or does not come. OSError: there is no room.
        """
        parts: list[tuple[Path, Path]] = []
        try:
            for one in snapshot.files:
                final = folder / one.name
                if not final.is_relative_to(folder) or ".." in one.name:
                    raise StorageError(f"a snapshot names {one.name!r}, which is no place for it")
                final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
                parts.append((part, final))
                with part.open("wb") as file:
                    found = self._bucket.fetch(f"{_FOLDER}/{one.sha256}", file, _FETCH_S)
                    file.flush()
                    os.fsync(file.fileno())
                if found != one.sha256:
                    raise StorageError(f"{one.name} of the snapshot is not what was stored")
            for part, final in reversed(parts):  # the rows, which come first, last: without them the rest is nothing
                with contextlib.suppress(FileExistsError):  # another process was quicker, and may have it open
                    os.link(part, final)
        except Missing as exc:
            raise StorageError(f"the snapshot is not whole: {exc}") from exc
        finally:
            for part, _ in parts:
                part.unlink(missing_ok=True)
