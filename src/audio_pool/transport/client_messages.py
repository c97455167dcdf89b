"""Messages and their bytes: msgpack maps, an explicit table of types, a protocol version.

Owns: every message between clients, router and workers, grouped by recipient, and ``pack``/``unpack``.
Must not know: sockets, processes, what the messages make anybody do.

Clients' messages are checked field by field (they come from anywhere). Messages between router and
workers are checked too: a worker may run another version of this package under its own interpreter.
docs/protocol.md tells the clients' half for other languages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import AudioPoolError, BadMessage, Busy, error_from_code
from audio_pool.types import Name, RequestId
from audio_pool.validation import parse

__all__ = [
    "MAX_CLIENT_BYTES",
    "PROTOCOL_VERSION",
    "CancelRequest",
    "ClapRequest",
    "EchoRequest",
    "Feedback",
    "Generate",
    "Query",
    "decode_client",
    "error_body",
    "error_of",
    ]

PROTOCOL_VERSION = 1
MAX_CLIENT_BYTES = 1 << 20
"""Largest message map a client may send; the socket closes connections that exceed it."""







# -- client -> router ------------------------------------------------------------------------------


class Generate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="generate"):
    """Asks for a sound. ``request`` is an AudioRequest, checked by the router."""

    v: Literal[1]
    request_id: RequestId
    request: dict[str, Any]
    events: bool = False


class CancelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="cancel"):
    """Asks that the request ``target`` be cancelled."""

    v: Literal[1]
    request_id: RequestId
    target: RequestId


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """status, health, engines, cache_stats: a question about the pool itself."""

    v: Literal[1]
    request_id: RequestId


class Status(Query, frozen=True, kw_only=True, tag="status"): ...


class Health(Query, frozen=True, kw_only=True, tag="health"): ...


class Engines(Query, frozen=True, kw_only=True, tag="engines"): ...


class CacheStats(Query, frozen=True, kw_only=True, tag="cache_stats"): ...


class Feedback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="feedback"):
    """What the caller thought of a result: written to the server's log and counted, nothing else."""

    v: Literal[1]
    request_id: RequestId
    target: RequestId
    verdict: Literal["good", "wrong", "bad_sound"]
    comment: Annotated[str, Meta(max_length=1000)] = ""


class EchoRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="echo"):
    """Sends ``payload`` through the scheduler and a worker and back: measures the path."""

    v: Literal[1]
    request_id: RequestId
    payload: Annotated[bytes, Meta(max_length=1 << 16)] = b""
    worker: Name | None = None


class ClapRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="clap"):
    """CLAP as a service: vectors, similarities, or labels with scores.

    ``embed`` answers a vector a text and a path; ``similarity`` the matrix of all against all;
    ``zero-shot`` a score for every label (``texts``) of every path.
    """

    v: Literal[1]
    request_id: RequestId
    operation: Literal["embed", "similarity", "zero-shot"]
    texts: Annotated[list[Annotated[str, Meta(min_length=1, max_length=2000)]], Meta(max_length=256)] = []
    paths: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(max_length=64)] = []


ClientMessage = Generate | CancelRequest | Status | Health | Engines | CacheStats | Feedback | EchoRequest | ClapRequest
_CLIENT_TYPES: dict[str, type[Any]] = {
    "generate": Generate,
    "cancel": CancelRequest,
    "status": Status,
    "health": Health,
    "engines": Engines,
    "cache_stats": CacheStats,
    "feedback": Feedback,
    "echo": EchoRequest,
    "clap": ClapRequest,
}


def decode_client(message: dict[str, Any]) -> ClientMessage:
    """The typed message of a client.

    Raises:
        BadMessage: naming the field, what was given and what is allowed.
    """
    kind = message.get("type")
    try:
        if message.get("v") != PROTOCOL_VERSION:
            raise BadMessage(f"field 'v': given {message.get('v')!r:.40}, allowed is {PROTOCOL_VERSION}")
        cls = _CLIENT_TYPES.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise BadMessage(f"field 'type': given {kind!r:.40}, allowed is one of {', '.join(_CLIENT_TYPES)}")
        try:  # the usual case at once; what is inside ``request`` is checked when it becomes an AudioRequest
            return msgspec.convert(message, cls, builtin_types=(bytes,))  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            return parse(cls, message, error=BadMessage, what=f"message {kind!r}")  # type: ignore[no-any-return]
    except RecursionError:  # msgpack nests deeper than Python's own stack, even where a value is only shown
        raise BadMessage("nested too deep") from None


# -- router -> client ------------------------------------------------------------------------------


def error_body(error: AudioPoolError) -> dict[str, Any]:
    """What crosses the wire of an error: code, message, hint, whether a retry can help."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retryable": error.retryable,
    }
    if isinstance(error, Busy):
        body["retry_after_ms"] = error.retry_after_ms
    return body


def error_of(body: dict[str, Any]) -> AudioPoolError:
    """The exception that an error reply stands for."""
    code = str(body.get("code", "internal"))
    error = error_from_code(code, str(body.get("message", "")), hint=str(body.get("hint", "")))
    wait_ms = body.get("retry_after_ms")
    if isinstance(error, Busy) and isinstance(wait_ms, int):  # an error must not fail for what comes with it
        error.retry_after_ms = wait_ms
    return error


# -- router -> worker ------------------------------------------------------------------------------
































# -- worker -> router ------------------------------------------------------------------------------






















