"""``/v1/presets``: named sets of words and parameters listed, told, set and removed.

Owns: the routes; what conditions (If-Match, If-None-Match) mean for a preset, whose ETag is its revision.
Must not know: where presets are kept, how they are merged into a request.

Every key may read them, for they are what its sounds are made with; an operator's sets them, for they are everybody's.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Response, Router, delete, get, put
from litestar.exceptions import HTTPException
from msgspec import Meta, Struct

from audio_pool.client.async_client import AsyncAudioClient
from audio_pool.errors import Conflict, InvalidRequest, NotFound, Refused
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.http_request import header_of
from audio_pool.gateway.query import query_of
from audio_pool.gateway.sound_report import json_response
from audio_pool.presets import (
    MAX_AT_ONCE,
    Preset,
    PresetMetadata,
    PresetPage,
    PresetPriority,
    PresetRemoved,
    PresetType,
    normal_id,
)
from audio_pool.types import EngineName, PresetId
from audio_pool.validation import parse

__all__ = ["router"]

_TAGS = ["Presets"]
_TAG = re.compile(r'"([^"]*)"')
_CHANGED = "The preset says something else now"


class PresetsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which presets are wanted."""

    type: PresetType | None = None
    """Those of this type alone."""
    engine: EngineName | None = None
    """Those that suit it, or ``kind:NAME``, alone."""
    after: PresetId | None = None
    """Those whose ids come after this one."""
    limit: Annotated[int, Meta(ge=1, le=MAX_AT_ONCE)] = 100


class PresetBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a preset is to say; what is told of one may be sent back."""

    type: PresetType
    content: dict[str, Any]
    """Of a ``prompt``: before, after, negative, scene; else fields of a request that decide what a sound is."""
    engines: Annotated[list[EngineName], Meta(max_length=32)] = []
    """Names of engines and ``kind:NAME`` that it is for; none: all."""
    priority: PresetPriority | None = None
    """Where two presets say something about the same thing, the higher counts; null: 50."""
    id: PresetId | None = None
    """As in the address."""
    metadata: PresetMetadata | None = None
    """Only its priority counts."""

    def strength(self) -> int:
        """Return its priority."""
        if self.priority is not None:
            return self.priority
        return PresetMetadata().priority if self.metadata is None else self.metadata.priority


def router(door: Door) -> Router:
    """Return the routes."""

    def operated(request: HttpRequest) -> AsyncAudioClient:
        caller = door.caller(request)
        if not caller.operator:
            raise Refused("only an operator's key may set presets: they are everybody's")
        return door.client_of(caller)

    @get("/v1/presets", summary="List presets", tags=_TAGS, opt=described(
        Answer(200, "A page of them, in the order of their ids", PresetPage, headers=("link",)), query=PresetsQuery,
    ))  # fmt: skip
    async def listed(request: HttpRequest) -> Response[bytes]:
        asked = query_of(request, PresetsQuery)
        presets = door.client_of(door.caller(request)).presets
        page = await presets.list(type=asked.type, engine=asked.engine, after=asked.after, limit=asked.limit)
        return json_response(page, headers=_link(asked, page))

    @get("/v1/presets/{preset_id:path}", summary="Tell what a preset says", tags=_TAGS, opt=described(
        Answer(200, "The preset", Preset, headers=("etag",)),
        Answer(304, "It has not changed"),
        headers=(("if-none-match", "An ETag that is known"),),
    ))  # fmt: skip
    async def show(request: HttpRequest, preset_id: str) -> Response[bytes]:
        found = await door.client_of(door.caller(request)).presets.get(_id(preset_id))
        known = header_of(request, b"if-none-match")
        if known.strip() == "*" or found.revision in _TAG.findall(known):
            return Response(b"", status_code=304, headers=_etag(found))
        return json_response(found, headers=_etag(found))

    @put("/v1/presets/{preset_id:path}", status_code=200, summary="Set a preset", tags=_TAGS, opt=described(
        Answer(200, "As it is kept; it counts from the next request on", Preset, headers=("etag",)),
        Answer(412, _CHANGED),
        body=PresetBody,
        headers=(
            ("if-match", "Its ETag: only where it still says that"),
            ("if-none-match", "*: only where there is none of this id"),
        ),
    ))  # fmt: skip
    async def set_(request: HttpRequest, preset_id: str) -> Response[bytes]:
        client, name = operated(request), _id(preset_id)
        asked = parse(PresetBody, json_object(await request.body()))
        if asked.id is not None and normal_id(asked.id) != normal_id(name):
            raise InvalidRequest(f"id: given {asked.id!r}, the address names {name!r}; leave it out")
        expected = await _expected(request, client, name)
        try:
            kept = await client.presets.set(
                name,
                asked.type,
                asked.content,
                engines=asked.engines,
                priority=asked.strength(),
                if_revision=expected,
            )
        except Conflict as exc:
            raise HTTPException(status_code=412, detail=exc.message) from exc
        return json_response(kept, headers=_etag(kept))

    @delete("/v1/presets/{preset_id:path}", status_code=200, summary="Remove a kept preset", tags=_TAGS, opt=described(
        Answer(200, "It is kept no more; one that it stood before counts again", PresetRemoved),
        Answer(412, _CHANGED),
        headers=(("if-match", "Its ETag: only where it still says that"),),
    ))  # fmt: skip
    async def remove(request: HttpRequest, preset_id: str) -> Response[bytes]:
        client, name = operated(request), _id(preset_id)
        expected = await _expected(request, client, name)
        try:
            return json_response(await client.presets.remove(name, if_revision=expected))
        except Conflict as exc:
            raise HTTPException(status_code=412, detail=exc.message) from exc

    return Router("/", route_handlers=[listed, show, set_, remove])


def _id(path: str) -> str:
    """Return the id in an address, which may hold slashes. Raises InvalidRequest."""
    name = path.removeprefix("/")
    try:
        return msgspec.convert(name, PresetId)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"id: given {name!r:.80}, allowed are 1 to 64 characters, none of them a control character"
        ) from None


async def _expected(request: HttpRequest, client: AsyncAudioClient, name: str) -> str | None:
    """Return the revision that the preset has to have; "" for none, None for any. Raises HTTPException (412)."""
    match, none = header_of(request, b"if-match"), header_of(request, b"if-none-match")
    if not match and not none:
        return None
    try:
        revision = (await client.presets.get(name)).revision
    except NotFound:
        revision = ""
    named = _TAG.findall(match)
    if match and (not revision or (match.strip() != "*" and revision not in named)):
        raise HTTPException(status_code=412, detail=f"preset {name!r}: {'is none' if not revision else _CHANGED}")
    if none and revision and (none.strip() == "*" or revision in _TAG.findall(none)):
        raise HTTPException(status_code=412, detail=f"preset {name!r}: there is one")
    return revision


def _etag(preset: Preset) -> dict[str, str]:
    return {"etag": f'"{preset.revision}"', "cache-control": "no-cache"}


def _link(asked: PresetsQuery, page: PresetPage) -> dict[str, str]:
    if page.following is None:
        return {}
    fields = {name: value for name, value in msgspec.to_builtins(asked).items() if value is not None}
    query = urlencode({**fields, "after": page.following}, quote_via=quote)
    return {"link": f'</v1/presets?{query}>; rel="next"'}
