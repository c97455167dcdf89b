"""How dialects answer: a sound as bytes, an error in a body of their own.

Owns: what is alike in all of them: headers, Retry-After, the step from an exception to a status.
Must not know: any dialect's bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from audio_pool.api import as_request
from audio_pool.errors import AudioPoolError
from audio_pool.gateway.audio_response import MEDIA_TYPES
from audio_pool.gateway.described import Answer, described
from audio_pool.gateway.dialects.fields import Fields
from audio_pool.gateway.door import Sound
from audio_pool.gateway.problems import error_of, retry_after, status_of
from audio_pool.gateway.sound_report import headers_of
from audio_pool.types import AudioRequest

__all__ = [
    "AUDIO",
    "FILE",
    "STREAMED",
    "ErrorBody",
    "bytes_of",
    "documented",
    "error_handlers",
    "headers_with",
    "ignored_header",
    "json_of",
    "request_of",
]

# Any: a body's own fields, a description's own parts
ErrorBody = Callable[[AudioPoolError, int, str], object]
"""Of an error, its status and the request's id: what is written as JSON."""


AUDIO = tuple(media for name, media in MEDIA_TYPES.items() if name != "png")
"""What a file may be called."""
FILE = Answer(200, "The file", media=AUDIO, headers=("x-sound-id", "x-sound-seed", "x-sound-cached", "x-request-id"))
STREAMED = FILE._replace(says="The file, or events that hold it", media=(*AUDIO, "audio/opus", "text/event-stream"))
_FAILURES = {
    400: "The body is not understood",
    401: "There is no key, or none that is known",
    403: "It is not allowed",
    404: "There is no such model, voice or request",
    413: "The body is too large",
    422: "A field is missing, or not what is allowed",
    429: "Too much is asked for",
    500: "It went wrong",
    503: "It cannot be made now",
    504: "It took too long",
}


def documented(error: Any, *answers: Answer, public: bool = False, **rest: Any) -> dict[str, Any]:
    """Return a route's ``opt``: what it answers, and takes, for the OpenAPI document.

    Args:
        error: the type of the API's own error body.
        public: nobody needs a key.
        rest: of ``described``.
    """
    failures = (Answer(status, says, error) for status, says in _FAILURES.items())
    told = described(*answers, *failures, errors=None, null_is_absent=True, **rest)
    return {**({"public": True} if public else {}), **told}


def request_of(*layers: Fields) -> AudioRequest:
    """Return the request that layers make; a later one is stronger, and None says nothing. Raises InvalidRequest."""
    asked: Fields = {}
    for layer in layers:
        asked |= {name: value for name, value in layer.items() if value is not None}
    return as_request(asked, {})


def bytes_of(
    sound: Sound, *, ignored: Iterable[str] = (), media_type: str | None = None, **more: str
) -> Response[bytes]:
    """Answer with the file.

    Args:
        ignored: names of fields that nobody knows.
        media_type: where the dialect calls it otherwise than we do.
        more: further headers, with ``_`` for ``-``.
    """
    headers = headers_with(sound, ignored) | {name.replace("_", "-"): value for name, value in more.items()}
    return Response(sound.data, media_type=media_type or MEDIA_TYPES[sound.metadata.format], headers=headers)


def headers_with(sound: Sound, ignored: Iterable[str]) -> dict[str, str]:
    """Return what headers tell of a sound and of what was left unread."""
    return {"cache-control": "no-store", **headers_of(sound.metadata)} | ignored_header(ignored)


def ignored_header(ignored: Iterable[str]) -> dict[str, str]:
    """Return the header that names what was left unread, if anything was."""
    names = ", ".join(name for name in ignored if name.isascii() and name.isprintable())[:500]
    return {"x-ignored-fields": names} if names else {}


def json_of(value: object, status: int = 200, **headers: str) -> Response[bytes]:
    """Answer with JSON."""
    told = {"cache-control": "no-store"} | {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json", headers=told)


def error_handlers(
    body: ErrorBody,
    statuses: Mapping[str, int] = MappingProxyType({}),
    headers_of_error: Callable[[AudioPoolError], Mapping[str, str]] = lambda error: {},
) -> ExceptionHandlersMap:
    """Return a Router's exception handlers, which write errors as ``body`` says.

    Args:
        statuses: by an error's code, where the dialect's is not ours (problems.py).
        headers_of_error: further headers, with ``_`` for ``-``.
    """

    def answer(http: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:  # Litestar's own parameters
        error = error_of(exc)
        status = exc.status_code if isinstance(exc, HTTPException) else status_of(error)
        status = statuses.get(error.code, status)
        request_id = str(http.scope.get("state", {}).get("request_id", ""))
        headers = {"request_id": request_id, **headers_of_error(error)}
        if status in (409, 429) or status >= 500:
            headers["x_should_retry"] = str(error.retryable).lower()
        if status == HTTPStatus.UNAUTHORIZED:
            headers["www_authenticate"] = "Bearer"
        if isinstance(exc, HTTPException) and exc.headers and "allow" in exc.headers:
            headers["allow"] = exc.headers["allow"]
        wait_s = retry_after(error)
        if wait_s is not None:
            headers["retry_after"] = str(wait_s)
        return json_of(body(error, status, request_id), status, **headers)

    return {AudioPoolError: answer, HTTPException: answer, Exception: answer}
