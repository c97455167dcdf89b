"""The part of an address behind its question mark, as a struct.

Owns: how parameters are read.
Must not know: any route.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from audio_pool.errors import InvalidRequest
from audio_pool.gateway.http_request import HttpRequest
from audio_pool.validation import parse

__all__ = ["query_of"]

T = TypeVar("T", bound=msgspec.Struct)


def query_of(http: HttpRequest, cls: type[T]) -> T:
    """Return the parameters of a request as a ``cls``; those for its lists may be given several times.

    Raises:
        InvalidRequest: naming the parameter, what was given and what is allowed.
    """
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    given: dict[str, Any] = {}  # Any: of the field's own type, or refused by parse
    for name in http.query_params:
        texts = http.query_params.getall(name)
        if _is_list(fields.get(name)):
            given[name] = texts
        elif len(texts) > 1:
            raise InvalidRequest(f"{name}: given {len(texts)} times, allowed is once")
        else:
            given[name] = _value(fields.get(name, str), texts[0])
    return parse(cls, given, what="query")


def _is_list(kind: Any) -> bool:  # Any: a type as its annotation has it
    info = msgspec.inspect.type_info(kind) if kind is not None else None
    inner = info.type if isinstance(info, msgspec.inspect.Metadata) else info
    return isinstance(inner, msgspec.inspect.ListType)


def _value(kind: Any, text: str) -> Any:
    """Return a parameter's value: the text where the field may be text, else what it says as JSON, null excepted."""
    info = msgspec.inspect.type_info(kind)
    parts = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    if any(isinstance(part, msgspec.inspect.StrType) or _is_word(part) for part in parts):
        return text
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def _is_word(info: msgspec.inspect.Type) -> bool:
    return isinstance(info, msgspec.inspect.LiteralType) and isinstance(info.values[0], str)
