"""The sounds of finished durable jobs in an object store, for whichever head is asked for them.

Owns: their names, which are their keys; copies of them on this head, within a bound; which objects no job knows.
Must not know: the journal, the cache's own sounds, how the store is spoken to.

    jobs/ab/SHA256-KEY.wav     the object, and what the journal knows the sound by
    RESULTS/SHA256-KEY.wav     this head's copy: what a client of it is given the path of

Each job has an object of its own, so that nobody counts who else has the same bytes. It is stored before the journal
knows of it, and removed once the journal has forgotten the job.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from audio_pool.cache.objects.bucket import Bucket, Missing
from audio_pool.errors import NotFound, StorageError
from audio_pool.jobs.result_files import KeptResult, ResultFolder

__all__ = ["ResultObjects"]

log = logging.getLogger(__name__)

_FOLDER = "jobs"
_NAME = re.compile(rf"\A{_FOLDER}/([0-9a-f]{{2}})/((?:\1)[0-9a-f]{{62}})-[0-9a-f]{{16}}(?:\.[a-z0-9]{{1,8}})?\Z")
_CLOCK = f"{_FOLDER}/clock"
_LOW_WATER = 0.9
_LEAST_SPARE_S = 60.0
"""What was used so lately stays, whatever the bound: somebody has its path."""


class ResultObjects:
    """See ``jobs.result_files.ResultFiles``; from any thread."""

    remote = True

    def __init__(
        self, bucket: Bucket, directory: Path, *, fetch_s: float, most_bytes: int, spare_s: float, orphan_grace_s: float
    ) -> None:
        """
        Args:
            bucket: closed with this.
            directory: of this head's copies.
            fetch_s: how long is waited for a sound.
            most_bytes: of all copies; 0: no bound.
            spare_s: how long a path is good that was given to somebody.
            orphan_grace_s: an object that no job knows stays for so long: one may be about to be recorded.
        """
        self._bucket = bucket
        self._directory = directory
        self._folder = ResultFolder(directory)
        self._fetch_s = fetch_s
        self._most_bytes = most_bytes
        self._spare_s = max(spare_s, _LEAST_SPARE_S)
        self._orphan_grace_s = orphan_grace_s
        self._bytes: int | None = None
        """Of all copies; None: they have not been counted."""
        self._lock = threading.Lock()
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio-pool-results")

    def close(self) -> None:
        """Ask no more of the store."""
        self._remover.shutdown(wait=False, cancel_futures=True)
        self._bucket.close()

    # -- keeping and handing out -------------------------------------------------------------------

    def keep(self, source: str) -> KeptResult:
        """Store a copy; it survives this machine when this returns. Raises StorageError."""
        copy = self._folder.keep(source)
        with open(copy.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        suffix = Path(copy.path).suffix
        name = f"{_FOLDER}/{digest[:2]}/{digest}-{secrets.token_hex(8)}{suffix}"
        path = self._path(name)
        try:
            os.replace(copy.path, path)
            self._bucket.put(name, path, digest)
        except OSError as exc:
            raise StorageError(f"the sound of a job could not be kept in {self._directory}: {exc.strerror}") from exc
        except StorageError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._added(copy.size_bytes)
        return KeptResult(name, str(path), copy.size_bytes)

    def here(self, name: str) -> str | None:
        """Return the path of a copy; None where it must be brought."""
        path = self._path(name) if _NAME.match(name) else Path(name)
        try:
            os.utime(path)
        except PermissionError:  # somebody else's file, as those are that were never stored
            return name
        except OSError:
            return None
        return str(path)

    def bring(self, name: str) -> str:
        """Return the path of a copy, fetched where there is none.

        Raises:
            NotFound: it is nowhere. StorageError: the store does not answer, or has something else.
        """
        found = self.here(name)
        if found is not None:
            return found
        known = _NAME.match(name)
        if known is None:
            raise NotFound(f"the sound of this job lies on another server ({name}), whose object store was away then")
        path = self._path(name)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                digest = self._bucket.fetch(name, file, self._fetch_s)
                size = file.tell()
                os.fchmod(file.fileno(), 0o444)
            if digest != known[2]:
                raise StorageError(f"the object {name} is not what was stored")
            os.replace(part, path)
        except Missing:
            raise NotFound(f"the sound of this job is gone: there is no object {name}") from None
        except OSError as exc:
            raise StorageError(f"a job's sound could not be brought to {self._directory}: {exc.strerror}") from exc
        finally:
            part.unlink(missing_ok=True)
        self._added(size)
        return str(path)

    def _path(self, name: str) -> Path:
        return self._directory / os.path.basename(name)

    # -- removing ----------------------------------------------------------------------------------

    def remove(self, names: Collection[str]) -> None:
        """Remove objects that were kept here or by another head, and nothing else; on a thread of its own."""
        known = [name for name in names if _NAME.match(name)]
        self._folder.remove([*(str(self._path(name)) for name in known), *(set(names) - set(known))])
        if known:
            with contextlib.suppress(RuntimeError):  # closed: they are swept away
                self._remover.submit(self._delete, known)

    def sweep(self, known: Collection[str], *, older_than_s: float = 0.0) -> None:
        """Remove what no job knows: this head's copies, and objects of heads that were killed before they noted them.

        Args:
            older_than_s: of copies; objects have a grace of their own.
        """
        names = set(known)
        paths = {str(self._path(name)) for name in names if _NAME.match(name)}
        self._folder.sweep(paths | names, older_than_s=older_than_s)
        with contextlib.suppress(RuntimeError):
            self._remover.submit(self._delete_orphans, names)

    def _delete(self, names: Collection[str]) -> None:
        try:
            self._bucket.delete(names)
        except StorageError as exc:  # they are orphans now
            log.info("%d sounds of jobs that are forgotten were not removed: %s", len(names), exc)

    def _delete_orphans(self, known: set[str]) -> None:
        try:
            self._bucket.write(_CLOCK, b"")
            clock = self._bucket.look(_CLOCK)
            now = clock.modified_at if clock is not None else 0.0
            found = [
                one.key
                for one in self._bucket.list(_FOLDER)
                if _NAME.match(one.key) and one.key not in known and now - one.modified_at >= self._orphan_grace_s
            ]
            self._bucket.delete(found)
        except StorageError as exc:
            log.info("sounds of jobs that nobody knows were not looked for: %s", exc)
        else:
            if found:
                log.info("removed %d sounds of jobs that nobody knows", len(found))

    # -- copies ------------------------------------------------------------------------------------

    def _added(self, size_bytes: int) -> None:
        """Count a copy; remove those that were not used for longest where there is too much."""
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._copies())
            else:
                self._bytes += size_bytes
            if 0 < self._most_bytes < self._bytes:
                self._bytes = self._bounded()

    def _copies(self) -> list[tuple[float, int, str]]:
        found = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._directory):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.path))
        return found

    def _bounded(self) -> int:
        copies = sorted(self._copies())
        left = sum(size for _, size, _ in copies)
        latest = time.time() - self._spare_s
        for used_at, size, path in copies:
            if left <= self._most_bytes * _LOW_WATER or used_at > latest:
                break
            if _NAME.match(f"{_FOLDER}/{os.path.basename(path)[:2]}/{os.path.basename(path)}"):
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    left -= size
        return left
