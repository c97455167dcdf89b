"""A client's connection: made, and watched.

Owns: the socket of one dialogue, and what zmq's monitor tells of it.
Must not know: what messages say, and whether its user blocks or awaits.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

from audio_pool.client.session import Dialogue
from audio_pool.errors import Busy, Disconnected, Refused
from audio_pool.transport.keys import ClientKeys
from audio_pool.transport.sockets import Channel, dealer

__all__ = ["Keys", "Line"]

Keys = ClientKeys | str | Path | None
"""A key pair, the directory that holds it, or nothing for a server without keys."""

# zmq's socket monitor: events as in zmq.h, each a frame of uint16 event, int32 value
_CONNECTED = 0x1000  # handshake succeeded
_LOST = 0x0200
_UNFINISHED = 0x0800  # handshake failed: no detail
_BROKEN = 0x2000  # handshake failed: not the protocol, or other keys
_TURNED_AWAY = 0x4000  # handshake failed: authentication
_MONITORED = _CONNECTED | _LOST | _UNFINISHED | _BROKEN | _TURNED_AWAY


class Line:
    """The connection of one dialogue."""

    def __init__(self, endpoint: str, keys: Keys, dialogue: Dialogue) -> None:
        self._endpoint = endpoint
        self._dialogue = dialogue
        self._refused = False  # by the handshake, just now
        self._doubt = "are the keys the server's?" if keys else "does the server ask for keys?"
        self.channel = dealer(endpoint, keys=ClientKeys.read(Path(keys)) if isinstance(keys, str | Path) else keys)
        self.monitor = Channel(self.channel.raw.get_monitor_socket(_MONITORED))

    def close(self) -> None:
        self.channel.raw.disable_monitor()
        self.monitor.close()
        self.channel.close()

    def send(self, frames: list[bytes]) -> None:
        """Raises Busy: a thousand messages wait to be sent already."""
        if not self.channel.send(frames):
            raise Busy(f"too many messages wait to be sent to {self._endpoint}")

    def hear(self) -> None:
        """Takes in everything that has arrived."""
        while (frames := self.channel.receive()) is not None:
            # said here too: the connection may be made before the monitor is there to tell
            self._dialogue.connected = True
            self._dialogue.heard(frames)

    def expire(self) -> None:
        for frames in self._dialogue.expire(time.monotonic()):
            self.channel.send(frames)

    def watch(self) -> None:
        """Takes in what happened to the connection; zmq itself makes it anew."""
        lost = False
        while (frames := self.monitor.receive()) is not None:
            event, value = struct.unpack("=HI", frames[0])
            if event == _CONNECTED:
                self._dialogue.connected, self._dialogue.trouble = True, ""
            elif event == _LOST:
                # after a failed handshake nothing is lost: zmq tries again, with back-off
                lost = lost or not self._refused
                self._refused = False
            elif event == _TURNED_AWAY:
                self._refused = True
                self._dialogue.trouble = "the server turned this client's key away"
                self._dialogue.lose(Refused(f"{self._endpoint}: {self._dialogue.trouble} ({value})",
                                            hint="have its .key file put into allowed_clients"))  # fmt: skip
            elif event in (_UNFINISHED, _BROKEN):
                self._refused = True
                self._dialogue.trouble = f"the handshake failed; {self._doubt}"
        if lost:
            self.hear()  # what came before the end counts
            self._dialogue.connected = False
            self._dialogue.lose(
                Disconnected(f"the server at {self._endpoint} went away before the answer came", hint="ask again")
            )
