"""The server's log: one line for each record, written by a thread of its own into a file that stays bounded.

Owns: how a line looks (text or JSON), the file, its rotation, its reopening.
Must not know: what is logged.

Who logs only appends to a queue: writing to a disk that is slow or full must not stop the router. What a line says
comes from strangers in part, so everything is escaped: a line in the file is a record, whatever is in it.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import json
import logging
import os
import re
import stat
import threading
import time
from pathlib import Path

from audio_pool.cli.terminal import one_line

__all__ = ["JsonLines", "ServerLog", "TextLines"]

_MOST_WAITING = 20_000
"""Records; beyond them the oldest are dropped, and counted."""
_GATHER_S = 0.05
"""How long lines are gathered before one write; warnings and worse do not wait."""
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE = 16_384
_LONGEST_PROMPT = 80


_PLAIN = re.compile(r"[!#-<>-~]+")
"""A value that needs no quotes: visible ASCII but for quotes and equals signs."""


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _time_of(record: logging.LogRecord) -> str:
    """Return an ISO 8601 time in UTC with milliseconds."""
    seconds, milliseconds = divmod(int(record.created * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


class _Lines(logging.Formatter):
    """Common to both forms.

    Args:
        prompts: say what was asked for, shortened.
    """

    def __init__(self, *, prompts: bool = False) -> None:
        super().__init__()
        self._prompts = prompts

    def fields_of(self, record: logging.LogRecord) -> dict[str, str | int | float]:
        """Return a record's facts, without those that are empty."""
        found = {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}
        prompt = found.pop("prompt", "")
        if prompt and self._prompts:
            found["prompt"] = prompt if len(prompt) <= _LONGEST_PROMPT else prompt[:_LONGEST_PROMPT] + "..."
        return found


class TextLines(_Lines):
    """``2026-01-31T12:00:00.000Z INFO audio_pool.pool.requests: answered outcome=result request_id=...``

    A traceback follows in lines that begin with ``  | ``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line or lines."""
        line = f"{_time_of(record)} {record.levelname} {record.name}: {one_line(record.getMessage())}"
        for name, value in self.fields_of(record).items():
            line += f" {name}={_quoted(value) if isinstance(value, str) else value}"
        line = line[:_LONGEST_LINE]
        if record.exc_info and record.exc_info[0] is not None:
            trace = self.formatException(record.exc_info)[-_LONGEST_LINE:]
            line += "".join(f"\n  | {one_line(part)}" for part in trace.splitlines())
        return line


def _quoted(value: str) -> str:
    """Return a value that ends where the next blank is."""
    return value if _PLAIN.fullmatch(value) else json.dumps(one_line(value), ensure_ascii=False)


class JsonLines(_Lines):
    """One JSON object a line: timestamp, level, logger, message, the record's facts, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        told: dict[str, str | int | float] = {
            "timestamp": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST_LINE],
            **self.fields_of(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = self.formatException(record.exc_info)[-_LONGEST_LINE:]
        return json.dumps(told)


class ServerLog(logging.Handler):
    """Writes records to a file, in a thread of its own.

    Args:
        path: the file; readable by its owner only. ``path.1`` is the one before, and so on.
        max_bytes: of one file.
        files: kept, the current one among them.
    """

    def __init__(self, path: Path, lines: logging.Formatter, *, max_bytes: int, files: int) -> None:
        super().__init__()
        self.setFormatter(lines)
        self._path = path
        self._max_bytes, self._files = max_bytes, files
        self._waiting: collections.deque[logging.LogRecord] = collections.deque(maxlen=_MOST_WAITING)
        self._dropped = 0
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._reopen = self._ended = False
        self._file: io.FileIO | None = None
        self._size = 0
        self._rotates = True
        self._open()  # here: who starts a server is told at once that its log cannot be written
        self._thread = threading.Thread(target=self._run, name="audio-pool-log", daemon=True)
        self._thread.start()

    def configure(self, lines: logging.Formatter, *, max_bytes: int, files: int) -> None:
        """Write differently from now on."""
        self.setFormatter(lines)
        self._max_bytes, self._files = max_bytes, files

    def reopen(self) -> None:
        """Close the file and open its path again: another program has moved it away."""
        self._reopen = True
        self._hurry()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record, from any thread, without waiting for anything."""
        if len(self._waiting) == _MOST_WAITING:
            self._dropped += 1
        self._waiting.append(record)
        if record.levelno >= logging.WARNING:
            self._hurry()
        elif not self._wake.is_set():
            self._wake.set()
        return True

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._ended = True
        self._hurry()
        self._thread.join(5.0)
        super().close()

    def _hurry(self) -> None:
        self._urgent.set()
        self._wake.set()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(3600.0)
            self._urgent.wait(_GATHER_S)
            self._urgent.clear()
            self._wake.clear()
            self._write()
        self._write()
        self._close_file()

    def _write(self) -> None:
        if self._reopen:
            self._reopen = False
            self._close_file()
        taken = self._taken()
        if self._dropped:
            taken.append(_own(f"{self._dropped:,} records could not be written in time, or at all"))
        chunk = bytearray()
        try:
            for record in taken:
                chunk += self._line(record).encode("utf-8", "backslashreplace")
                if len(chunk) > _CHUNK_BYTES:
                    self._put(chunk)
                    chunk = bytearray()
            self._put(chunk)
            self._dropped = 0
        except OSError:  # a full disk costs lines, and nothing else; the path is tried again with the next ones
            self._dropped += len(taken)
            self._close_file()

    def _taken(self) -> list[logging.LogRecord]:
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._waiting.popleft())
        return taken

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + "\n"
        except Exception as exc:  # whatever was given to it: nobody else's line is lost
            return self.format(_own(f"a record of {record.name} cannot be written: {type(exc).__name__}")) + "\n"

    def _put(self, data: bytearray) -> None:
        if self._file is None:
            self._open()
        if self._rotates and self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        assert self._file is not None
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._size += len(data)

    def _rotate(self) -> None:
        self._close_file()
        for number in range(self._files - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        if self._files == 1:
            self._path.unlink(missing_ok=True)
        self._open()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o600)
        status = os.fstat(fd)
        # a device or a pipe (/dev/null, /dev/stderr) is everybody's: neither closed to others nor moved aside
        self._rotates = stat.S_ISREG(status.st_mode)
        if self._rotates:
            os.fchmod(fd, 0o600)  # of an earlier version, which left it to the umask
        self._file = io.FileIO(fd, "a")
        self._size = status.st_size

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _own(message: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
