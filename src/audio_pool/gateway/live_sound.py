"""A sound as an HTTP answer while it is made: what is known at its first chunk as headers, then the samples.

Owns: LiveSound (one sound on its way, from its first chunk on) and LiveAnswer, the ASGI application that sends it.
Must not know: routes, how a sound is asked for.

An error before the first chunk is an error like any other. After it the status has gone: the body then ends without
its last part, which every HTTP client takes for a broken connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from litestar import Response

from audio_pool.audio.stored_samples import streamed_wav_head
from audio_pool.errors import AudioPoolError
from audio_pool.gateway.audio_response import MEDIA_TYPES, Message, Receive, Send
from audio_pool.gateway.spool import Spool
from audio_pool.results import SAMPLE_BYTES, AudioResult, Chunk
from audio_pool.sound_stream import SoundStream
from audio_pool.types import AudioRequest

__all__ = ["LiveAnswer", "LiveSound"]

log = logging.getLogger(__name__)


class LiveSound:
    """A sound whose first chunk is there."""

    def __init__(
        self, stream: SoundStream, first: Chunk, asked: AudioRequest, leave: Callable[[AudioResult | None], None]
    ) -> None:
        """
        Args:
            asked: what it is made for; its format is wav or pcm.
            leave: called once at the end, with the result where there is one.
        """
        self.first = first
        self._stream = stream
        self._format = asked.format or "wav"
        self._asked = asked
        self._leave = leave

    @property
    def headers(self) -> dict[str, str]:
        """What is known of the sound before it is finished."""
        engine, voice = self._asked.engine or "", self._asked.voice
        told = {
            "cache-control": "no-store",
            "content-type": MEDIA_TYPES[self._format],
            "x-sound-sample-rate": str(self.first.sample_rate),
            "x-sound-channels": str(self.first.channels),
        }
        named = {"x-sound-engine": "" if engine.startswith("kind:") else engine, "x-sound-voice": voice}
        return told | {name: value for name, value in named.items() if value}

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes as they come; whoever stops early cancels the request.

        What its reader does not take at once waits on the disk, so that a slow one holds up neither the pool nor the
        gateway's memory. Raises AudioPoolError: there is no more of it.
        """
        spool = Spool()
        filling = asyncio.ensure_future(self._fill(spool))
        try:
            while data := await spool.get():
                yield data
            await filling
        finally:
            filling.cancel()
            with contextlib.suppress(asyncio.CancelledError, AudioPoolError, OSError):
                await filling
            self._stream.close()
            spool.close()
            done = self._stream.pending.done() and not self._stream.pending.cancelled()
            ended_well = done and self._stream.pending.exception() is None
            self._leave(self._stream.result(0.0) if ended_well else None)

    async def _fill(self, spool: Spool) -> None:
        try:
            if self._format == "wav":
                first = self.first
                bits = 8 * SAMPLE_BYTES[first.encoding]
                spool.put(streamed_wav_head(first.sample_rate, first.channels, bits))
            spool.put(self.first.data)
            async for chunk in self._stream:
                spool.put(chunk.data)
        finally:
            spool.end()


class LiveAnswer(Response[bytes]):
    """One answer with a sound that is being made; a Response to the framework, and an ASGI application.

    Args:
        headers: further ones; names in lower case, no control characters.
    """

    def __init__(self, sound: LiveSound, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(b"")
        self._sound = sound
        self._told = {**sound.headers, **(headers or {})}

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:  # Any: the framework's own
        """Return what sends it."""
        return self

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send it; when the client goes away, the pool stops working for it."""
        told = [(name.encode(), value.encode("latin-1")) for name, value in self._told.items()]
        sending = asyncio.ensure_future(self._send(told, send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            results = await asyncio.gather(sending, gone, return_exceptions=True)
        if isinstance(results[0], AudioPoolError | OSError):
            # the body stays without its end: who reads it is not to take it for the whole
            log.info("a stream has broken off: %s", results[0])

    async def _send(self, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with contextlib.aclosing(self._sound.parts()) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
