"""Where the image server's messages come in and its answers go out.

Owns: ImageRequests, which takes such a message wherever it arrives, and the optional PULL/PUSH pair of addresses.
Must not know: what the messages mean (image_server.py translates them).
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Mapping

from msgspec import Struct, structs

from audio_pool.config import ServerConfig
from audio_pool.errors import AudioPoolError
from audio_pool.pool.caller import Caller
from audio_pool.pool.replies import Reply
from audio_pool.pool.request_log import log_refusal
from audio_pool.pool.service import PoolService
from audio_pool.results import Accepted, Chunk, Progress
from audio_pool.server.callers import Callers
from audio_pool.server.image_server import MAX_FRAME_BYTES, alert, request_id_of, to_reply, to_request
from audio_pool.server.live_requests import LiveRequests
from audio_pool.transport.connections import Connections
from audio_pool.transport.sockets import Channel, puller, pusher
from audio_pool.transport.token import LocalToken

__all__ = ["ImageFrontEnd", "ImageRequests"]

log = logging.getLogger(__name__)

_MOST_PARKED = 10_000

Send = Callable[[bytes], None]


class _ImageSink(Struct, frozen=True, kw_only=True):
    """Who asked by an AudioRenderRequest: gets one AudioReady or one Alert, and no events."""

    request_id: str
    prompt: str
    send: Send

    def finish(self, reply: Reply) -> None:
        if reply.kind == "result" and reply.path is not None and reply.metadata is not None:
            self.send(to_reply(self.request_id, self.prompt, reply.path, reply.metadata.to_dict()))
        else:
            error = reply.failure.error() if reply.failure is not None else AudioPoolError("no sound and no reason")
            self.send(alert(self.request_id, error))

    def notify(self, body: Accepted | Progress) -> None:
        """Drop it: the protocol has no events."""

    def take_chunk(self, chunk: Chunk) -> bool:
        """Drop it, too."""
        return True


class ImageRequests:
    """Takes the image server's messages. Router's thread only."""

    def __init__(self, service: PoolService, live: LiveRequests) -> None:
        self._service = service
        self._live = live
        self.counts: collections.Counter[str] = collections.Counter()

    def take(self, frame: bytes, caller_of: Callable[[str], Caller], send: Send) -> None:
        """Take one JSON message: it is answered by one AudioReady or one Alert, whatever it is.

        Args:
            caller_of: who sent it, given the token that it shows ("": none); raises BadToken.
        """
        caller = caller_of("")
        try:
            asked = to_request(frame)
            caller = caller_of(asked.token)
            if asked.clear_queue:
                self._service.cancel_waiting(self._live.of_connection(caller))
            sink = _ImageSink(request_id=asked.request_id, prompt=asked.prompt, send=send)
            self._live.take_in(caller, asked.request, sink, events_wanted=False, size_bytes=len(frame))
        except Exception as exc:
            self.counts["refused"] += 1
            request_id, error = request_id_of(frame), self._service.refusal(exc)
            log_refusal(request_id, caller.client, error)
            send(alert(request_id, error))


class ImageFrontEnd:
    """Requests from a PULL address, answers to a PUSH address. Router's thread only."""

    connections: Connections | None = None
    """Its one peer is the image server."""

    def __init__(self, service: PoolService, config: ServerConfig) -> None:
        self.channel: Channel = puller(config.pull_bind, bind=True, max_bytes=MAX_FRAME_BYTES, knows_senders=True)
        try:
            self._push: Channel = pusher(config.push_bind, bind=True)
        except BaseException:
            self.channel.close()
            raise
        self._token = LocalToken.create(self.channel.endpoint)
        self._callers = Callers(self.channel, config, allowed=None, token=self._token)
        self._requests = ImageRequests(service, LiveRequests(service.intake))
        self._parked: collections.deque[bytes] = collections.deque()
        self._dropped = 0

    def on_message(self, frames: list[bytes]) -> None:
        """Take one message."""
        self._requests.take(frames[-1], self._caller, self._send)

    def _caller(self, token: str) -> Caller:
        """Return who pushed; however many connections they have, they are one: answers go to whoever pulls."""
        known = self._callers.by_token(b"", token) if token else self._callers.sender_of(b"")
        return structs.replace(known.caller, connection="image")

    def _send(self, reply: bytes) -> None:
        """Send, or keep for when somebody pulls again; beyond 10,000 the oldest is dropped and counted."""
        if len(self._parked) >= _MOST_PARKED:
            self._parked.popleft()
            self._dropped += 1
        self._parked.append(reply)
        self.flush()

    def watch(self) -> float | None:
        """Nothing: its one peer is the image server."""
        return None

    def flush(self) -> None:
        """Try the parked replies again."""
        while self._parked and self._push.send([self._parked[0]]):
            self._parked.popleft()

    @property
    def parked(self) -> bool:
        """True while nobody pulls."""
        return bool(self._parked)

    @property
    def reply_counts(self) -> Mapping[str, int]:
        """Replies dropped because nobody pulled."""
        return {"image_replies_dropped": self._dropped}

    @property
    def message_counts(self) -> Mapping[str, int]:
        """Messages refused."""
        return self._requests.counts

    def close(self) -> None:
        """Close both sockets."""
        if self._token is not None:
            self._token.remove()
        self.channel.close()
        self._push.close()
