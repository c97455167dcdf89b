"""What a verification has found well, and in which state: what is in the same state need not be looked at again.

Owns: the protocol Seen.
Must not know: what is verified, the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Seen"]


class Seen(Protocol):
    """States by what they are of: a folder, an index, the rows."""

    def all(self) -> dict[str, str]:
        """Return every state there is."""

    def note(self, states: Mapping[str, str]) -> None:
        """Keep these states; a directory that takes no writes keeps none."""
