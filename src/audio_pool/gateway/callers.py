"""Who asks over HTTP, and what they may do.

Owns: HttpCaller.
Must not know: how a key is checked (keyring.py), what is asked.
"""

from __future__ import annotations

from msgspec import Struct

from audio_pool.errors import Refused

__all__ = ["ANYBODY", "HttpCaller"]

_DEFAULT = "default"
"""The namespace of a request that names none."""


class HttpCaller(Struct, frozen=True, kw_only=True):
    """One who asks."""

    name: str
    """Of the key; empty: nobody in particular, on this machine."""
    namespace: str | None = None
    """The only one that it reads and writes; None: any."""
    operator: bool = False
    """May change and see what is anybody's."""

    def namespace_of(self, given: str | None) -> str:
        """Return the namespace of a request; ``given``: what it says, None or ``default`` where it says nothing.

        Raises:
            Refused: it is not this caller's.
        """
        if self.namespace is None:
            return given or _DEFAULT
        if given in (None, _DEFAULT, self.namespace):
            return self.namespace
        raise Refused(f"namespace: this key's is {self.namespace!r}, given was {given!r:.80}", hint="leave it out")


ANYBODY = HttpCaller(name="", operator=True)
"""Who comes from this machine where there are no keys: the user whose gateway it is, as far as can be told."""
