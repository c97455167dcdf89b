"""``/v1/sounds``: kept sounds searched, told, heard in any format, rated, tagged, pinned and removed.

Owns: the routes, and the Router of all that lies at this address.
Must not know: how sounds are found and written, pictures (pictures.py), how a new sound is made (sounds.py).
"""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from litestar import HttpMethod, Response, Router, delete, get, patch, put, route
from msgspec import UNSET, Struct, structs

from audio_pool.errors import InvalidRequest, Refused
from audio_pool.gateway import sounds
from audio_pool.gateway.asked import json_object
from audio_pool.gateway.audio_response import MEDIA_TYPES, AudioFile, AudioResponse
from audio_pool.gateway.described import AUDIO, Answer, described
from audio_pool.gateway.door import Door, HttpRequest
from audio_pool.gateway.query import query_of
from audio_pool.gateway.sound_report import headers_of, json_response
from audio_pool.gateway.told import public, without_paths
from audio_pool.library import EntryId, FileForm, KeptSound, KeptSounds, Rating, SoundMarks, SoundSearch, Tags
from audio_pool.types import Name
from audio_pool.validation import parse

__all__ = ["Within", "changeable", "entry_of", "kept_file", "router", "told"]

_TAGS = ["Library"]


class Within(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a kept sound is."""

    namespace: Name | None = None
    """None: the key's own, else ``default``."""


class FileQuery(FileForm, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which file of a kept sound is wanted."""

    namespace: Name | None = None
    """None: the key's own, else ``default``."""
    download: bool = False
    """Browsers save it instead of playing it."""


class Rated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rating."""

    rating: Rating


class Tagged(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All tags of a sound."""

    tags: Tags


def router(door: Door) -> Router:
    """Return the routes."""

    async def marked(http: HttpRequest, entry: int, marks: SoundMarks) -> Response[bytes]:
        namespace = changeable(http, query_of(http, Within).namespace, door)
        library = door.client_of(door.caller(http)).library
        sound = await library.mark(entry_of(entry), namespace=namespace, **msgspec.to_builtins(marks))
        return json_response(told(sound))

    @get("/v1/sounds", summary="Search kept sounds", tags=_TAGS, opt=described(
        Answer(200, "A page of them", KeptSounds, headers=("link",)), query=SoundSearch,
    ))  # fmt: skip
    async def search(request: HttpRequest) -> Response[bytes]:
        asked = query_of(request, SoundSearch)
        fields = msgspec.to_builtins(asked)
        fields["namespace"] = door.caller(request).namespace_of(asked.namespace)
        page = await door.while_connected(request, door.client_of(door.caller(request)).library.search(**fields))
        page = structs.replace(page, sounds=tuple(told(sound) for sound in page.sounds))
        return json_response(page, headers=_link(request, page))

    @get("/v1/sounds/{entry:int}", summary="Tell of a kept sound", tags=_TAGS, opt=described(
        Answer(200, "With its metadata", KeptSound), query=Within,
    ))  # fmt: skip
    async def show(request: HttpRequest, entry: int) -> Response[bytes]:
        namespace = door.caller(request).namespace_of(query_of(request, Within).namespace)
        sound = await door.client_of(door.caller(request)).library.sound(entry_of(entry), namespace=namespace)
        return json_response(told(sound))

    @route(
        "/v1/sounds/{entry:int}/audio",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        summary="Get a kept sound's file in any format",
        tags=_TAGS,
        opt=described(
            Answer(200, "The file", media=AUDIO, headers=("etag",)),
            Answer(206, "A part of it", media=(*AUDIO, "multipart/byteranges")),
            Answer(304, "It has not changed"),
            Answer(412, "It is another one"),
            Answer(416, "There is no such part"),
            query=FileQuery,
            headers=(("range", "The bytes that are wanted"), ("if-none-match", "An ETag that is known")),
        ),
    )
    async def audio(request: HttpRequest, entry: int) -> AudioResponse:
        asked = query_of(request, FileQuery)
        return await kept_file(door, request, entry_of(entry), asked)

    @patch("/v1/sounds/{entry:int}", summary="Change what is marked of a kept sound", tags=_TAGS, opt=described(
        Answer(200, "As it is marked now", KeptSound), query=Within, body=SoundMarks,
    ))  # fmt: skip
    async def change(request: HttpRequest, entry: int) -> Response[bytes]:
        return await marked(request, entry, parse(SoundMarks, json_object(await request.body())))

    @put("/v1/sounds/{entry:int}/rating", summary="Rate a kept sound", tags=_TAGS, opt=described(
        Answer(200, "As it is marked now", KeptSound), query=Within, body=Rated,
    ))  # fmt: skip
    async def rate(request: HttpRequest, entry: int) -> Response[bytes]:
        rated = parse(Rated, json_object(await request.body()))
        return await marked(request, entry, SoundMarks(rating=rated.rating))

    @put("/v1/sounds/{entry:int}/tags", summary="Set the tags of a kept sound", tags=_TAGS, opt=described(
        Answer(200, "As it is marked now", KeptSound), query=Within, body=Tagged,
    ))  # fmt: skip
    async def tag(request: HttpRequest, entry: int) -> Response[bytes]:
        tagged = parse(Tagged, json_object(await request.body()))
        return await marked(request, entry, SoundMarks(tags=tagged.tags))

    mark_it = described(Answer(200, "As it is marked now", KeptSound), query=Within)

    @put("/v1/sounds/{entry:int}/favourite", summary="Make a kept sound a favourite", tags=_TAGS, opt=mark_it)
    async def favour(request: HttpRequest, entry: int) -> Response[bytes]:
        return await marked(request, entry, SoundMarks(favourite=True))

    @put("/v1/sounds/{entry:int}/pin", summary="Pin a kept sound: no rule removes it", tags=_TAGS, opt=mark_it)
    async def pin(request: HttpRequest, entry: int) -> Response[bytes]:
        return await marked(request, entry, SoundMarks(pinned=True))

    @delete(
        "/v1/sounds/{entry:int}/rating", status_code=200, summary="Take a rating back", tags=_TAGS, opt=mark_it
    )
    async def unrate(request: HttpRequest, entry: int) -> Response[bytes]:
        return await marked(request, entry, SoundMarks(rating=0))

    @delete(
        "/v1/sounds/{entry:int}/favourite", status_code=200, summary="Not a favourite any more", tags=_TAGS, opt=mark_it
    )
    async def disfavour(request: HttpRequest, entry: int) -> Response[bytes]:
        return await marked(request, entry, SoundMarks(favourite=False))

    @delete("/v1/sounds/{entry:int}/pin", status_code=200, summary="Take a pin off", tags=_TAGS, opt=mark_it)
    async def unpin(request: HttpRequest, entry: int) -> Response[bytes]:
        return await marked(request, entry, SoundMarks(pinned=False))

    @delete("/v1/sounds/{entry:int}", status_code=204, summary="Remove a kept sound", tags=_TAGS, opt=described(
        Answer(204, "Nobody is offered it any more"), query=Within,
    ))  # fmt: skip
    async def remove(request: HttpRequest, entry: int) -> None:
        namespace = changeable(request, query_of(request, Within).namespace, door)
        await door.client_of(door.caller(request)).library.remove(entry_of(entry), namespace=namespace)
        door.ready_files.forget(entry)

    marking = [change, rate, unrate, tag, favour, disfavour, pin, unpin]
    return Router("/", route_handlers=[sounds.handler(door), search, show, audio, *marking, remove])


def entry_of(number: int) -> int:
    """Return the id of a kept sound in an address. Raises InvalidRequest."""
    try:
        return msgspec.convert(number, EntryId)
    except msgspec.ValidationError:
        raise InvalidRequest(f"id: given {number}, allowed is 1 to {2**63 - 1}") from None


def changeable(http: HttpRequest, given: str | None, door: Door) -> str:
    """Return the namespace that is changed; a key changes what is in its own, an operator's any. Raises Refused."""
    caller = door.caller(http)
    namespace = caller.namespace_of(given)
    if caller.operator or caller.namespace is not None:
        return namespace
    raise Refused(
        f"namespace: sounds of {namespace!r} are others' too", hint="use a key with a namespace, or an operator's"
    )


def told(sound: KeptSound) -> KeptSound:
    """Return a kept sound as anybody may have it."""
    metadata = sound.metadata
    return structs.replace(
        sound, model=without_paths(sound.model), metadata=UNSET if metadata is UNSET else public(metadata)
    )


async def kept_file(door: Door, http: HttpRequest, entry: int, asked: FileQuery) -> AudioResponse:
    """Answer with a kept sound's file. Raises NotFound, InvalidRequest."""
    caller = door.caller(http)
    namespace = caller.namespace_of(asked.namespace)
    key = namespace, asked, caller.key is None

    async def fetch() -> AudioResponse:
        form = msgspec.to_builtins(asked)
        for name in ("namespace", "download"):
            form.pop(name, None)
        found = await door.client_of(caller).library.file(entry, namespace=namespace, delivery="inline", **form)
        assert isinstance(found.data, bytes), "the pool was asked for inline delivery"
        metadata = found.metadata
        file = AudioFile(
            found.data,
            media_type=MEDIA_TYPES[found.format],
            sha256=found.sha256,
            name=f"{metadata.prompt[:60]}.{found.format}",
            attached=asked.download,
            modified=metadata.generation_timestamp,
            immutable=True,
            shared=caller.key is None,
        )
        headers = tuple((name.encode(), value.encode()) for name, value in headers_of(metadata).items())
        return door.ready_files.keep(entry, key, file, headers)

    ready = door.ready_files.find(entry, key)
    if ready is not None:
        return ready
    return await door.while_connected(http, door.ready_files.answer(entry, key, fetch))


def _link(http: HttpRequest, page: KeptSounds) -> dict[str, str]:
    """Return where the next page is, as RFC 8288 says it."""
    if page.next is None:
        return {}
    rest = [(name, value) for name, value in http.query_params.multi_items() if name != "after"]
    return {"link": f'<{http.url.path}?{urlencode([*rest, ("after", page.next)])}>; rel="next"'}
