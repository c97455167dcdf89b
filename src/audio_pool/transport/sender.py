"""Who sent a message, as zmq and the system know it.

Owns: Sender, and whether its connection still is.
Must not know: zmq, what a sender may do.
"""

from __future__ import annotations

import os

from msgspec import Struct

__all__ = ["Sender", "inode_of"]


class Sender(Struct, frozen=True, kw_only=True):
    """One connection."""

    fd: int = -1
    """−1: it is in this process."""
    inode: int = 0
    """Of the socket: a descriptor's number is used again, this is not."""
    uid: int | None = None
    """The user at the other end of a local socket; None where the system does not tell."""
    key: str = ""
    """The CURVE public key that it proved to have (Z85)."""
    chose_its_id: bool = False
    """Its routing id is of its own choice, so another connection may come to have it later."""

    @property
    def gone(self) -> bool:
        """True once its connection has ended."""
        return self.fd >= 0 and (not self.inode or inode_of(self.fd) != self.inode)


def inode_of(fd: int) -> int:
    """Return a descriptor's inode; 0 where it is closed."""
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return 0
