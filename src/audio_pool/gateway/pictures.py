"""``/v1/sounds/{id}/spectrogram.png``, ``tile.png`` and ``waveform.json``: a kept sound to look at.

Owns: the routes.
Must not know: how pictures are drawn.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import HttpMethod, Router, route
from msgspec import Meta, Struct

from audio_pool.gateway.audio_response import MEDIA_TYPES, AudioFile, AudioResponse
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.library import Within, entry_of
from audio_pool.gateway.query import query_of
from audio_pool.library import MAX_BUCKETS, WRITING_TIMEOUT_S, Waveform
from audio_pool.types import Name

__all__ = ["router"]

_TAGS = ["Library"]
_CONDITIONS = (("if-none-match", "An ETag that is known"),)
_UNCHANGED = (Answer(304, "It has not changed"), Answer(412, "It is another one"))


class PictureQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a kept sound is drawn."""

    namespace: Name | None = None
    """None: the key's own, else ``default``."""
    mel_bands: Annotated[int, Meta(ge=0, le=320)] = 0
    """0: one for each row of the picture."""
    highest_hz: Annotated[float, Meta(ge=500.0, le=96_000.0)] | None = None
    """None: 20,000, or what the sound's rate allows."""
    dark: bool = False


class WaveformQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How finely a kept sound is outlined."""

    namespace: Name | None = None
    """None: the key's own, else ``default``."""
    buckets: Annotated[int, Meta(ge=1, le=MAX_BUCKETS)] = 1024
    """At most so many."""


def router(door: Door) -> Router:
    """Return the routes."""
    methods = [HttpMethod.GET, HttpMethod.HEAD]

    @route("/v1/sounds/{entry:int}/spectrogram.png", http_method=methods, tags=_TAGS,
           summary="Get a picture of a kept sound", opt=described(
        Answer(200, "Waveform and mel spectrogram, 1,000 by 500", media=(MEDIA_TYPES["png"],), headers=("etag",)),
        Answer(206, "A part of it", media=(MEDIA_TYPES["png"], "multipart/byteranges")),
        *_UNCHANGED, Answer(416, "There is no such part"), query=PictureQuery, headers=_CONDITIONS,
    ))  # fmt: skip
    async def spectrogram(request: HttpRequest, entry: int) -> AudioResponse:
        asked, caller = query_of(request, PictureQuery), door.caller(request)
        picture = await door.while_connected(
            request,
            door.client_of(caller).spectrogram(
                entry_of(entry),
                namespace=caller.namespace_of(asked.namespace),
                mel_bands=asked.mel_bands,
                highest_hz=asked.highest_hz,
                dark=asked.dark,
                delivery="inline",
                timeout_s=WRITING_TIMEOUT_S,
            ),
        )
        assert isinstance(picture.data, bytes), "the pool was asked for inline delivery"
        shared = caller.key is None
        return AudioResponse(AudioFile(picture.data, media_type=MEDIA_TYPES["png"], immutable=True, shared=shared))

    @route("/v1/sounds/{entry:int}/tile.png", http_method=methods, tags=_TAGS,
           summary="Get a small picture of a kept sound", opt=described(
        Answer(200, "Its mel spectrogram alone, 240 by 120", media=(MEDIA_TYPES["png"],), headers=("etag",)),
        Answer(206, "A part of it", media=(MEDIA_TYPES["png"], "multipart/byteranges")),
        *_UNCHANGED, Answer(416, "There is no such part"), query=Within, headers=_CONDITIONS,
    ))  # fmt: skip
    async def tile(request: HttpRequest, entry: int) -> AudioResponse:
        asked, caller = query_of(request, Within), door.caller(request)
        picture = await door.while_connected(
            request,
            door.client_of(caller).library.tile(
                entry_of(entry), namespace=caller.namespace_of(asked.namespace), delivery="inline"
            ),
        )
        assert isinstance(picture.data, bytes), "the pool was asked for inline delivery"
        shared = caller.key is None
        return AudioResponse(AudioFile(picture.data, media_type=MEDIA_TYPES["png"], immutable=True, shared=shared))

    @route("/v1/sounds/{entry:int}/waveform.json", http_method=methods, tags=_TAGS,
           summary="Get the outline of a kept sound", opt=described(
        Answer(200, "As the program audiowaveform writes it", Waveform, headers=("etag",)),
        *_UNCHANGED, query=WaveformQuery, headers=_CONDITIONS,
    ))  # fmt: skip
    async def waveform(request: HttpRequest, entry: int) -> AudioResponse:
        asked, caller = query_of(request, WaveformQuery), door.caller(request)
        found = await door.while_connected(
            request,
            door.client_of(caller).library.waveform(
                entry_of(entry), namespace=caller.namespace_of(asked.namespace), buckets=asked.buckets
            ),
        )
        body, shared = msgspec.json.encode(found), caller.key is None
        return AudioResponse(AudioFile(body, media_type="application/json", immutable=True, shared=shared))

    return Router("/", route_handlers=[spectrogram, tile, waveform])
