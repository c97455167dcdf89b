"""``POST /v1/sounds/mark`` and ``POST /v1/sounds/remove``: many kept sounds marked or removed at once.

Owns: the routes.
Must not know: how it is done (pool/bulk.py); single sounds (library.py).
"""

from __future__ import annotations

import msgspec
from litestar import Response, Router, post
from msgspec import Struct

from audio_pool.gateway.asked import json_object
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.library import Within, changeable
from audio_pool.gateway.query import query_of
from audio_pool.gateway.sound_report import json_response
from audio_pool.library import EntryIds, SoundMarks, SoundsChanged
from audio_pool.validation import parse

__all__ = ["router"]


class ManyMarked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sounds are marked, and how."""

    ids: EntryIds
    marks: SoundMarks


class ManyRemoved(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sounds are removed."""

    ids: EntryIds
    spare_pinned: bool = False
    """Pinned ones stay, and are told among those that failed."""


def router(door: Door) -> Router:
    """Return the routes."""

    @post("/v1/sounds/mark", status_code=200, tags=["Library"],
          summary="Change what is marked of many kept sounds", opt=described(
        Answer(200, "Which were changed, and which could not be", SoundsChanged), query=Within, body=ManyMarked,
    ))  # fmt: skip
    async def change(request: HttpRequest) -> Response[bytes]:
        namespace = changeable(request, query_of(request, Within).namespace, door)
        asked = parse(ManyMarked, json_object(await request.body()))
        library = door.client_of(door.caller(request)).library
        return json_response(
            await library.mark_many(asked.ids, namespace=namespace, **msgspec.to_builtins(asked.marks))
        )

    @post("/v1/sounds/remove", status_code=200, summary="Remove many kept sounds", tags=["Library"], opt=described(
        Answer(200, "Which are offered to nobody any more, and which stay", SoundsChanged),
        query=Within, body=ManyRemoved,
    ))  # fmt: skip
    async def remove(request: HttpRequest) -> Response[bytes]:
        namespace = changeable(request, query_of(request, Within).namespace, door)
        asked = parse(ManyRemoved, json_object(await request.body()))
        library = door.client_of(door.caller(request)).library
        done = await library.remove_many(asked.ids, namespace=namespace, spare_pinned=asked.spare_pinned)
        for entry in done.changed:
            door.ready_files.forget(entry)
        return json_response(done)

    return Router("/", route_handlers=[change, remove])
