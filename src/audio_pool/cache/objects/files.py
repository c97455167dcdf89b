"""Kept files whose bytes lie in an object store, with copies of them in the cache directory.

Owns: the order of things: an object before its row, a copy before an offer; which objects are known to be gone.
Must not know: rows, recipes, sound; how the store is spoken to (bucket.py), what goes of the copies (local_copies.py).

The cache directory is as without an object store: a copy lies where the file would lie, by the same name, so that
whoever offers it looks at it as at any other. Only where it is not there can it be fetched, by threads of its own: it
is written beside, compared with its hash, and appears as a whole.

    put      object stored (it may be there already), file moved into place, row committed, object looked for again
    offer    the copy, where it is there and whole; else it is fetched, and whoever asked waits
    remove   row gone, copy unlinked after the grace; the object is put aside by the collector
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from audio_pool.cache.blobs import Placement
from audio_pool.cache.carrying import READ_ONLY, carry
from audio_pool.cache.files import DiskFull, LocalFiles, storage_errors
from audio_pool.cache.objects.bucket import Bucket, Missing, Unreachable
from audio_pool.cache.objects.local_copies import LocalCopies
from audio_pool.cache.objects.names import Content, content_of, name_for, trash_of
from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.errors import AudioPoolError, NotFound, StorageError

__all__ = ["MARKER", "ObjectFiles"]

_log = logging.getLogger(__name__)

MARKER = "store.json"
"""The object that says whose the prefix is."""
_LOST_S = 600.0
"""An object that was not there is asked for again after so long."""
_MOST_ASKED = 512
_MOST_SENT = 4096
_UNSURE_AFTER_S = 60.0
"""Between storing an object and its row; after longer it is looked for again, though it was new."""
_LEAST_SPARE_S = 5.0


class _Sent(NamedTuple):
    """An object that was stored for a row to come."""

    there: bool
    """It was there already."""
    begun: float


class ObjectFiles(LocalFiles):
    """See ``blobs.BlobStore``. Threads may share it."""

    remote = True

    @property
    def trouble(self) -> str:
        """Why nothing is asked of the store for now."""
        return self.bucket.trouble

    def __init__(
        self, root: Path | str, place: ObjectPlace, *, create: bool = True, renders: Path | str | None = None
    ) -> None:
        """
        Args:
            root: the cache directory.
            place: the object store.

        Raises:
            NotFound, StorageError, EngineUnavailable, InvalidConfig.
        """
        self.bucket = Bucket(place)
        super().__init__(root, create=create, renders=renders)
        self.settings = place.settings
        spare_s = max(_LEAST_SPARE_S, place.grace_s)
        self.copies = LocalCopies(self.root, place.settings.local_bytes, spare_s)
        self.released: set[str] = set()
        """Objects that rows let go of; the collector takes them."""
        self._prefix_claimed = False
        self._lost: dict[str, float] = {}
        self._sent: dict[str, _Sent] = {}
        """Objects that were stored ahead of their row."""
        self._placed: dict[str, _Sent] = {}
        """Files in place whose row is not there yet."""
        self._asked: dict[str, list[Callable[[StorageError | NotFound | None], None]]] = {}
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._tidying = False

    def claim_prefix(self) -> None:
        """Make sure that the prefix is this store's: two would collect each other's objects.

        Raises:
            StorageError: it is another's; or the store is not there.
        """
        if self._prefix_claimed or not self.store_id:
            return
        if not self.bucket.write(MARKER, self.store_id.encode(), once=True):
            try:
                found = self.bucket.read(MARKER).decode(errors="replace")
            except Missing:
                raise Unreachable(f"{self.bucket.location} is not to be had") from None
            if found != self.store_id:
                raise StorageError(
                    f"{self.bucket.location} belongs to another cache", hint="give each a prefix of its own"
                )
        self._prefix_claimed = True

    def release(self) -> None:
        super().release()
        self.bucket.close()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(2 * self.settings.threads, thread_name_prefix="audio-pool-objects")
            return self._threads

    # -- looking

    def state_of(self, file: str, size_bytes: int) -> int | None:
        """Return the time of the copy's last change; noting its use changes the file's other times."""
        try:
            found = os.lstat(f"{self.location}/{file}")
        except OSError:
            return None
        if found.st_size != size_bytes or found.st_mode & 0o170000 != 0o100000:
            return None
        self.copies.used(file)
        return found.st_mtime_ns ^ found.st_ino

    def exists(self, file: str) -> bool:
        """Return True where the file has a copy, or can be fetched as far as is known."""
        return super().exists(file) or self.elsewhere(file)

    def is_copy(self, file: str) -> bool:
        return content_of(file) is not None

    def elsewhere(self, file: str) -> bool:
        """Return True where the file can be fetched, as far as is known."""
        content = content_of(file)
        if content is None:
            return False
        lost = self._lost.get(content.key)
        return lost is None or time.monotonic() - lost > _LOST_S

    @property
    def lost(self) -> Sequence[str]:
        """Objects that were asked for lately and were not there."""
        return [key for key, since in list(self._lost.items()) if time.monotonic() - since <= _LOST_S]

    # -- there

    def name_for(self, folder: str, digest: bytes, suffix: str) -> str:
        return name_for(folder, digest, suffix)

    def send_ahead(self, paths: list[str], then: Callable[[], None]) -> None:
        """Store what will be placed soon, beside everything else; then go on, whatever came of it."""

        def send() -> None:
            try:
                for path in paths:
                    self._send_one_ahead(Path(path))
            except (AudioPoolError, OSError) as exc:
                _log.info("a sound could not be stored ahead of its row: %s", exc)
            finally:
                then()

        if self.bucket.trouble:
            then()
        else:
            self._workers().submit(send)

    def _send_one_ahead(self, path: Path) -> None:
        with path.open("rb") as file:
            content = Content(hashlib.file_digest(file, "sha256").hexdigest(), path.suffix)
        sent = self._send(path, content)
        if len(self._sent) >= _MOST_SENT:
            self._sent.clear()
        self._sent[content.key] = sent

    def _send(self, source: Path, content: Content) -> _Sent:
        self.claim_prefix()
        begun = time.monotonic()
        there = self.bucket.put(content.key, source, content.sha256)
        self._lost.pop(content.key, None)
        return _Sent(there, begun)

    def place(self, source: Path, file: str) -> Placement:
        """Store the object, and move the file into place; see ``LocalFiles.place``.

        No folder is fsynced: where a power cut takes the copy away, it is fetched.
        """
        content = content_of(file)
        if content is None:
            return super().place(source, file)
        with storage_errors("keeping a sound", self.location):
            sent = self._sent.pop(content.key, None) or self._send(source, content)
            mark = self._mark(file)
            final = self.root / file
            try:
                final.parent.mkdir(mode=0o700, exist_ok=True)
                carry(source, final)
            except BaseException:
                mark.unlink(missing_ok=True)
                raise
        self._placed[file] = sent
        self.copies.added(final.stat().st_size)
        return Placement(mark, file, source)

    def settle(self, placement: Placement) -> None:
        """Note that the row is committed, and see that its object is still there.

        Where it was there before, nobody may have named it, and a collector may have been about to put it aside: it
        asks for rows before that, and again after; so either it sees this row, or the object is seen to be gone here.
        """
        super().settle(placement)
        sent = self._placed.pop(placement.file, None)
        content = content_of(placement.file)
        if content is None or sent is None or not (sent.there or time.monotonic() - sent.begun > _UNSURE_AFTER_S):
            return
        try:
            if self.bucket.look(content.key) is None:
                self.bucket.put(content.key, self.root / placement.file, content.sha256)
        except (AudioPoolError, OSError) as exc:  # what was put aside is found there
            _log.warning("could not see whether %s is still stored: %s", content.key, exc)

    def withdraw(self, placement: Placement) -> None:
        """Undo ``place``; the object stays until it is collected."""
        self._placed.pop(placement.file, None)
        super().withdraw(placement)

    def discard(self, file: str) -> int:
        """Unlink the copy; the collector sees whether anybody needs the object."""
        content = content_of(file)
        if content is not None:
            self.released.add(content.key)
        return super().discard(file)

    # -- here

    def bring(self, file: str, size_bytes: int) -> None:
        """Have a copy here; wait for it.

        Raises:
            NotFound: the object is gone. StorageError: it did not come, or there is no room.
        """
        content = content_of(file)
        if self.state_of(file, size_bytes) is not None:
            return
        if content is None:
            raise NotFound(f"{file} is gone")
        until = time.monotonic() + self.settings.fetch_s
        try:
            self._fetch(file, content, size_bytes, until)
        except Missing:
            self._out_of_trash(content)
            try:
                self._fetch(file, content, size_bytes, until)
            except Missing:
                raise self._gone(file, content, "is gone") from None

    def bring_soon(self, file: str, size_bytes: int, done: Callable[[StorageError | NotFound | None], None]) -> None:
        """Have a copy here; ``done`` is called on another thread, with what ``bring`` would raise."""
        with self._lock:
            waiting = self._asked.get(file)
            if waiting is not None:
                waiting.append(done)
                return
            if len(self._asked) < _MOST_ASKED:
                self._asked[file] = [done]
        if file not in self._asked:
            done(StorageError(f"{_MOST_ASKED} sounds are on their way here already"))
            return
        self._workers().submit(self._bring_for_all, file, size_bytes)

    def _bring_for_all(self, file: str, size_bytes: int) -> None:
        found: StorageError | NotFound | None = None
        try:
            self.bring(file, size_bytes)
        except (StorageError, NotFound) as exc:
            found = exc
        except BaseException as exc:
            _log.exception("fetching %s failed", file)
            found = StorageError(f"{file} could not be fetched: {type(exc).__name__}")
        with self._lock:
            waiting = self._asked.pop(file, [])
        for done in waiting:
            done(found)

    def _fetch(self, file: str, content: Content, size_bytes: int, until: float) -> None:
        part = self.incoming / f"fetch-{secrets.token_hex(8)}.part"
        final = self.root / file
        try:
            for again in (True, False):
                if self._fetched(part, content, size_bytes, until):
                    break
                if not again:
                    raise self._gone(file, content, "is not what was stored")
            with storage_errors("keeping a copy", self.location):
                os.chmod(part, READ_ONLY)
                final.parent.mkdir(mode=0o700, exist_ok=True)
                os.replace(part, final)
        finally:
            part.unlink(missing_ok=True)
        self.copies.added(size_bytes)
        self._lost.pop(content.key, None)

    def _fetched(self, part: Path, content: Content, size_bytes: int, until: float) -> bool:
        """Write the object beside; return False where it is not what it is called."""
        if 0 < self.settings.local_bytes < self.copies.size_bytes + size_bytes:
            self.copies.tidy(size_bytes)
        for again in (True, False):
            try:
                with storage_errors("keeping a copy", self.location), part.open("wb") as file:
                    sha256 = self.bucket.fetch(content.key, file, max(0.0, until - time.monotonic()))
                    file.flush()
                    os.fsync(file.fileno())
                return sha256 == content.sha256
            except DiskFull:
                part.unlink(missing_ok=True)
                if not again or not self.copies.tidy(down_to=max(0, self.copies.size_bytes - 2 * size_bytes)):
                    raise
            except StorageError as exc:
                cause = exc.__cause__
                if isinstance(cause, OSError) and cause.errno == errno.EFBIG:  # a bound of the process on a file's size
                    raise DiskFull(f"keeping a copy: {self.location} takes no file of {size_bytes:,} bytes") from exc
                raise
        return False

    def _out_of_trash(self, content: Content) -> None:
        """Take an object out of what was put aside: a row names it after all."""
        aside = list(self.bucket.list(trash_of(content.key)))
        if aside:
            self.bucket.copy(aside[-1].key, content.key)
            _log.warning("%s had been put aside, and is needed", content.key)

    def _gone(self, file: str, content: Content, what: str) -> NotFound | StorageError:
        """Return the error for an object that is not there, or is damaged, and remember it."""
        if self.bucket.look(MARKER) is None:
            return Unreachable(f"{self.bucket.location} has nothing of this cache: is it the right one?")
        if content.key not in self._lost:
            _log.error("%s %s: the sound is not offered; audio-pool cache verify tells more", content.key, what)
        self._lost[content.key] = time.monotonic()
        return NotFound(f"the object of {file} {what}")

    # -- looking after it

    def probe(self, size_bytes: int) -> None:
        super().probe(size_bytes)
        self.claim_prefix()
        self.bucket.probe()

    def restore(self) -> None:
        super().restore()
        self.copies.write_down()
        if self.copies.due and not self._tidying:
            self._tidying = True
            self._workers().submit(self._tidy_copies)

    def _tidy_copies(self) -> None:
        try:
            self.copies.tidy()
        except OSError as exc:
            _log.warning("copies in %s are not tidied: %s", self.location, exc)
        finally:
            self._tidying = False
