"""``/v1/cache``: how large the cache is and how old, what eviction takes next, what is there twice.

Owns: the routes, and what is told to operators alone.
Must not know: how anything of it is found.
"""

from __future__ import annotations

from litestar import Response, Router, get
from msgspec import Struct, structs

from audio_pool.api import CacheStats
from audio_pool.errors import Refused
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.library import told
from audio_pool.gateway.query import query_of
from audio_pool.gateway.sound_report import json_response
from audio_pool.stock import DuplicateGroup, Duplicates, EvictionPlan, LikenessMethod, Listed

__all__ = ["router"]

_TAGS = ["Cache"]


class PlanQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many are listed."""

    limit: Listed = 50


class DuplicateQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as the same, and how many groups are listed."""

    by: LikenessMethod = "any"
    limit: Listed = 50


def router(door: Door) -> Router:
    """Return the routes."""

    @get("/v1/cache", summary="Tell how large the cache is, and how it is used", tags=_TAGS, opt=described(
        Answer(200, "Figures; prompts for operators alone", CacheStats),
    ))  # fmt: skip
    async def figures(request: HttpRequest) -> Response[bytes]:
        caller = door.caller(request)
        found = structs.replace(
            await door.while_connected(request, door.client_of(caller).cache_stats()), cache_dir=""
        )
        if not caller.operator:
            found = structs.replace(found, top_prompts=(), worth_warming=())
        return json_response(found)

    @get("/v1/cache/eviction", summary="Tell which sounds eviction takes next", tags=_TAGS, opt=described(
        Answer(200, "By the rules that it goes by itself; for operators", EvictionPlan), query=PlanQuery,
    ))  # fmt: skip
    async def eviction(request: HttpRequest) -> Response[bytes]:
        _for_operators(request, door)
        asked = query_of(request, PlanQuery)
        library = door.client_of(door.caller(request)).library
        found = await door.while_connected(request, library.eviction(asked.limit))
        plain = tuple(structs.replace(one, sound=told(one.sound)) for one in found.next)
        return json_response(structs.replace(found, next=plain))

    @get("/v1/cache/duplicates", summary="Tell which kept sounds are one too many", tags=_TAGS, opt=described(
        Answer(200, "In groups; for operators", Duplicates), query=DuplicateQuery,
    ))  # fmt: skip
    async def duplicates(request: HttpRequest) -> Response[bytes]:
        _for_operators(request, door)
        asked = query_of(request, DuplicateQuery)
        library = door.client_of(door.caller(request)).library
        found = await door.while_connected(request, library.duplicates(asked.by, asked.limit))
        return json_response(structs.replace(found, groups=tuple(_plain(group) for group in found.groups)))

    return Router("/", route_handlers=[figures, eviction, duplicates])


def _for_operators(request: HttpRequest, door: Door) -> None:
    if not door.caller(request).operator:
        raise Refused("this is of everybody's sounds", hint="use an operator's key")


def _plain(group: DuplicateGroup) -> DuplicateGroup:
    return structs.replace(group, keep=told(group.keep), duplicates=tuple(told(one) for one in group.duplicates))
