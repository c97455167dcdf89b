"""A remote worker's sockets: encrypted, and with large messages in pieces.

Owns: RemoteChannel.
Must not know: what the messages say, where keys come from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from audio_pool.errors import Disconnected
from audio_pool.transport.keys import ClientKeys
from audio_pool.transport.pieces import Assembly, Parting
from audio_pool.transport.sockets import Channel, dealer

__all__ = ["HIGH_WATER", "MOST_BYTES", "RemoteChannel"]

HIGH_WATER = 16
"""Messages and pieces that wait at each end of a connection."""
MOST_BYTES = 2 << 30
"""Of one message."""
_STUCK_S = 120.0
"""Without a single piece leaving: the connection is dead, whatever else says it lives."""


class RemoteChannel(Channel):
    """A DEALER to a pool on another machine. Used by the thread that made it."""

    def __init__(self, endpoint: str, identity: bytes, keys: ClientKeys, parting: Parting, *, patient: bool) -> None:
        """
        Args:
            patient: ``send`` waits for room; else it does not, and small messages may be dropped.
        """
        super().__init__(dealer(endpoint, identity=identity, keys=keys, high_water=HIGH_WATER).raw)
        self._parting = parting
        self._assembly = Assembly(MOST_BYTES)
        self._patient = patient

    def send(self, frames: Sequence[bytes | memoryview]) -> bool:
        """Send a message, in pieces where it is large; return whether it was taken.

        Raises:
            Disconnected: the other side takes no more.
        """
        for number, piece in enumerate(self._parting.parted(frames)):
            until = time.monotonic() + _STUCK_S
            while not super().send(piece):
                if not self._patient and number == 0:
                    return False
                if not self.wait_for_room(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    raise Disconnected(f"the pool has taken nothing for {_STUCK_S:g} s")
        return True

    def receive(self) -> list[bytes] | None:
        """Return the next message that is whole, or None. Raises BadMessage."""
        while (piece := super().receive()) is not None:
            whole = self._assembly.take(piece)
            if whole is not None:
                return [bytes(frame) for frame in whole]
        return None
