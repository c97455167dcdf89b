"""Who is behind a request, by its key: the file of keys, read anew when it changes.

Owns: Keyring; where in a request a key stands.
Must not know: what a caller may do with a sound.
"""

from __future__ import annotations

import hmac
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from audio_pool.errors import AudioPoolError
from audio_pool.gateway.callers import HttpCaller
from audio_pool.gateway.key_file import HttpKey, hash_of, read_keys
from audio_pool.gateway.problems import Unauthenticated

__all__ = ["Keyring", "key_in"]

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
"""How old what is known of the file may be."""
_HINT = "send it as Authorization: Bearer KEY, Authorization: Key KEY, or xi-api-key: KEY"


def key_in(authorization: str, xi_api_key: str) -> str:
    """Return the key that a request's headers give; "": none."""
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "key" and value:
        return value.rpartition(":")[2]  # ID:SECRET, as such clients are configured
    return xi_api_key.strip()


class Keyring:
    """The keys of a file.

    Args:
        path: of the file; it must be there at the start.
        clock: seconds, monotonic.

    Raises:
        AudioPoolError: the file cannot be read.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._state: tuple[int, ...] = _state_of(path)
        self._by_hash: dict[str, HttpKey] = {key.sha256: key for key in read_keys(path)}
        self._looked = clock()

    def caller(self, key: str) -> HttpCaller:
        """Return who a key stands for.

        Raises:
            Unauthenticated: there is none, or it is not known (any more).
        """
        if not key:
            raise Unauthenticated("no key was given", hint=_HINT)
        self._look()
        given = hash_of(key)
        found = self._by_hash.get(given)
        if found is None or not hmac.compare_digest(found.sha256, given):
            raise Unauthenticated("the key that was given is not known here", hint=_HINT)
        return HttpCaller(name=found.name, namespace=found.namespace, operator=found.operator, key=found)

    def stands(self, key: HttpKey) -> bool:
        """Return True if a key is in the file still, with the very rights that it came with."""
        self._look()
        return self._by_hash.get(key.sha256) == key

    def knows(self, key: HttpKey) -> bool:
        """Return True if a key is still in the file."""
        return key.sha256 in self._by_hash

    def _look(self) -> None:
        """Read the file again if it has changed. What cannot be read lets nobody in: rights are never guessed."""
        now = self._clock()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        state = _state_of(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._by_hash = {key.sha256: key for key in read_keys(self._path)}
            log.info("%s: %d keys", self._path, len(self._by_hash))
        except AudioPoolError as exc:
            self._by_hash = {}
            log.error("no key is valid: %s", exc)


def _state_of(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode, found.st_uid
