"""A request for a sound as our own API takes it: JSON, or a form with a sound to start from.

Owns: how a body is read, and its bounds.
Must not know: routes, how a sound is made, foreign APIs (dialects/).

A form (multipart/form-data) has the fields of a request as text: a number, truth value, list or object as JSON
writes it. Or they stand in one field, ``request``, as a JSON object. ``init_audio`` is a file.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from msgspec import Struct

from audio_pool.api import as_request
from audio_pool.errors import BadMessage, InvalidRequest
from audio_pool.gateway.http_request import HttpRequest, caller_of, header_of
from audio_pool.gateway.problems import TooLarge
from audio_pool.types import AudioRequest

__all__ = ["MAX_JSON_BYTES", "SOUND_BODY", "SOUND_FORM", "Asked", "asked_of", "json_object"]

MAX_JSON_BYTES = 1 << 20
_LONGEST_REMEMBERED = 1024
"""Bytes of a body whose reading is remembered."""

def _default(field: msgspec.structs.FieldInfo) -> Any:  # Any: of the field's own type
    """Return a field's default as a struct is made with it."""
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


Fields = dict[str, Any]
"""Opaque until as_request has checked them."""
_TYPES = {field.name: field.type for field in msgspec.structs.fields(AudioRequest)}


_NOT_OVER_HTTP = ("init_audio", "output_path", "delivery", "durable")
"""Fields that name files of the server, or how an answer travels, which HTTP itself says."""
SOUND_BODY: type[Struct] = msgspec.defstruct(
    "SoundRequest",
    [(one.name, one.type) if one.required else (one.name, one.type, _default(one))
     for one in msgspec.structs.fields(AudioRequest) if one.name not in _NOT_OVER_HTTP],
    namespace={"__doc__": "The sound that is wanted; null, or nothing: the pool's default.", "told_by": AudioRequest},
    kw_only=True, frozen=True, forbid_unknown_fields=True,
)  # fmt: skip
"""A request's fields as JSON has them over HTTP; what is taken is checked as AudioRequest."""
SOUND_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "init_audio": {"type": "string", "format": "binary", "description": "A sound file to start from."},
        "request": {"type": "string", "description": "The fields of a request as JSON; or each is a part of its own."},
    },
    "required": ["request"],
}


class Asked(Struct, frozen=True, kw_only=True):
    """What is asked for."""

    request: AudioRequest
    init_audio: bytes = b""
    """The file of a sound to start from; b"": none came."""
    namespace: str | None = None
    """As it was named; None: it was not."""


async def asked_of(http: HttpRequest) -> Asked:
    """Return what a body asks for. Raises BadMessage, InvalidRequest, Refused, TooLarge."""
    init_audio = b""
    if header_of(http, b"content-type").lower().startswith(RequestEncodingType.MULTI_PART):
        fields, init_audio = await _form(http)
        asked = Asked(request=as_request(fields, {}), init_audio=init_audio, namespace=fields.get("namespace"))
    else:
        body = await http.body()
        asked = _of_json(body) if len(body) <= _LONGEST_REMEMBERED else _of_json.__wrapped__(body)
    if asked.namespace is not None:  # the default one by its name, too, may be another's than the key's
        caller_of(http).namespace_of(asked.namespace)
    return asked


@functools.lru_cache(1024)
def _of_json(body: bytes) -> Asked:
    """Read a body; games send the same one again and again."""
    fields = json_object(body)
    return Asked(request=as_request(fields, {}), namespace=fields.get("namespace"))


def json_object(body: bytes) -> Fields:
    """Return the object that a body is. Raises BadMessage, TooLarge."""
    if len(body) > MAX_JSON_BYTES:
        raise TooLarge(f"the body: given {len(body):,} bytes, allowed are {MAX_JSON_BYTES:,} of JSON")
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"the body is not JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise BadMessage("the body: allowed is a JSON object with the fields of a request")
    return fields


async def _form(http: HttpRequest) -> tuple[Fields, bytes]:
    """Return a form's fields, and the sound in it."""
    fields: Fields = {}
    init_audio = b""
    form = await http.form()
    try:
        for name in dict.fromkeys(form.keys()):
            given = form.getall(name)
            if name == "init_audio":
                init_audio = await _file(given)
            elif any(isinstance(one, UploadFile) for one in given):
                raise InvalidRequest(f"{name}: given a file, which only init_audio may be")
            elif sum(len(one) for one in given) > MAX_JSON_BYTES:
                raise TooLarge(f"{name}: given more than {MAX_JSON_BYTES:,} characters")
            elif name == "request" and len(given) == 1:
                fields = {**json_object(given[0].encode()), **fields}
            else:
                fields[name] = _value(name, given[0]) if len(given) == 1 else given
    finally:
        await form.close()
    return fields, init_audio


async def _file(given: list[Any]) -> bytes:  # Any: str | UploadFile
    if len(given) != 1 or not isinstance(given[0], UploadFile):
        raise InvalidRequest("init_audio: allowed is one file (a part with a filename)")
    data: bytes = await given[0].read()
    if not data:
        raise InvalidRequest("init_audio: given 0 bytes, allowed is a sound file")
    return data


def _value(name: str, text: str) -> Any:  # Any: of the field's own type, or refused later
    """Return a field's value: the text itself where the field may be that text, else what it says as JSON."""
    if name not in _TYPES:
        return text
    try:
        return msgspec.convert(text, _TYPES[name])
    except msgspec.ValidationError:
        pass
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
