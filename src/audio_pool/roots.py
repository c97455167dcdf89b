"""Folders beneath which a caller may name files.

Owns: Roots: whether a path lies beneath one, and opening what is there without following a single link.
Must not know: who asks, what is in the files.

A refusal says the same whatever is there, so that it tells nothing of the rest of the disk.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from audio_pool.errors import InvalidAudio, PathNotAllowed

__all__ = ["ANYWHERE", "NOWHERE", "Roots", "file_of"]

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Roots(Struct, frozen=True):
    """Where a caller may name files. Symbolic links beneath a root are not followed, wherever they lead."""

    folders: tuple[str, ...] | None
    """Absolute, as they are configured; (): nowhere; None: wherever this process may, links followed as usual."""

    def check(self, field: str, path: str) -> None:
        """Return if the path's words lie beneath a root; what is on the disk is not looked at.

        Args:
            field: names the path in the message.

        Raises:
            PathNotAllowed: they do not.
        """
        if self.folders is not None:
            self._place(field, path)

    @contextlib.contextmanager
    def folder_for(self, field: str, path: str) -> Iterator[tuple[int, str]]:
        """Give the open folder that a file is to be written into, which is made where it is missing, and its name.

        Raises:
            PathNotAllowed: it does not lie beneath a root, or a link is on the way. OSError: it cannot be opened.
        """
        if self.folders is None:
            parent, name = os.path.split(path)
            os.makedirs(parent, exist_ok=True)
            handle = os.open(parent, _FOLDER)
        else:
            root, parts = self._place(field, path)
            *above, name = parts
            handle = _walk(field, root, above, make=True)
        try:
            yield handle, name
        finally:
            os.close(handle)

    def open(self, field: str, path: str) -> int:
        """Return the descriptor of a regular file, for reading.

        Raises:
            PathNotAllowed: it does not lie beneath a root, or it or something on the way is a link.
            InvalidAudio: it is no regular file: a pipe or a device would never end. OSError: it cannot be opened.
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        if self.folders is None:
            handle = os.open(path, flags)
        else:
            root, parts = self._place(field, path)
            folder = _walk(field, root, parts[:-1], make=False)
            try:
                handle = os.open(parts[-1], flags | os.O_NOFOLLOW, dir_fd=folder)
            except OSError as exc:
                raise (_refusal(field) if _is_link(parts[-1], folder) else exc) from None
            finally:
                os.close(folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise InvalidAudio(f"{field}: {path!r} is not a regular file")
        return handle

    @contextlib.contextmanager
    def opened(self, field: str, path: str) -> Iterator[int]:
        """Do as ``open``, and close it at the end."""
        handle = self.open(field, path)
        try:
            yield handle
        finally:
            os.close(handle)

    def _place(self, field: str, path: str) -> tuple[str, list[str]]:
        """Return the root that the path lies beneath, and the names from there on."""
        parts = _names(path)
        if path.startswith("/") and ".." not in parts and not path.endswith("/"):
            for root in self.folders or ():
                above = _names(root)
                if len(parts) > len(above) and parts[: len(above)] == above:
                    return root, parts[len(above) :]
        raise _refusal(field)


ANYWHERE = Roots(None)
NOWHERE = Roots(())


def _refusal(field: str) -> PathNotAllowed:
    return PathNotAllowed(
        f"{field}: this client may not name that path",
        hint="ask who runs the server which folders are open to you, or leave the path out and have the file sent",
    )


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _walk(field: str, root: str, names: list[str], *, make: bool) -> int:
    """Return the open folder that the names lead to from a root."""
    # openat2 would do it in one call, but not on every kernel, nor does it make folders
    handle = os.open(root, _FOLDER)
    try:
        for name in names:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=handle)
            try:
                inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            except NotADirectoryError:  # a link, wherever it leads, or a file
                raise _refusal(field) from None
            os.close(handle)
            handle = inner
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def file_of(handle: int) -> Path:
    """Return a path by which this process can open what is behind an open descriptor."""
    return Path(f"/proc/self/fd/{handle}")
