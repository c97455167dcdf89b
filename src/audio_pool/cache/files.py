"""The cache's files in a local directory: which lies where, and what a dead process leaves behind.

Owns: the layout below, moving files into place so that a crash leaves a trace, and the sweep of such
traces; ``storage_errors``, which turns what the disk raises into plain errors.
Must not know: rows, recipes, sound.

    audio/ab/KEY.flac   masters
    renditions/ab/...   other formats of them
    renders/            delivered results that are not kept
    incoming/OWNER/     files that a running process is still making; .lock is held while it lives
    quarantine/         what was found in the place of a kept file; for a person to look at

A master's move into place is not followed by an fsync of its directory, which would double the cost of
keeping a sound. Where a power cut undoes the move, the file, fsynced by its maker, lies in ``incoming``
again, and its row, which names that place as its ``origin``, brings it back at the next opening.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audio_pool.cache.blobs import Placement, Render
from audio_pool.cache.carrying import READ_ONLY, carry, fsync_folder, part_of
from audio_pool.cache.neighbours import LOCK, Neighbours
from audio_pool.cache.quarantine import Quarantine
from audio_pool.claims import claim, gate, is_claimed
from audio_pool.errors import NotFound, StorageError

__all__ = ["Damaged", "DiskFull", "LocalFiles", "storage_errors"]

_log = logging.getLogger(__name__)

_MARK = ".placing"
_GATE_S = 10.0
_LOOSE_AGE_S = 3600.0
"""A file straight in ``incoming`` has no owner to ask; after this long nobody is writing it."""


class DiskFull(StorageError):
    """There is no space left."""


class Damaged(StorageError):
    """What is there cannot be read as what it was."""


@contextmanager
def storage_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what was being done and what to do."""
    try:
        yield
    except OSError as exc:
        raise storage_error(doing, where, exc) from exc


