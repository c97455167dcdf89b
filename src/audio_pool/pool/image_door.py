"""Where the image server's messages come in and its answers go out.

Owns: its callers on the clients' socket, and the optional PULL/PUSH pair of addresses.
Must not know: what the messages mean (image_server.py translates them).
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass

from audio_pool.channel import Channel, puller, pusher
from audio_pool.errors import AudioPoolError
from audio_pool.pool.callers import Final
from audio_pool.pool.image_server import MAX_FRAME_BYTES, Translated, alert, to_reply

__all__ = ["ImageCaller", "ImageDoor"]

_PARKED_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class ImageCaller:
    """An AudioRenderRequest's asker: hears one AudioReady or one Alert, and no events."""

    request_id: str
    prompt: str
    send: Callable[[bytes], None]

    def finish(self, final: Final) -> None:
        if final.kind == "result" and final.path is not None:
            self.send(to_reply(self.request_id, self.prompt, final.path, final.metadata or {}))
        else:
            self.send(alert(self.request_id, final.error or AudioPoolError("no sound and no reason")))

    def notify(self, kind: str, body: dict[str, object]) -> None:
        """It knows no events."""

    @classmethod
    def of(cls, asked: Translated, send: Callable[[bytes], None]) -> ImageCaller:
        return cls(request_id=asked.request_id, prompt=asked.prompt, send=send)


class ImageDoor:
    """Requests from a PULL address, answers to a PUSH address. Router's thread only."""

    def __init__(self, pull_bind: str, push_bind: str) -> None:
        self.pull: Channel = puller(pull_bind, bind=True, max_bytes=MAX_FRAME_BYTES)
        try:
            self._push: Channel = pusher(push_bind, bind=True)
        except BaseException:
            self.pull.close()
            raise
        self._parked: collections.deque[bytes] = collections.deque()
        self.dropped = 0

    def send(self, reply: bytes) -> None:
        """Sends, or keeps for when somebody pulls again; beyond 10,000 the oldest is dropped and counted."""
        if len(self._parked) >= _PARKED_MOST:
            self._parked.popleft()
            self.dropped += 1
        self._parked.append(reply)
        self.flush()

    def flush(self) -> None:
        while self._parked and self._push.send([self._parked[0]]):
            self._parked.popleft()

    @property
    def parked(self) -> bool:
        return bool(self._parked)

    def close(self) -> None:
        self.pull.close()
        self._push.close()
