"""Files that the pool has sent, kept so that it need not send them again.

Owns: which files are kept, within how many bytes, and which one answered a request last.
Must not know: routes, the pool.

It decides nothing: every request goes to the pool, which looks, counts and judges as ever, and leaves the bytes
out where its answer is the very file that is here. A file of the pool never changes.
"""

from __future__ import annotations

import collections

__all__ = ["FileMemory"]

_SHARE = 8
"""A file larger than this part of the whole is not kept."""
_MOST_REQUESTS = 16_384


class FileMemory:
    """The files asked for last.

    Args:
        most_bytes: of all files together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._files: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        """By the pool's path; the one used last comes last."""
        self._answers: collections.OrderedDict[bytes, str] = collections.OrderedDict()
        """The path that answered a request last."""
        self.size_bytes = 0

    def find(self, request: bytes) -> tuple[str, bytes]:
        """Return the file that answered a request last, its path and its bytes; "" where it is not kept."""
        path = self._answers.get(request)
        data = None if path is None else self._files.get(path)
        if path is None or data is None:
            return "", b""
        self._files.move_to_end(path)
        self._answers.move_to_end(request)
        return path, data

    def keep(self, request: bytes, path: str, data: bytes) -> None:
        """Keep what answered a request."""
        if not path or len(data) > self._most_bytes // _SHARE:
            return
        self._answers[request] = path
        self._answers.move_to_end(request)
        if path not in self._files:
            self._files[path] = data
            self.size_bytes += len(data)
        self._files.move_to_end(path)
        while self.size_bytes > self._most_bytes:
            self.size_bytes -= len(self._files.popitem(last=False)[1])
        while len(self._answers) > _MOST_REQUESTS:
            self._answers.popitem(last=False)
