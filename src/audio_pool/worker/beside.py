"""One thing done in a thread beside what the caller does meanwhile.

Owns: the thread, and how its result or its error comes back.
Must not know: what is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Beside"]

T = TypeVar("T")


class Beside(Generic[T]):
    """Begins at once. What it does must end by itself: nobody can stop it."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        """Start a thread of this name."""
        self._work = work
        self._result: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as exc:
            self._error = exc

    def result(self) -> T:
        """Wait for the end; return what it gave, or raise what it raised, as often as it is asked for."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result
