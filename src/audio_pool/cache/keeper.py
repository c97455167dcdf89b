"""One cache directory through whatever befalls it: watched, done without for a while, opened again.

Owns: CacheKeeper: which opening of the directory counts, what is wrong with it, and how it heals.
Must not know: the pool; how sounds are found and kept (sound_cache.py).

A cache that cannot keep a sound costs nobody the sound. Once a write has failed, ``put`` refuses at once, so
that no caller waits for a disk that is full or a database that another process holds; ``tend`` tries again.

    deleted directory           made anew, empty
    moved away                  waited for: made anew, it would be in the way of its own return
    replaced by another         the other one is opened, and the first again when it comes back
    deleted database            written again from the connection that still has it open: no row is lost
    full, read-only, locked     tried until a sound of the size that failed can be written
    damaged                     opened again whenever that works

Threads: ``current`` and ``trouble`` anywhere; ``tidy`` on the pool's upkeep thread; everything else on its writer's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from audio_pool.cache.blobs import BlobStore
from audio_pool.cache.entry import Entry
from audio_pool.cache.files import Damaged, storage_errors
from audio_pool.cache.limits import Limits
from audio_pool.cache.place import Pinned
from audio_pool.cache.selection import Standing
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.cache.store import Also, Vector
from audio_pool.errors import AudioPoolError, StorageError
from audio_pool.results import FinishedSound

__all__ = ["CacheKeeper"]

_log = logging.getLogger(__name__)

_LEAST_PROBE_BYTES = 64 << 10
_MOST_PROBE_BYTES = 16 << 20
_CHORES_EVERY = 5
"""Looks at the directory between two at the sounds that are leaving."""
_COUNT_S = 0.05
"""How long hits are written down at a look."""

Open = Callable[[BlobStore | None], SoundCache]


class CacheKeeper:
    """The cache as it is now, and the way back to it."""

    def __init__(self, open_cache: Open) -> None:
        """
        Args:
            open_cache: opens the directory, made where it does not exist, with the files of an earlier opening
                where it is given them.

        Raises:
            StorageError: it cannot be opened at all.
        """
        self._open = open_cache
        self._unkept = self._unread = ""
        self._spaces: tuple[str, ...] = ()
        self._former: list[SoundCache] = []
        self._former_space = ""
        self._wanted_bytes = _LEAST_PROBE_BYTES
        self._looks = 0
        self._half_gone = False
        self._limits: Limits | None = None
        self.current = open_cache(None)
        self._pin()
        try:
            _ = self.current.incoming
        except StorageError as exc:
            self._note(exc)

    @property
    def trouble(self) -> str:
        """Why sounds are not kept, or look-ups fail; "" where all is well."""
        return self._unkept or self._unread or self.current.store.blobs.trouble

    @property
    def takes_sounds(self) -> bool:
        """False while nothing is kept."""
        return not self._unkept

    def prepare(self, spaces: Iterable[str], former: str = "") -> None:
        """Load or rebuild the indexes of these spaces, now and at every later opening; large ones with ``tidy``.

        Args:
            former: a space that answers until every entry has a vector of the present encoder.

        Raises:
            EngineUnavailable: faiss is not installed.
        """
        self._spaces = (*spaces, former) if former else tuple(spaces)
        self._former_space = former
        self.current.spaces.former = former
        self.current.prepare(self._spaces, background=True)

    def tidy(self) -> None:
        """Take over what others changed; load, build, compact and save indexes where it is time to."""
        cache = self.current
        try:
            cache.follow()
            cache.tidy()
        except AudioPoolError as exc:
            # what is wrong with the directory is told by ``tend``; an opening that was retired tells nothing
            if cache is self.current and not self.trouble:
                _log.warning("the index is not looked after: %s", exc)

    def stop_tidying(self) -> None:
        """Break off what ``tidy`` is at; nothing is tidied any more."""
        self.current.spaces.stop()

    def close(self) -> None:
        """Save the indexes and close the store."""
        self._retire()
        self._directory.close()
        self._database.close()
        self.current.close()

    def limit(self, limits: Limits) -> None:
        """Keep to other limits than it was opened with, from the next look on; on any thread."""
        self._limits = limits

    # -- keeping

    def put(
        self,
        sound: FinishedSound,
        vectors: Mapping[str, Vector],
        *,
        replace: bool = False,
        standing: Standing = "variant",
        also: Also | None = None,
    ) -> Entry:
        """Do as ``SoundCache.put``; refuse at once while something is wrong.

        Raises:
            StorageError: nothing was kept and the file is where it was.
        """
        if self._unkept:
            raise StorageError(self._unkept)
        try:
            return self.current.put(sound, vectors, replace=replace, standing=standing, also=also)
        except StorageError as exc:
            self._wanted_bytes = _probe_bytes(sound.path)
            self._note(exc)
            raise

    def unreadable(self, exc: StorageError) -> None:
        """Note that a look-up failed; on any thread."""
        if exc.message != self._unread:
            _log.error("look-ups fail: %s", exc)
        self._unread = exc.message

    def _note(self, exc: StorageError) -> None:
        if exc.message != self._unkept:
            _log.error("sounds are not kept for now: %s", exc)
        self._unkept = exc.message

    # -- looking after it

    def tend(self) -> None:
        """Look whether everything is in its place; mend what can be mended. About once a second."""
        self._retire()
        self._looks += 1
        try:
            self._look()
        except StorageError as exc:
            self._note(exc)

    def _look(self) -> None:
        if trouble := self.current.store.trouble:
            raise StorageError(trouble)
        with storage_errors("looking after the cache", self.current.store.location):
            directory = self._directory.fate
            database = self._database.fate if directory == "there" else "there"
        if directory == "moved" or database == "moved":
            lost = self._directory if directory == "moved" else self._database
            raise StorageError(
                f"{lost.path} has been moved to {lost.whereabouts}",
                hint="move it back, or make an empty directory in its place",
            )
        # whoever removes the whole directory removes the database on the way: what is made anew would be in his way
        half_gone, self._half_gone = self._half_gone, directory == "there" and database == "deleted"
        if directory != "there":
            self._reopen(f"the directory was {directory}")
        elif database == "deleted":
            if not half_gone:
                raise StorageError(f"{self._database.path} has been deleted")
            self.current.store.rescue()
            self._reopen("the database was deleted, and is written again", self.current.store.blobs)
        elif database == "replaced":
            self._reopen("the database was replaced", self.current.store.blobs)
        elif self.trouble or self.current.store.read_only:
            self._try_again()
        else:
            self.current.store.blobs.restore()
            changed = self._limits is not None and self.current.eviction.limit(self._limits)
            if changed or self._looks % _CHORES_EVERY == 0:
                self.current.tend()
            else:
                self.current.usage.write_down(_COUNT_S)

    def _try_again(self) -> None:
        store = self.current.store
        store.blobs.restore()
        store.blobs.probe(self._wanted_bytes)
        if store.read_only:
            self._reopen("the directory takes writes again", store.blobs)
            return
        try:
            store.probe(self._wanted_bytes)
        except Damaged:
            self._reopen("the database was damaged", store.blobs)
        self._well()

    def _reopen(self, why: str, blobs: BlobStore | None = None) -> None:
        """Open what is at the path now; the former opening is closed when nobody reads in it any more."""
        former, new = self.current, self._open(blobs)
        try:
            new.spaces.former = self._former_space
            new.prepare(self._spaces if not new.near_off else (), background=True)
            _ = new.incoming
        except AudioPoolError as exc:
            _log.warning("the cache was opened again, but for: %s", exc)
        self.current = new
        self._former.append(former)
        self._directory.close()
        self._database.close()
        self._pin()
        _log.warning("%s: %s; the cache was opened anew", new.store.location, why)
        if not new.store.read_only:
            self._well()

    def _pin(self) -> None:
        store = self.current.store
        with storage_errors("opening the cache", store.location):
            self._directory, self._database = Pinned(Path(store.location)), Pinned(store.database_path)

    def _well(self) -> None:
        if self.trouble:
            _log.warning("the cache is well again: sounds are kept and found")
        self._unkept = self._unread = ""
        self._wanted_bytes = _LEAST_PROBE_BYTES

    def _retire(self) -> None:
        for former in self._former:
            former.spaces.stop()
            # no snapshots of its indexes: at their path there is another store by now
            former.store.close(keep_files=former.store.blobs is self.current.store.blobs)
        self._former.clear()


def _probe_bytes(path: str) -> int:
    try:
        size = Path(path).stat().st_size
    except OSError:
        size = 0
    return min(_MOST_PROBE_BYTES, max(_LEAST_PROBE_BYTES, size + _LEAST_PROBE_BYTES))
