"""Errors over HTTP: which status each means, and their bodies as problem+json (RFC 9457).

Owns: the one table from an error's code to its status, Retry-After, the body of our own API.
Must not know: routes, and how other dialects write their errors (dialects/).
"""

from __future__ import annotations

import http
import logging
import math
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import UNSET, Struct, UnsetType

from audio_pool.errors import AudioPoolError, BadMessage, Busy, CallerError, Conflict, NotFound, Refused
from audio_pool.gateway.told import public_error

__all__ = [
    "MAX_RETRY_AFTER_S",
    "MEDIA_TYPE",
    "PROBLEM_HANDLERS",
    "ClientGone",
    "NotAcceptable",
    "Problem",
    "ReusedKey",
    "TooLarge",
    "TooMany",
    "TooSlow",
    "Unauthenticated",
    "error_of",
    "retry_after",
    "status_of",
]

log = logging.getLogger(__name__)

MAX_RETRY_AFTER_S = 120
"""Clients give up at once where more is asked of them."""
MEDIA_TYPE = "application/problem+json"
CLIENT_GONE = 499
"""Nobody reads it: the client has gone. In logs and figures it is told from a server's failure."""

_STATUS: dict[str, int] = {
    "bad_request": 422,
    "bad_message": 400,
    "unknown_engine": 422,
    "not_supported": 422,
    "bad_audio": 422,
    "unauthenticated": 401,
    "refused": 403,
    "path_not_allowed": 403,
    "not_found": 404,
    "not_acceptable": 406,
    "conflict": 409,
    "cancelled": 409,
    "too_slow": 408,
    "idempotency_key_reused": 422,
    "too_large": 413,
    "too_many": 429,
    "client_gone": CLIENT_GONE,
    "bad_config": 500,
    "engine_failed": 500,
    "quality": 500,
    "poisoned": 500,
    "internal": 500,
    "bad_token": 503,
    "engine_unavailable": 503,
    "signing_failed": 503,
    "out_of_memory": 503,
    "device_lost": 503,
    "worker_failed": 503,
    "worker_died": 503,
    "worker_start": 503,
    "busy": 503,
    "disconnected": 503,
    "server_restarted": 503,
    "closed": 503,
    "storage": 503,
    "timeout": 504,
    "expired": 504,
}


class Unauthenticated(Refused):
    """No key was given, or none that is known."""

    code = "unauthenticated"


class TooMany(Busy):
    """A key has used up what it is entitled to; ``retry_after_ms`` says when there is more."""

    code = "too_many"


class TooLarge(CallerError):
    """The body has more bytes than are taken."""

    code = "too_large"


class NotAcceptable(CallerError):
    """None of what Accept takes can be given."""

    code = "not_acceptable"


class ReusedKey(CallerError):
    """An Idempotency-Key came before, with another request."""

    code = "idempotency_key_reused"


class TooSlow(CallerError):
    """The body did not come in time."""

    code = "too_slow"


class ClientGone(AudioPoolError):
    """Whoever asked has closed the connection; nobody reads an answer."""

    code = "client_gone"


class Problem(Struct, frozen=True, kw_only=True):
    """An error of our own API."""

    title: str
    """What the status is called."""
    status: int
    detail: str
    """What was given, what is allowed, what happened."""
    code: str
    """For programs: one of docs/protocol.md, or of docs/http.md."""
    hint: str = ""
    """What to do about it."""
    retryable: bool = False
    """The same request may succeed later."""
    request_id: str = ""
    errors: list[str] | UnsetType = UNSET
    """Where there are several."""


def status_of(error: AudioPoolError) -> int:
    """Return the HTTP status that an error means."""
    return _STATUS.get(error.code, 500)


def retry_after(error: AudioPoolError) -> int | None:
    """Return the whole seconds of a Retry-After header, 1..120; None: none is sent."""
    if error.retry_after_ms is not None:
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(error.retry_after_ms / 1000)))
    return 1 if status_of(error) in (429, 503) and error.retryable else None


def error_of(exc: Exception) -> AudioPoolError:
    """Return any exception as one of ours, without paths; what was not meant to happen is logged, and hardly told."""
    if isinstance(exc, AudioPoolError):
        return public_error(exc)
    if isinstance(exc, HTTPException):
        detail = str(exc.detail) or http.HTTPStatus(exc.status_code).phrase
        if exc.status_code == http.HTTPStatus.NOT_FOUND:
            return NotFound("there is nothing at this address")
        if exc.status_code == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge("the body has more bytes than are taken (http.max_body_bytes)")
        if exc.status_code == http.HTTPStatus.PRECONDITION_FAILED:
            return Conflict(detail)
        return BadMessage(detail) if exc.status_code < 500 else AudioPoolError(detail)
    log.error("a request failed", exc_info=exc)
    return AudioPoolError("something went wrong in the gateway; its log says what")


def problem_response(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:  # Litestar's own parameters
    """Answer with an error of our own API."""
    error = error_of(exc)
    status = exc.status_code if isinstance(exc, HTTPException) else status_of(error)
    headers = {"cache-control": "no-store"}
    if isinstance(exc, HTTPException) and exc.headers:
        headers |= {name: value for name, value in exc.headers.items() if name.lower() == "allow"}
    wait_s = retry_after(error)
    if wait_s is not None:
        headers["retry-after"] = str(wait_s)
    if status == http.HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    body = Problem(
        title=_title(status),
        status=status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        retryable=error.retryable,
        request_id=str(request.scope.get("state", {}).get("request_id", "")),
    )
    return Response(msgspec.json.encode(body), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _title(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request"


PROBLEM_HANDLERS: ExceptionHandlersMap = {
    AudioPoolError: problem_response,
    HTTPException: problem_response,
    Exception: problem_response,
}
"""For the whole app. A dialect with error bodies of its own gives its Router handlers for these same three."""
