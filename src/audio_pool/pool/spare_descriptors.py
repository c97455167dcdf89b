"""Descriptors that are held for the moment in which a process must be started, whatever else has used up the rest.

Owns: the spare ones, and when they are given up and taken again.
Must not know: what is opened in their place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["SpareDescriptors"]


class SpareDescriptors:
    """So many open descriptors that nobody uses. Used by one thread."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._held: list[int] = []
        self.fill()

    def fill(self) -> bool:
        """Take back what was lent; return True if all are there."""
        with contextlib.suppress(OSError):
            while len(self._held) < self._number:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return len(self._held) == self._number

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Make room for what is opened meanwhile."""
        self.release()
        try:
            yield
        finally:
            self.fill()

    def release(self) -> None:
        """Close all of them."""
        while self._held:
            os.close(self._held.pop())
