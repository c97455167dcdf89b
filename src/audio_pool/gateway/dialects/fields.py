"""What a foreign body says, field by field: lenient where clients are, and every fault told at once.

Owns: reading JSON bodies and forms into a dialect's own struct; which of our own fields may stand beside it.
Must not know: any dialect.

Clients send null for what they leave out and fields of later versions of their API: null is absent, and what nobody
knows is ignored and named in the answer (``x-ignored-fields``). A field of AudioRequest that the dialect does not
have itself means what it means in our own API.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from litestar.datastructures import UploadFile
from msgspec import Struct

from audio_pool.errors import BadMessage, InvalidRequest
from audio_pool.gateway.door import HttpRequest
from audio_pool.gateway.problems import TooLarge
from audio_pool.types import AudioRequest

__all__ = ["MAX_JSON_BYTES", "BadFields", "Fault", "FieldFault", "Taken", "bytes_in", "read_form", "read_json", "take"]

T = TypeVar("T", bound=Struct)
Fields = dict[str, Any]
"""Opaque: a body's values before they are checked."""

MAX_JSON_BYTES = 1 << 20
_SHOWN = 60
_NOT_BESIDE = frozenset(("prompt", "init_audio", "output_path", "delivery", "durable"))
"""Of AudioRequest: the words are the dialect's own, and paths are nobody's over HTTP."""
_NATIVE = {
    field.name: field.type for field in msgspec.structs.fields(AudioRequest) if field.name not in _NOT_BESIDE
}


class Fault(Struct, frozen=True):
    """What is wrong with one field."""

    name: str
    message: str
    missing: bool = False


class FieldFault(Struct, frozen=True, kw_only=True):
    """One fault as several APIs tell it: FastAPI's way."""

    loc: list[str]
    """Where: ``body`` or ``query``, and the field's name."""
    msg: str
    type: str


class BadFields(InvalidRequest):
    """Fields of a foreign body that are missing or not allowed."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.name}: {fault.message}" for fault in faults))
        self.faults = faults

    def listed(self, *in_query: str, missing: str = "is missing") -> list[FieldFault]:
        """Return the faults in FastAPI's way.

        Args:
            in_query: names of fields that stand in the address.
            missing: what is said of a field that is.
        """
        return [
            FieldFault(
                loc=["query" if fault.name in in_query else "body", fault.name],
                msg=missing if fault.missing else fault.message,
                type="missing" if fault.missing else "value_error",
            )
            for fault in self.faults
        ]


@dataclass(frozen=True)
class Taken(Generic[T]):
    """A body as it was understood."""

    body: T
    native: Fields
    """Checked fields of AudioRequest that stood beside the dialect's own."""
    ignored: tuple[str, ...] = ()
    """Names of what nobody knows."""


async def read_json(http: HttpRequest, *, most_bytes: int = MAX_JSON_BYTES) -> Fields:
    """Return a body's fields. Raises BadMessage, TooLarge."""
    body = await http.body()
    if len(body) > most_bytes:
        raise TooLarge(f"the body: given {len(body):,} bytes, allowed are {most_bytes:,}")
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadMessage(f"the body is not JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise BadMessage("the body: allowed is a JSON object")
    return fields


async def read_form(http: HttpRequest) -> Fields:
    """Return a form's fields; a file is an ``UploadFile``. Raises BadMessage."""
    try:
        form = await http.form()
    except (ValueError, KeyError) as exc:
        raise BadMessage(f"the body is no form: {exc}") from None
    return {name: value for name, value in form.items() if isinstance(value, UploadFile) or value != ""}


def bytes_in(name: str, text: str) -> bytes:
    """Return the file that a field holds in base64, alone or as a data URI. Raises BadFields."""
    try:
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError):
        raise BadFields(Fault(name, "is not base64")) from None
    if not data:
        raise BadFields(Fault(name, "is an empty file"))
    return data


def take(cls: type[T], fields: Fields, *, texts: bool = False) -> Taken[T]:
    """Read what is known of a body.

    Args:
        cls: a Struct, the dialect's own fields.
        texts: numbers and truth values are written as text, as in a form.

    Raises:
        BadFields: names every field that is missing or not allowed.
    """
    own = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    faults: list[Fault] = []
    values: Fields = {}
    native: Fields = {}
    ignored: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        kind = own[name].type if name in own else _NATIVE.get(name)
        if kind is None:
            ignored.append(name)
            continue
        try:
            checked = msgspec.convert(_whole(value), kind, strict=not texts)
        except msgspec.ValidationError as exc:
            faults.append(Fault(name, _explained(value, str(exc))))
            continue
        if name in own:
            values[own[name].name] = checked
        else:
            native[name] = checked
    faults += [
        Fault(name, "is missing", missing=True)
        for name, field in own.items()
        if field.required and field.name not in values and name not in {fault.name for fault in faults}
    ]
    if faults:
        raise BadFields(*faults)
    return Taken(cls(**values), native, tuple(ignored))


def _whole(value: Any) -> Any:
    """Return a float that is a whole number as one: JSON writers differ."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def _explained(value: Any, reason: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    told = reason.replace("Expected", "allowed is").replace("Invalid enum value", "not an allowed value")
    return f"given {shown}, {told.replace('matching regex', 'matching')}"
