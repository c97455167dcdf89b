"""Files that requests name, read and hashed beside everything else: each client in its turn, within its bounds.

Owns: whose file is read next, how much of one client's may wait, and that a reading stops when nobody wants it.
Must not know: what a file is read for, the scheduler, sockets.

Not the writer's thread, which stores and delivers everybody's sounds: forty files of a gigabyte would be before them.
"""

from __future__ import annotations

import collections
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from audio_pool.errors import AudioPoolError, Busy, Cancelled, InvalidAudio, NotFound

__all__ = ["FileReading", "Turn", "reading_threads"]

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
"""Read between two looks at whether the hash is still wanted."""
_THREADS = 2
_NICENESS = 10
"""Of the reading threads, so that hashing takes no time from workers that make sounds."""

Open = Callable[[], int]
"""Opens the file and returns its descriptor. Raises an AudioPoolError, or what ``os.open`` does."""
Done = Callable[[str | AudioPoolError], None]


def reading_threads() -> Executor:
    """Return the threads that read."""

    def begin() -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)  # Linux: of the thread alone
        except OSError:
            pass

    return ThreadPoolExecutor(_THREADS, thread_name_prefix="audio-pool-reading", initializer=begin)


class Turn:
    """One file that is to be read."""

    def __init__(self, client: str, name: str, open_file: Open, done: Done) -> None:
        self.client, self.name = client, name
        self.open_file, self.done = open_file, done
        self.wanted = True
        self.size = 0

    def give_up(self) -> None:
        """Stop reading at the next block; ``done`` is still called, once."""
        self.wanted = False


class FileReading:
    """Reads files by turns: one of each client that waits, then the next of each.

    ``submit`` may be called from one thread; ``done`` is called on a reading thread.
    """

    def __init__(self, threads: Executor, *, max_bytes: int, client_files: int, client_bytes: int) -> None:
        """
        Args:
            max_bytes: largest file.
            client_files, client_bytes: of one client that wait or are being read; the client "" has no such bound.
        """
        self._threads = threads
        self._max_bytes = max_bytes
        self._client_files, self._client_bytes = client_files, client_bytes
        self._lock = threading.Lock()
        self._unmeasured: collections.deque[Turn] = collections.deque()
        self._waiting: collections.OrderedDict[str, collections.deque[Turn]] = collections.OrderedDict()
        """By client; the one whose turn is next comes first."""
        self._files: collections.Counter[str] = collections.Counter()
        self._bytes: collections.Counter[str] = collections.Counter()
        self._closed = False

    def submit(self, client: str, name: str, open_file: Open, done: Done) -> Turn:
        """Have a file hashed: ``done`` gets its SHA-256 in hex, or why there is none.

        Args:
            name: what messages call the file.

        Raises:
            Busy: the client has as many files waiting as it may.
        """
        turn = Turn(client, name, open_file, done)
        with self._lock:
            if client and self._files[client] >= self._client_files:
                raise Busy(
                    f"{self._files[client]} files of this client wait to be read, allowed are {self._client_files}",
                    retry_after_ms=1000,
                )
            self._files[client] += 1
            self._unmeasured.append(turn)
        self._threads.submit(self._step)
        return turn

    def close(self) -> None:
        """Stop reading, between two blocks."""
        with self._lock:
            self._closed = True
        self._threads.shutdown()

    # -- on a reading thread -----------------------------------------------------------------------

    def _step(self) -> None:
        """Open the next file that was not looked at yet; else read the next whose turn it is."""
        with self._lock:
            fresh = self._unmeasured.popleft() if self._unmeasured else None
            turn = fresh or self._next()
        if turn is None:
            return
        try:
            if fresh is not None:
                self._measure(fresh)
                self._threads.submit(self._step)
                return
            found: str | AudioPoolError = self._sha256(turn)
        except AudioPoolError as exc:
            found = exc
        except (OSError, ValueError) as exc:  # ValueError: a zero byte in the path
            reason = exc.strerror if isinstance(exc, OSError) else exc
            found = NotFound(f"{turn.name} cannot be read: {reason}")
        except RuntimeError:  # the threads take nothing any more
            found = Cancelled("the pool is stopping")
        except BaseException:  # no memory, say: whatever it is, its request must not be left without its answer
            log.exception("reading a file failed: %s", turn.name)
            found = AudioPoolError(f"{turn.name}: reading it met a bug in the pool; its log says more")
        self._finish(turn)
        turn.done(found)

    def _next(self) -> Turn | None:
        if not self._waiting:
            return None
        client, turns = next(iter(self._waiting.items()))
        turn = turns.popleft()
        if turns:
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        return turn

    def _measure(self, turn: Turn) -> None:
        """Look at a file and let it wait for its turn, closed: descriptors are few. Raises what its caller is told."""
        if not turn.wanted:
            raise Cancelled("nobody wants it any more")
        fd = turn.open_file()
        size = os.fstat(fd).st_size
        os.close(fd)
        if size > self._max_bytes:
            raise InvalidAudio(f"{turn.name} has {size:,} bytes, allowed are {self._max_bytes:,}")
        with self._lock:
            waiting = self._bytes[turn.client]
            if turn.client and waiting and waiting + size > self._client_bytes:
                raise Busy(
                    f"{waiting:,} bytes of this client's files wait to be read, allowed are {self._client_bytes:,}",
                    retry_after_ms=1000,
                )
            turn.size = size
            self._bytes[turn.client] += size
            self._waiting.setdefault(turn.client, collections.deque()).append(turn)

    def _sha256(self, turn: Turn) -> str:
        digest, read = hashlib.sha256(), 0
        block = bytearray(_BLOCK_BYTES)
        with open(turn.open_file(), "rb", buffering=0) as file:
            while turn.wanted and not self._closed:
                count = file.readinto(block)
                if not count:
                    return digest.hexdigest()
                digest.update(memoryview(block)[:count])
                read += count
                if read > self._max_bytes:  # it has grown since it was looked at
                    raise InvalidAudio(f"{turn.name} has more than {self._max_bytes:,} bytes, which are allowed")
        raise Cancelled("nobody wants it any more")

    def _finish(self, turn: Turn) -> None:
        with self._lock:
            for counter, amount in ((self._files, 1), (self._bytes, turn.size)):
                counter[turn.client] -= amount
                if not counter[turn.client]:
                    del counter[turn.client]
