"""``POST /v1/sounds``: make or find a sound.

Owns: the route, how a request's body and headers are read, how a sound is written as bytes or as JSON.
Must not know: how a sound is made, jobs, kept sounds.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, Router, post
from msgspec import Struct

from audio_pool.api import as_request
from audio_pool.errors import BadMessage
from audio_pool.gateway.accept import JSON, accepted
from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.gateway.door import Door, HttpRequest, Sound
from audio_pool.gateway.problems import NotAcceptable, TooLarge
from audio_pool.results import SoundMetadata
from audio_pool.types import AudioRequest

__all__ = ["router"]

MAX_JSON_BYTES = 1 << 20


class SoundReport(Struct, frozen=True, kw_only=True):
    """A sound as JSON."""

    id: int | None
    """Of the kept sound; null: it is not kept."""
    url: str | None
    """Where its bytes are; null: nowhere, as it is not kept."""
    metadata: SoundMetadata


def router(door: Door) -> Router:
    """Return the route."""

    @post("/v1/sounds", status_code=200, summary="Make or find a sound")
    async def make(request: HttpRequest) -> Response[bytes]:
        choices = accepted(request.headers.get("accept", ""))
        asked = await asked_of(door, request)
        for kind, format_ in choices:
            if kind == "json":
                return as_json(await door.make(asked, request))
            if format_ is None or format_ == asked.format or asked.format is None:
                chosen = asked if format_ is None else msgspec.structs.replace(asked, format=format_)
                return as_bytes(await door.make(chosen, request))
        raise NotAcceptable(
            f"Accept: given {request.headers.get('accept', '')!r:.100} and format {asked.format}, allowed are "
            f"{JSON}, audio/* and {', '.join(MEDIA_TYPES.values())}"
        )

    return Router("/", route_handlers=[make])


async def asked_of(door: Door, http: HttpRequest) -> AudioRequest:
    """Return the request in a body. Raises BadMessage, InvalidRequest."""
    body = await http.body()
    if len(body) > MAX_JSON_BYTES:
        raise TooLarge(f"the body: given {len(body):,} bytes, allowed are {MAX_JSON_BYTES:,} of JSON")
    try:
        fields: Any = msgspec.json.decode(body)  # opaque until as_request has checked it
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"the body is not JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise BadMessage("the body: allowed is a JSON object with the fields of a request")
    if isinstance(fields.get("namespace"), str):  # the default one by its name, too, may be another's than the key's
        door.caller(http).namespace_of(fields["namespace"])
    return as_request(fields, {})


def as_json(sound: Sound) -> Response[bytes]:
    """Answer with the metadata."""
    entry = sound.metadata.entry_id
    url = None if entry is None else f"/v1/sounds/{entry}/audio?format={sound.metadata.format}"
    report = SoundReport(id=entry, url=url, metadata=sound.metadata)
    return Response(msgspec.json.encode(report), media_type=JSON, headers={"cache-control": "no-store"})


def as_bytes(sound: Sound) -> Response[bytes]:
    """Answer with the file."""
    return Response(sound.data, media_type=MEDIA_TYPES[sound.metadata.format], headers=headers_of(sound.metadata))


def headers_of(metadata: SoundMetadata) -> dict[str, str]:
    """Return what headers tell of a sound."""
    told: dict[str, object] = {
        "x-sound-id": metadata.entry_id,
        "x-sound-engine": metadata.engine,
        "x-sound-model": metadata.model,
        "x-sound-licence": metadata.licence,
        "x-sound-seed": metadata.base_seed,
        "x-sound-duration": metadata.duration_s,
        "x-sound-sample-rate": metadata.sample_rate,
        "x-sound-channels": metadata.channels,
        "x-sound-loop": str(metadata.is_loop).lower(),
        "x-sound-cached": str(metadata.cached).lower(),
        "x-sound-cache-type": metadata.cache_type,
        "x-sound-quality": metadata.quality.score,
        "x-sound-loudness-lufs": metadata.loudness_lufs,
    }
    headers = {name: _ascii(str(value)) for name, value in told.items() if value not in (None, "")}
    if metadata.warnings:
        headers["x-sound-warnings"] = _ascii("; ".join(metadata.warnings))
    return {**headers, "cache-control": "no-store"}


def _ascii(text: str) -> str:
    """Return text as a header may hold it."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:1000]