def storage_error(doing: str, where: str, exc: OSError) -> StorageError:
    """Return the StorageError that stands for an OSError."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(doing, where)
    if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return unwritable(doing, where, str(exc))
    return StorageError(f"{doing}: {where}: {exc}", hint="is it on a local disk, and does this user own it?")


def disk_full(doing: str, where: str) -> DiskFull:
    """Return the error for a disk without space."""
    return DiskFull(f"{doing}: the disk that holds {where} is full", hint="free some space and try again")


def unwritable(doing: str, where: str, why: str) -> StorageError:
    """Return the error for permissions or a mount that forbid writing."""
    return StorageError(f"{doing}: {where} cannot be written to ({why})", hint="check its owner and its mount")


class LocalFiles:
    """One cache directory's files. Threads may share it: it keeps no state but its claim."""

    def __init__(self, root: Path | str, *, create: bool = True, renders: Path | str | None = None) -> None:
        """
        Args:
            root: the directory.
            create: make it where it does not exist; otherwise that is an error.
            renders: another place than ``root/renders``, which may be on another disk.

        Raises:
            NotFound, StorageError.
        """
        self.root = Path(os.path.abspath(root))
        self.location = str(self.root)
        self._audio = self.root / "audio"
        self._renditions = self.root / "renditions"
        self._renders = Path(os.path.abspath(renders)) if renders else self.root / "renders"
        self._incoming = self.root / "incoming"
        self.neighbours = Neighbours(self._incoming)
        self.store_id = ""
        self._claim: tuple[Path, int] | None = None
        if create:
            with storage_errors("opening the cache", self.location):
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._renders.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._make_folders()
        elif not self.root.is_dir():
            raise NotFound(f"cache directory {str(root)!r} does not exist", hint="check its spelling")

    def _make_folders(self) -> None:
        """Make the folders that are missing, but never the directory itself: it may only have been moved away."""
        for path in (self._audio, self._renditions, self._renders, self._incoming):
            if not path.is_dir():
                path.mkdir(mode=0o700, exist_ok=True)

    def restore(self) -> None:
        """Make folders anew that have vanished; what lay in them is gone.

        Raises:
            StorageError.
        """
        with storage_errors("looking after the cache", self.location):
            self._make_folders()
        if self._claim is not None and not (self._claim[0] / LOCK).exists():
            lost, self._claim = self._claim[1], self._claimed()
            os.close(lost)

    def probe(self, size_bytes: int) -> None:
        """Write so many bytes as a new sound would be written, to each disk that it would lie on, and remove them.

        Raises:
            StorageError.
        """
        with storage_errors("trying the cache's disk", self.location):
            folders = (self.incoming, self._audio, self._renditions)
            for folder in {one.stat().st_dev: one for one in reversed(folders)}.values():
                self._try_writing(folder / "trial.bytes", size_bytes)

    def _try_writing(self, trial: Path, size_bytes: int) -> None:
        mark = self._mark(str(trial.relative_to(self.root)))  # else it might be taken for a lost sound
        try:
            with trial.open("wb") as file:
                file.write(bytes(size_bytes))
                file.flush()
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)

    # -- a place for files in the making

    @property
    def incoming(self) -> Path:
        """This process's own folder for files in the making; claimed at the first call."""
        if self._claim is None:
            self._claim = self._claimed()
        return self._claim[0]

    def _claimed(self) -> tuple[Path, int]:
        with storage_errors("claiming a folder for new sounds", self.location), self._alone():
            path = self._incoming / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            return path, claim(path / LOCK)

    @property
    def owner(self) -> str:
        """The name of this process's folder for files in the making: no other has had it, or ever will."""
        return self.incoming.name

    def release(self) -> None:
        """Give the claim back and remove what is left in the folder."""
        if self._claim is not None:
            path, held = self._claim
            self._claim = None
            shutil.rmtree(path, ignore_errors=True)
            os.close(held)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with gate(self._incoming / LOCK, _GATE_S) as inside:
            if not inside:
                raise StorageError(f"another process keeps {self._incoming} locked", hint="try again")
            yield

    # -- reading

    remote = False
    @property
    def trouble(self) -> str:
        """Return "": of a directory it is known when it is used."""
        return ""

    @property
    def lost(self) -> Sequence[str]:
        """Return nothing: what is not here is seen by looking."""
        return ()

    def is_copy(self, file: str) -> bool:
        """Return False: files lie here alone."""
        return False

    def elsewhere(self, file: str) -> bool:
        """Return False: what is not here is nowhere."""
        return False

    def bring(self, file: str, size_bytes: int) -> None:
        """Do nothing: a file that is not here is gone."""

    def bring_soon(self, file: str, size_bytes: int, done: Callable[[StorageError | NotFound | None], None]) -> None:
        """Call ``done``."""
        done(None)

    def belongs_to(self, store_id: str) -> None:
        """Take note of the store whose files these are."""
        self.store_id = store_id

    def name_for(self, folder: str, digest: bytes, suffix: str) -> str:
        """Return a new name that no file has had."""
        key = secrets.token_hex(16)
        return f"{folder}/{key[:2]}/{key}{suffix}"

    def send_ahead(self, paths: list[str], then: Callable[[], None]) -> None:
        """Go on: a move takes no time."""
        then()

    def path_of(self, file: str) -> str:
        """Return the absolute path of the file."""
        return f"{self.location}/{file}"

    def exists(self, file: str) -> bool:
        """Return True where the file is there."""
        return os.path.isfile(f"{self.location}/{file}")

    def is_whole(self, file: str, size_bytes: int) -> bool:
        """Return True where a regular file of this size is there."""
        return self.state_of(file, size_bytes) is not None

    def state_of(self, file: str, size_bytes: int) -> int | None:
        """Return the time of its last change; None where no regular file of this size is there."""
        try:
            found = os.lstat(f"{self.location}/{file}")
        except OSError:
            return None
        return found.st_ctime_ns if found.st_size == size_bytes and stat.S_ISREG(found.st_mode) else None

    def head_of(self, file: str, count: int) -> bytes:
        """Return the first bytes of a file; b"" where they cannot be read."""
        try:
            handle = os.open(f"{self.location}/{file}", os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return b""
        try:
            return os.read(handle, count)
        except OSError:
            return b""
        finally:
            os.close(handle)

    def is_odd(self, file: str) -> bool:
        """Return True where something else than a regular file has the name."""
        try:
            return not stat.S_ISREG(self._place_of(file).lstat().st_mode)
        except FileNotFoundError:
            return False

    def size_of(self, file: str) -> int | None:
        """Return the size of what has the name; None where nothing has."""
        try:
            return self._place_of(file).lstat().st_size
        except OSError:
            return None

    def _place_of(self, file: str) -> Path:
        """Return where a name leads, a render's too.

        Raises:
            OSError: out of the cache.
        """
        parts = Path(file).parts
        if ".." in parts or len(parts) < 2:
            raise OSError(errno.EPERM, "its name leads out of the cache")
        if parts[0] == "/":
            if Path(file).parent != self._renders:
                raise OSError(errno.EPERM, "it lies among another process's renders")
            return Path(file)
        return self.root / file

    def files(self) -> Iterator[str]:
        """Yield every master and rendition that is there."""
        for place in (self._audio, self._renditions):
            for directory, _, names in os.walk(place):
                for name in names:
                    yield str(Path(directory, name).relative_to(self.root))

    # -- into place and out of it

    def origin_of(self, source: Path) -> str:
        """Return the name of a file in ``incoming``, relative to the directory; "" for one that lies elsewhere."""
        absolute = Path(os.path.abspath(source))
        return str(absolute.relative_to(self.root)) if absolute.is_relative_to(self._incoming) else ""

    def place(self, source: Path, file: str) -> Placement:
        """Move a file (already fsynced) into place.

        The mark says: without a row this file is rubbish. It is written before the move and removed
        after the row's commit, so that a crash anywhere between leaves nothing that a sweep cannot judge.

        Only a master out of ``incoming``, on its disk, can be brought back after a power cut; the move of anything else
        is made durable here.
        """
        mark = self._mark(file)
        final = self.root / file
        if not final.parent.is_dir():
            final.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            carried = carry(source, final)
        except BaseException:
            mark.unlink(missing_ok=True)
            raise
        if carried or not (final.is_relative_to(self._audio) and self.origin_of(source)):
            fsync_folder(final.parent)
            fsync_folder(final.parent.parent)
        return Placement(mark, file, source)

    def _mark(self, file: str) -> Path:
        mark = self.incoming / f"{Path(file).stem}{_MARK}"
        mark.write_text(file)
        return mark

    def settle(self, placement: Placement) -> None:
        """Note that the row is committed: the mark is no longer needed."""
        placement.mark.unlink(missing_ok=True)

    def withdraw(self, placement: Placement) -> None:
        """Undo ``place`` as far as the disk lets it."""
        try:
            shutil.move(self.root / placement.file, placement.source)
            placement.mark.unlink(missing_ok=True)
        except OSError:
            _log.warning("could not move %s back; the next start will clear it away", placement.file)

    def discard(self, file: str) -> int:
        """Unlink one file, one of ``renders`` too; return the bytes freed, 0 where it is not there."""
        return _unlinked(self._place_of(file))

    def quarantine(self, file: str, *, leave: bool = False) -> Path | None:
        """Move whatever has the name to ``quarantine``; return its path there, None where nothing has.

        Args:
            leave: the name stays as well, and leads to the same file.
        """
        return Quarantine(self.root).take(self._place_of(file), leave=leave)

    # -- what is delivered and not kept

    def set_aside(self, source: Path) -> Path:
        """Move a file to ``renders``, under a name of its own.

        Raises:
            StorageError: it stays where it was.
        """
        target = self._renders / f"{secrets.token_hex(16)}{source.suffix}"
        with storage_errors("delivering a sound", str(self._renders)):
            self._renders.mkdir(mode=0o700, exist_ok=True)
            os.chmod(source, READ_ONLY)
            shutil.move(source, target)
        return target

    def renders(self) -> list[Render]:
        """Delivered results that are not kept, by name."""
        found = []
        for path in sorted(self._renders.iterdir()) if self._renders.is_dir() else ():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                inside = path.is_relative_to(self.root)
                file = str(path.relative_to(self.root)) if inside else str(path)
                found.append(Render(path, status.st_size, status.st_mtime, file))
        return found

    # -- sweeping

    def sweep(
        self, is_known: Callable[[str], bool], home_of: Callable[[str], str], *, now: float | None = None
    ) -> list[str]:
        """Clear away what processes that are gone left behind; return the files removed or brought back.

        Args:
            is_known: whether a row names this file (relative to the directory).
            home_of: the file that a row says came from this origin; "" where there is none.
        """
        if not self._incoming.is_dir():
            return []
        removed: list[str] = []
        with gate(self._incoming / LOCK, 0.0) as inside:
            for item in self._abandoned(time.time() if now is None else now) if inside else ():
                removed += self._clear(item, is_known, home_of)
        return removed

    def stale(self, now: float | None = None) -> list[str]:
        """Files in ``incoming`` whose maker is gone, relative to the directory. Changes nothing."""
        if not self._incoming.is_dir():
            return []
        with self._alone():
            return [
                str(file.relative_to(self.root))
                for item in self._abandoned(time.time() if now is None else now)
                for file in ([item] if item.is_file() else sorted(item.iterdir()))
                if file.name != LOCK
            ]

    def in_flight(self, file: str) -> bool:
        """Return True while a process is putting this file into place."""
        name = f"{Path(file).stem}{_MARK}"
        return any(self._incoming.glob(f"*/{name}"))

    def _abandoned(self, now: float) -> Iterator[Path]:
        for item in sorted(self._incoming.iterdir()):
            if item.is_file():
                if item.name != LOCK and now - item.stat().st_mtime > _LOOSE_AGE_S:
                    yield item
            elif item.is_dir() and not is_claimed(item / LOCK):
                yield item

    def _clear(self, item: Path, is_known: Callable[[str], bool], home_of: Callable[[str], str]) -> list[str]:
        touched: list[str] = []
        for mark in item.glob(f"*{_MARK}") if item.is_dir() else ():
            target = mark.read_text()
            inside = target.startswith(("audio/", "renditions/")) and ".." not in target
            if inside:
                part_of(self.root / target).unlink(missing_ok=True)
            if inside and not is_known(target) and self.discard(target):
                touched.append(target)
        for file in [item] if item.is_file() else sorted(item.iterdir()):
            if file.name != LOCK and not file.name.endswith(_MARK):
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
            carry(file, final)
            fsync_folder(final.parent)
            fsync_folder(final.parent.parent)


def _unlinked(path: Path) -> int:
    try:
        size = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
