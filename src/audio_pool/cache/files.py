"""The cache directory: which file lies where, how one gets there, and what a dead process leaves behind.

Owns: the layout below, moving files into place so that a crash leaves a trace, and the sweep of such
traces; ``storage_errors``, which turns foreign exceptions into plain ones.
Must not know: rows, recipes, sound.

    cache.sqlite3       the rows
    audio/ab/KEY.flac   masters
    renditions/ab/...   other formats of them
    renders/            delivered results that are not kept
    incoming/OWNER/     files that a running process is still making; .lock is held while it lives
    index/              derived, may be deleted
    reserve             given up where a full disk would not even let sounds be removed

A process's claim on its incoming folder is a flock: the kernel lets go of it however the process ends,
and unlike a process id it is never given to another (also between containers). Local disks only.

A master's move into place is not followed by an fsync of its directory, which would double the cost of
keeping a sound. Where a power cut undoes the move, the file, fsynced by its maker, lies in ``incoming``
again, and its row, which names that place as its ``origin``, brings it back at the next opening.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from audio_pool.errors import NotFound, StorageError

__all__ = ["DiskFull", "Folder", "storage_errors"]

_log = logging.getLogger(__name__)

_DATABASE = "cache.sqlite3"
_MARK = ".placing"
_LOCK = ".lock"
_RESERVE_BYTES = 1 << 20
_LOOSE_AGE_S = 3600.0
"""A file straight in ``incoming`` has no owner to ask; after this long nobody is writing it."""


class DiskFull(StorageError):
    """There is no space left."""


@contextmanager
def storage_errors(doing: str, where: Path) -> Iterator[None]:
    """Turns what the disk and SQLite raise into a StorageError that says what was being done and what to do."""
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "")
        raise _plain(doing, where, name, str(exc)) from exc
    except OSError as exc:
        names = {errno.ENOSPC: "SQLITE_FULL", errno.EDQUOT: "SQLITE_FULL", errno.EROFS: "SQLITE_READONLY"}
        names |= {errno.EACCES: "SQLITE_READONLY", errno.EPERM: "SQLITE_READONLY"}
        raise _plain(doing, where, names.get(exc.errno or 0, ""), str(exc)) from exc


def _plain(doing: str, where: Path, name: str, text: str) -> StorageError:
    if name.startswith("SQLITE_FULL"):
        return DiskFull(f"{doing}: the disk that holds {where} is full", hint="free some space and try again")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return StorageError(f"{doing}: {where} cannot be written to ({text})", hint="check its owner and its mount")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageError(f"{doing}: another process keeps {where} locked", hint="try again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StorageError(
            f"{doing}: {where / _DATABASE} is damaged ({text}); nothing was changed",
            hint="restore it from a backup, or move the directory away and start with an empty one",
        )
    return StorageError(f"{doing}: {where}: {text}", hint="is it on a local disk, and does this user own it?")


class Folder:
    """One cache directory. Threads may share it: it keeps no state but its claim."""

    def __init__(self, root: Path, *, create: bool, renders: Path | str | None = None) -> None:
        """
        Args:
            root: the directory.
            create: make it where it does not exist; otherwise that is an error.
            renders: another place than ``root/renders``, which may be on another disk.

        Raises:
            NotFound, StorageError.
        """
        self.root = Path(os.path.abspath(root))
        self.database = self.root / _DATABASE
        self.audio = self.root / "audio"
        self.renditions = self.root / "renditions"
        self.renders = Path(os.path.abspath(renders)) if renders else self.root / "renders"
        self.index = self.root / "index"
        self._incoming = self.root / "incoming"
        self._claim: tuple[Path, int] | None = None
        if create:
            with storage_errors("opening the cache", self.root):
                for path in (self.root, self.audio, self.renditions, self.renders, self._incoming):
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not self.root.is_dir():
            raise NotFound(f"cache directory {str(root)!r} does not exist", hint="check its spelling")
        elif not self.database.is_file():
            raise NotFound(f"directory {str(root)!r} holds no sound cache (no {_DATABASE})", hint="check its path")

    # -- a place for files in the making

    @property
    def incoming(self) -> Path:
        """This process's own folder for files in the making; claimed at the first call."""
        if self._claim is None:
            with storage_errors("claiming a folder for new sounds", self.root), self._gate(wait=True):
                path = self._incoming / f"{os.getpid()}-{secrets.token_hex(4)}"
                path.mkdir(mode=0o700)
                held = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
                fcntl.flock(held, fcntl.LOCK_EX)
                self._claim = (path, held)
        return self._claim[0]

    def release(self) -> None:
        """Gives the claim back and removes what is left in it."""
        if self._claim is not None:
            path, held = self._claim
            self._claim = None
            shutil.rmtree(path, ignore_errors=True)
            os.close(held)

    @contextmanager
    def _gate(self, *, wait: bool) -> Iterator[bool]:
        """Claims and sweeps one at a time: a folder just made is not yet locked. Yields False: taken."""
        gate = os.open(self._incoming / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(gate)

    # -- into place and out of it

    def origin_of(self, source: Path) -> str:
        """Where a file in ``incoming`` lies, relative to the directory; "" for one that lies elsewhere."""
        absolute = Path(os.path.abspath(source))
        return str(absolute.relative_to(self.root)) if absolute.is_relative_to(self._incoming) else ""

    def place(self, source: Path, target: str, *, durably: bool) -> Path:
        """Moves a file (already fsynced) into place; returns the mark to be settled.

        Args:
            source: on the same file system.
            target: relative to the directory.
            durably: the move survives a power cut by itself.

        The mark says: without a row this file is rubbish. It is written before the move and removed
        after the row's commit, so that a crash anywhere between leaves nothing that a sweep cannot judge.
        """
        key = Path(target).stem
        mark = self.incoming / f"{key}{_MARK}"
        mark.write_text(target)
        final = self.root / target
        if not final.parent.is_dir():
            final.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            os.replace(source, final)
        except BaseException:
            mark.unlink(missing_ok=True)
            raise
        if durably:
            _fsync(final.parent)
            _fsync(final.parent.parent)
        return mark

    def withdraw(self, mark: Path, target: str, source: Path) -> None:
        """Undoes ``place`` as far as the disk lets it."""
        try:
            os.replace(self.root / target, source)
            mark.unlink(missing_ok=True)
        except OSError:
            _log.warning("could not move %s back; the next start will clear it away", target)

    def discard(self, file: str) -> int:
        """Unlinks one file; returns the bytes freed, 0 where it is not there."""
        path = self.root / file
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def set_aside(self, source: Path) -> Path:
        """Moves a file to ``renders``, under a name of its own.

        Raises:
            StorageError: it stays where it was.
        """
        target = self.renders / f"{secrets.token_hex(16)}{source.suffix}"
        with storage_errors("delivering a sound", self.renders):
            self.renders.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(source, target)
        return target

    def keep_reserve(self) -> None:
        """Holds some space back: removing rows takes some before it gives any."""
        reserve = self.root / "reserve"
        if not reserve.exists():
            try:
                reserve.write_bytes(bytes(_RESERVE_BYTES))
            except OSError:
                reserve.unlink(missing_ok=True)

    def spend_reserve(self) -> bool:
        """Frees the space held back; False where it is spent already, or the disk takes no writes."""
        try:
            (self.root / "reserve").unlink()
        except OSError:
            return False
        _log.warning("the disk that holds %s is full; its reserve of %d kB is spent", self.root, _RESERVE_BYTES >> 10)
        return True

    # -- sweeping

    def sweep(
        self, is_known: Callable[[str], bool], home_of: Callable[[str], str], *, now: float | None = None
    ) -> list[str]:
        """Clears away what processes that are gone left behind; returns the files removed or brought back.

        Args:
            is_known: whether a row names this file (relative to the directory).
            home_of: the file that a row says came from this origin; "" where there is none.
        """
        if not self._incoming.is_dir():
            return []
        removed: list[str] = []
        with self._gate(wait=False) as mine:
            for item in self._abandoned(time.time() if now is None else now) if mine else ():
                removed += self._clear(item, is_known, home_of)
        return removed

    def stale(self, now: float | None = None) -> list[str]:
        """Files in ``incoming`` whose maker is gone, relative to the directory. Changes nothing."""
        if not self._incoming.is_dir():
            return []
        with self._gate(wait=True):
            return [
                str(file.relative_to(self.root))
                for item in self._abandoned(time.time() if now is None else now)
                for file in ([item] if item.is_file() else sorted(item.iterdir()))
                if file.name != _LOCK
            ]

    def in_flight(self, file: str) -> bool:
        """Whether a process is just putting this file into place."""
        name = f"{Path(file).stem}{_MARK}"
        return any(self._incoming.glob(f"*/{name}"))

    def _abandoned(self, now: float) -> Iterator[Path]:
        for item in sorted(self._incoming.iterdir()):
            if item.is_file():
                if item.name != _LOCK and now - item.stat().st_mtime > _LOOSE_AGE_S:
                    yield item
            elif item.is_dir() and not _is_held(item / _LOCK):
                yield item

    def _clear(self, item: Path, is_known: Callable[[str], bool], home_of: Callable[[str], str]) -> list[str]:
        touched: list[str] = []
        for mark in item.glob(f"*{_MARK}") if item.is_dir() else ():
            target = mark.read_text()
            inside = target.startswith(("audio/", "renditions/")) and ".." not in target
            if inside and not is_known(target) and self.discard(target):
                touched.append(target)
        for file in [item] if item.is_file() else sorted(item.iterdir()):
            if file.name != _LOCK and not file.name.endswith(_MARK):
                self._bring_back(file, home_of(str(file.relative_to(self.root))))
                touched.append(str(file.relative_to(self.root)))
        if item.is_dir():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)
        return touched

    def _bring_back(self, file: Path, home: str) -> None:
        final = self.root / home
        if home and not final.exists():
            final.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(file, final)
            _fsync(final.parent)
            _fsync(final.parent.parent)


def _is_held(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _fsync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
