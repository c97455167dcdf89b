"""What was found in the place of a kept file, or without a row: for a person to look at.

Owns: the folder ``quarantine`` and the names in it.
Must not know: why a file is there, rows.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from audio_pool.errors import NotFound

__all__ = ["Quarantine", "Quarantined"]


class Quarantined(NamedTuple):
    """One file that was set apart."""

    name: str
    """In the folder; the former one follows its first hyphen."""
    size_bytes: int
    since: float
    """Seconds since 1970."""


class Quarantine:
    """The folder of one cache directory, made when something is put into it."""

    def __init__(self, root: Path) -> None:
        self.place = root / "quarantine"

    def take(self, source: Path, *, leave: bool = False) -> Path | None:
        """Move a file here under a name of its own; return its path, None where it is not there.

        Args:
            leave: the former name stays as well, and leads to the same file.
        """
        self.place.mkdir(mode=0o700, exist_ok=True)
        target = self.place / f"{secrets.token_hex(4)}-{source.name}"
        try:
            if leave:
                os.link(source, target, follow_symlinks=False)
            else:
                os.rename(source, target)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):  # another disk, or one without links
                raise
            if leave:
                shutil.copy2(source, target, follow_symlinks=False)
            else:
                shutil.move(source, target)  # a folder, too
        handle = os.open(self.place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return target

    def items(self) -> list[Quarantined]:
        """Return what is here, the newest last."""
        found = []
        for path in self.place.iterdir() if self.place.is_dir() else ():
            status = path.lstat()
            found.append(Quarantined(path.name, status.st_size, status.st_ctime))
        return sorted(found, key=lambda item: (item.since, item.name))

    def known(self, names: Iterable[str]) -> list[str]:
        """Return the names, each once. Raises NotFound where nothing here is called so."""
        chosen = list(dict.fromkeys(names))
        missing = sorted(set(chosen) - {item.name for item in self.items()})
        if missing:
            raise NotFound(f"nothing in quarantine is called {', '.join(missing)}", hint="quarantine list names all")
        return chosen

    def purge(self, names: list[str]) -> int:
        """Unlink files; return the bytes that gives back."""
        freed = 0
        for name in names:
            path = self.place / Path(name).name
            freed += path.lstat().st_size
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return freed
