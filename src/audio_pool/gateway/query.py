"""The part of an address behind its question mark, as a struct.

Owns: how parameters are read.
Must not know: any route.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from audio_pool.errors import InvalidRequest
from audio_pool.gateway.http_request import HttpRequest
from audio_pool.validation import parse

__all__ = ["query_of"]

T = TypeVar("T", bound=Struct)


def query_of(http: HttpRequest, cls: type[T]) -> T:
    """Return the parameters of a request as a ``cls``; those for its lists may be given several times.

    Raises:
        InvalidRequest: naming the parameter, what was given and what is allowed.
    """
    kinds = _kinds(cls)
    given: dict[str, Any] = {}  # Any: of the field's own type, or refused by parse
    for name in http.query_params:
        texts = http.query_params.getall(name)
        kind = kinds.get(name, "text")
        if kind == "list":
            given[name] = texts
        elif kind == "numbers":
            given[name] = [_value(text) for text in texts]
        elif len(texts) > 1:
            raise InvalidRequest(f"{name}: given {len(texts)} times, allowed is once")
        else:
            given[name] = texts[0] if kind == "text" else _value(texts[0])
    return parse(cls, given, what="query")


@functools.cache
def _kinds(cls: type[Struct]) -> dict[str, Literal["list", "numbers", "text", "other"]]:
    """Return how each parameter is read; looked up once, which takes longer than all the rest."""
    return {field.encode_name: _kind(msgspec.inspect.type_info(field.type)) for field in msgspec.structs.fields(cls)}


def _kind(info: msgspec.inspect.Type) -> Literal["list", "numbers", "text", "other"]:
    inner = info.type if isinstance(info, msgspec.inspect.Metadata) else info
    if isinstance(inner, msgspec.inspect.ListType):
        return "numbers" if isinstance(inner.item_type, msgspec.inspect.IntType) else "list"
    parts = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    may_be_text = any(isinstance(part, msgspec.inspect.StrType) or _is_word(part) for part in parts)
    return "text" if may_be_text else "other"


def _value(text: str) -> Any:  # Any: bool | int | float | str
    """Return what a text says as JSON, null excepted; else the text, which is refused later."""
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def _is_word(info: msgspec.inspect.Type) -> bool:
    return isinstance(info, msgspec.inspect.LiteralType) and isinstance(info.values[0], str)
