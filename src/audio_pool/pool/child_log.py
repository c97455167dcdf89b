"""What a child prints: kept in a file of bounded size, passed on to the server's log, within limits per second.

Owns: the file and its turning over, which lines are dropped, the last lines for whoever asks why a child ended.
Must not know: pipes, processes.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ChildLog"]

log = logging.getLogger(__name__)

_MAX_BYTES = 16 << 20
_LAST_LINES = 12
_LONGEST_PARTIAL = 4096
_LONGEST_TOLD = 2000
_KEPT_PER_S, _TOLD_PER_S = 200, 20
_SECONDS_AT_ONCE = 10


class ChildLog:
    """The lines of one child. Used by one thread."""

    def __init__(self, file: Path, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.last_lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._file = file
        self._name = name
        self._partial = b""
        self._kept, self._told = _Allowance(_KEPT_PER_S, clock), _Allowance(_TOLD_PER_S, clock)

    def take(self, data: bytes) -> None:
        """Take what the child has printed."""
        *lines, partial = (self._partial + data).split(b"\n")
        self._partial = partial[-_LONGEST_PARTIAL:]
        self._write(lines)
        for line in lines[-_LAST_LINES:]:
            if text := _text(line):
                self.last_lines.append(text)
        self._tell(lines)

    def end(self) -> None:
        """Write what is left of it."""
        if self._partial:
            self.take(b"\n")
        for allowance, write in ((self._kept, self._append), (self._told, self._say)):
            if allowance.dropped:
                write(allowance.told_dropped())

    def _write(self, lines: list[bytes]) -> None:
        room = self._kept.take(len(lines))
        if room and self._kept.dropped_before:
            self._append(self._kept.told_dropped())
        if room:
            self._append_raw(b"".join(line + b"\n" for line in lines[:room]))

    def _tell(self, lines: list[bytes]) -> None:
        texts = [text for line in lines if (text := _text(line))]
        room = self._told.take(len(texts))
        if room and self._told.dropped_before:
            self._say(self._told.told_dropped())
        for text in texts[:room]:
            self._say(text)

    def _say(self, text: str) -> None:
        log.info("[%s] %s", self._name, text)

    def _append(self, text: str) -> None:
        self._append_raw(text.encode() + b"\n")

    def _append_raw(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep the child from being read
            if self._file.exists() and self._file.stat().st_size + len(data) > _MAX_BYTES:
                self._file.replace(self._file.with_suffix(".log.1"))
            with open(self._file, "ab", opener=_private) as file:
                file.write(data)


class _Allowance:
    """So many lines per second, and what went beyond them."""

    def __init__(self, per_s: int, clock: Callable[[], float]) -> None:
        self.dropped = 0
        """Since the last time that it was told."""
        self.dropped_before = False
        """Whether any were, before the lines that were allowed last."""
        self._per_s = per_s
        self._clock = clock
        self._room = float(per_s * _SECONDS_AT_ONCE)
        self._at = clock()

    def take(self, wanted: int) -> int:
        """Return how many of these lines are allowed; the rest counts as dropped."""
        now = self._clock()
        self._room = min(self._per_s * _SECONDS_AT_ONCE, self._room + (now - self._at) * self._per_s)
        self._at = now
        allowed = min(wanted, int(self._room))
        self._room -= allowed
        self.dropped_before = self.dropped > 0
        self.dropped += wanted - allowed
        return allowed

    def told_dropped(self) -> str:
        """Return the line that says how many were dropped, and begin anew."""
        dropped, self.dropped = self.dropped, 0
        return f"... {dropped:,} lines dropped"


def _text(line: bytes) -> str:
    return line[:_LONGEST_TOLD].decode(errors="replace").strip()


def _private(path: str, flags: int) -> int:
    """Open a log for its owner alone: it may hold prompts."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
