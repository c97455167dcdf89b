"""``POST /v1/sounds/archive``: several kept sounds as one ZIP, sent while it is made.

Owns: the route, and the answer that sends it.
Must not know: what an archive looks like (packs/archive.py), how a file is written.

No more than a few files are in memory at a time, however many are asked for and however slow their reader is.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import weakref
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from litestar import Response, Router, post
from msgspec import Meta

from audio_pool.client.library import AsyncClientLibrary
from audio_pool.errors import AudioPoolError, Busy, NotFound
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.audio_response import Message, Receive, Send, content_disposition
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.library import Within
from audio_pool.gateway.problems import TooMany
from audio_pool.gateway.query import query_of
from audio_pool.gateway.told import public
from audio_pool.library import MAX_CHOSEN, MAX_PAGE, EntryId, FileForm, KeptSound, SoundFile
from audio_pool.packs.archive import Archive
from audio_pool.packs.names import slug
from audio_pool.validation import parse

__all__ = ["PackAsked", "router"]

log = logging.getLogger(__name__)

_ZIP = "application/zip"
_AHEAD = 2
"""Files that are got before the one in hand has been taken: a worker may have to write each."""
_MOST = 8
"""Archives under way at a time."""
_MOST_EACH = 3
"""Of them, of one key: who reads slowly leaves room for others."""
_BUSY_MS = 5000
_TOLD = 5
"""Missing sounds that an error names."""


class PackAsked(FileForm, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which kept sounds an archive holds, and how their files are written."""

    ids: Annotated[list[EntryId], Meta(min_length=1, max_length=MAX_CHOSEN)]
    """In this order; each once."""
    name: Annotated[str, Meta(min_length=1, max_length=100)] = "sounds"
    """Of the archive, too."""
    version: Annotated[str, Meta(min_length=1, max_length=40)] = "1.0.0"


def router(door: Door) -> Router:
    """Return the route."""
    under_way: weakref.WeakSet[_Making] = weakref.WeakSet()

    @post("/v1/sounds/archive", status_code=200, summary="Get several kept sounds as one ZIP", tags=["Library"],
          opt=described(
        Answer(200, "The files, named by their prompts, and pack.json", media=(_ZIP,)),
        query=Within, body=PackAsked,
    ))  # fmt: skip
    async def archive(request: HttpRequest) -> _ArchiveAnswer:
        within = query_of(request, Within)
        asked = parse(PackAsked, json_object(await request.body()))
        caller = door.caller(request)
        namespace, library = caller.namespace_of(within.namespace), door.client_of(caller).library
        whose = "" if caller.key is None else caller.mark
        if whose and sum(one.whose == whose for one in under_way) >= _MOST_EACH:
            raise TooMany(
                f"{_MOST_EACH} archives of this key are under way, allowed are {_MOST_EACH}", retry_after_ms=_BUSY_MS
            )
        if len(under_way) >= _MOST:
            raise Busy(f"{_MOST} archives are under way, allowed are {_MOST}", retry_after_ms=_BUSY_MS)
        making = _Making(library, asked, namespace, whose)
        under_way.add(making)  # before anything is waited for: many may be asked for at once
        try:
            await door.while_connected(request, making.find())
        except BaseException:
            under_way.discard(making)
            raise
        return _ArchiveAnswer(making, under_way)

    return Router("/", route_handlers=[archive])


async def _known(library: AsyncClientLibrary, ids: list[int], namespace: str) -> dict[int, KeptSound]:
    """Return what is known of the sounds, in their order. Raises NotFound where one is not there."""
    found: dict[int, KeptSound] = {}
    for start in range(0, len(ids), MAX_PAGE):
        page = await library.search(ids=ids[start : start + MAX_PAGE], namespace=namespace, limit=MAX_PAGE)
        found |= {one.id: one for one in page.sounds}
    missing = [one for one in ids if one not in found]
    if missing:
        told = ", ".join(map(str, missing[:_TOLD])) + (", ..." if len(missing) > _TOLD else "")
        raise NotFound(f"namespace {namespace!r} has no entries {told}", hint="leave them out")
    return {one: found[one] for one in ids}


class _Making:
    """One archive on its way."""

    def __init__(self, library: AsyncClientLibrary, asked: PackAsked, namespace: str, whose: str) -> None:
        """
        Args:
            whose: the mark of the key that it is for; "": there are no keys.
        """
        self.name = f"{slug(asked.name)}.zip"
        self.whose = whose
        self._library = library
        self._asked = asked
        self._namespace = namespace
        self._known: dict[int, KeptSound] = {}

    async def find(self) -> None:
        """Ask what is known of the sounds. Raises NotFound where one is not there."""
        self._known = await _known(self._library, list(dict.fromkeys(self._asked.ids)), self._namespace)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the archive. Raises AudioPoolError: there is no more of it."""
        archive, missing = Archive(self._asked.name, self._asked.version), list[int]()
        left = iter(self._known)
        coming: collections.deque[tuple[int, asyncio.Future[SoundFile]]] = collections.deque()
        try:
            while True:
                while len(coming) <= _AHEAD and (entry := next(left, None)) is not None:
                    coming.append((entry, asyncio.ensure_future(self._file(entry))))
                if not coming:
                    break
                entry, file = coming[0]
                try:
                    found = await file
                except NotFound:  # removed since; the rest is of use all the same
                    missing.append(entry)
                else:
                    yield self._added(archive, entry, found)
                coming.popleft()
            yield archive.finish(tuple(missing))
        finally:
            for _, file in coming:
                file.cancel()
            await asyncio.gather(*(file for _, file in coming), return_exceptions=True)

    async def _file(self, entry: int) -> SoundFile:
        form = {name: getattr(self._asked, name) for name in FileForm.__struct_fields__}
        return await self._library.file(entry, namespace=self._namespace, delivery="inline", **form)

    def _added(self, archive: Archive, entry: int, found: SoundFile) -> bytes:
        assert isinstance(found.data, bytes), "the pool was asked for inline delivery"
        metadata = public(found.metadata)
        sound = self._known[entry]
        return archive.add(found.data, metadata, sha256=found.sha256, tags=sound.tags, rating=sound.rating)


class _ArchiveAnswer(Response[bytes]):
    """An archive as an answer; a Response to the framework, and an ASGI application."""

    def __init__(self, making: _Making, under_way: weakref.WeakSet[_Making]) -> None:
        super().__init__(b"")
        self._making = making
        self._under_way = under_way

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:  # Any: the framework's own
        """Return what sends it."""
        return self

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send it, until the client goes away."""
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            results = await asyncio.gather(sending, gone, return_exceptions=True)
            self._under_way.discard(self._making)
        if isinstance(results[0], AudioPoolError | OSError):
            # the body stays without its end: who reads it is not to take it for the whole
            log.info("an archive has broken off: %s", results[0])

    async def _send(self, send: Send) -> None:
        headers = [
            (b"content-type", _ZIP.encode()),
            (b"content-disposition", content_disposition(self._making.name, attached=True)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with contextlib.aclosing(self._making.parts()) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
