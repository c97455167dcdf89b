"""Who asks over HTTP, and what they may do.

Owns: HttpCaller.
Must not know: how a key is checked (keyring.py), what is asked.
"""

from __future__ import annotations

import hashlib
import hmac

from msgspec import Struct

from audio_pool.errors import Refused
from audio_pool.gateway.key_file import HttpKey

__all__ = ["ANYBODY", "HttpCaller"]


class HttpCaller(Struct, frozen=True, kw_only=True):
    """One who asks."""

    name: str
    """Of the key; empty: nobody in particular, on this machine."""
    namespace: str | None = None
    """The only one that it reads and writes; None: any."""
    operator: bool = False
    """May change and see what is anybody's."""
    key: HttpKey | None = None
    """None: there are no keys."""

    @property
    def mark(self) -> str:
        """What ids of this caller's jobs begin with. Another key of the same name, made later, has another one."""
        return "http" if self.key is None else hashlib.sha256(self.key.sha256.encode()).hexdigest()[:16]

    def digest(self, *parts: bytes) -> str:
        """Return what an id is made of that follows from what was asked, in hex.

        Who has the id of a job may fetch its file, and ``mark`` stands in every id: without the key nobody reckons
        another.
        """
        secret = b"" if self.key is None else self.key.sha256.encode()
        return hmac.new(secret, b"\0".join(parts), hashlib.sha256).hexdigest()

    def namespace_of(self, given: str | None) -> str:
        """Return the namespace of a request; ``given``: the one that it names, None where it names none.

        Raises:
            Refused: it is not this caller's.
        """
        if self.namespace is None:
            return given or "default"
        if given in (None, self.namespace):
            return self.namespace
        raise Refused(f"namespace: this key's is {self.namespace!r}, given was {given!r:.80}", hint="leave it out")


ANYBODY = HttpCaller(name="", operator=True)
"""Who comes from this machine where there are no keys: the user whose gateway it is, as far as can be told."""
