"""The image server's own JSON messages, translated to ours and back.

Owns: AudioRenderRequest in; AudioReady and Alert out; what each field means to us.
Must not know: sockets, the router, the scheduler: pure translation.

AudioRenderRequest  request_id, prompt, generator?, style?, metadata?, clear_queue?, token?, and every other field
                    of AudioRequest under its own name
AudioReady          request_id, uri (file://), prompt, duration_s, is_loop, metadata
Alert               request_id, severity (info | warning | error), message

Every request is answered by one AudioReady or one Alert. An unknown field is refused, a newer peer's too:
it would otherwise be dropped without anybody knowing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from audio_pool.errors import AudioPoolError, BadMessage, Cancelled
from audio_pool.types import MAX_LABELS, MAX_PROMPT_CHARS, AudioRequest, RequestId
from audio_pool.validation import parse

__all__ = ["Translated", "alert", "is_legacy", "request_id_of", "to_reply", "to_request"]

MAX_FRAME_BYTES = 1 << 16
_STRATEGIES = {"prompt2audio": None, "mock_audio": "mock"}
"""Names of ways to make audio rather than of engines: None is the pool's default engine."""


class AudioRenderRequest(AudioRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request as the image server sends it: an AudioRequest, with fields of its own."""

    request_id: RequestId
    type: Literal["AudioRenderRequest"] = "AudioRenderRequest"
    generator: Annotated[str, Meta(max_length=69)] = ""
    """An engine, or a way to make audio; "" is the pool's default engine."""
    style: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] = ""
    clear_queue: bool = False
    token: Annotated[str, Meta(max_length=128)] = ""
    """Of the server's user, for a client on TCP that names paths."""
    delivery: Literal["path"] = "path"
    """AudioReady is JSON, which carries no bytes."""
    metadata: dict[str, Any] = {}  # opaque: the peer's own, which come back as labels


_OWN_FIELDS = tuple(name for name in AudioRenderRequest.__struct_fields__ if name not in AudioRequest.__struct_fields__)


class Translated(NamedTuple):
    """An AudioRenderRequest as one of ours."""

    request_id: str
    prompt: str
    """As it was sent, without the style: what AudioReady repeats."""
    request: dict[str, Any]  # opaque until it is parsed
    """The mapping of an AudioRequest, for ``validation.parse``."""
    clear_queue: bool
    """This client's waiting requests are to be cancelled before this one is taken."""
    token: str


def is_legacy(frame: bytes) -> bool:
    """Return True for a JSON object: no msgpack map starts with ``{``."""
    return frame[:64].lstrip(b" \t\r\n")[:1] == b"{"


def to_request(frame: bytes) -> Translated:
    """Translate an AudioRenderRequest.

    ``null`` is the same as leaving a field out. ``style`` joins the prompt after a comma,
    ``metadata.no_cache`` forces a new sound, and the rest of ``metadata`` comes back as the result's labels
    (the first 32; nested values as JSON text).

    Raises:
        BadMessage: not JSON, or not such a request: the field, what was given, what is allowed.
    """
    if len(frame) > MAX_FRAME_BYTES:
        raise BadMessage(f"a JSON message of {len(frame):,} bytes, allowed are {MAX_FRAME_BYTES:,}")
    try:
        mapping = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise BadMessage(f"not a JSON message: {exc}") from None
    if isinstance(mapping, dict):
        mapping = {name: value for name, value in mapping.items() if value is not None}
    asked = parse(AudioRenderRequest, mapping, error=BadMessage)
    if asked.generator and asked.engine is not None:
        raise BadMessage(
            f"AudioRenderRequest: given generator {asked.generator!r} and engine {asked.engine!r}; give one of them"
        )
    prompt = f"{asked.prompt}, {asked.style}" if asked.style.strip() else asked.prompt
    if len(prompt) > MAX_PROMPT_CHARS:
        raise BadMessage(
            f"AudioRenderRequest: prompt and style have {len(prompt):,} characters together, "
            f"allowed are {MAX_PROMPT_CHARS:,}"
        )
    labels = dict(asked.metadata)
    force = asked.force or bool(labels.pop("no_cache", False))
    engine = _STRATEGIES.get(asked.generator, asked.generator) if asked.generator else asked.engine
    request: dict[str, Any] = msgspec.to_builtins(asked)  # without what is left at its default
    for name in _OWN_FIELDS:
        request.pop(name, None)
    changed = {
        "prompt": prompt,
        "engine": engine,
        "force": force,
        "metadata": {key: _label(value) for key, value in list(labels.items())[:MAX_LABELS]},
    }
    for name, value in changed.items():
        if value:
            request[name] = value
        else:
            request.pop(name, None)
    return Translated(asked.request_id, asked.prompt, request, asked.clear_queue, asked.token)


def _label(value: Any) -> str | int | float | bool | None:  # whatever JSON the peer sent
    if value is None or isinstance(value, (str, float, bool)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return msgspec.json.encode(value).decode()


def request_id_of(frame: bytes) -> str:
    """Return the request id of a frame that ``to_request`` refused, "" where there is none to be found."""
    try:
        found = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    value = found.get("request_id") if isinstance(found, dict) else None
    return value[:128] if isinstance(value, str) else ""


def to_reply(request_id: str, prompt: str, path: str, metadata: dict[str, Any]) -> bytes:  # JSON
    """Encode AudioReady for a finished sound.

    Args:
        prompt: as the image server sent it, without the style.
        path: absolute path of the file.
        metadata: the result's; ``duration_s`` and ``is_loop`` are taken from it.
    """
    # msgspec writes NaN as null: JSON has none, and the peer would fail to read the whole message
    return msgspec.json.encode(
        {
            "type": "AudioReady",
            "request_id": request_id,
            "uri": Path(path).as_uri(),
            "prompt": prompt,
            "duration_s": metadata.get("duration_s"),
            "is_loop": bool(metadata.get("is_loop", False)),
            "metadata": metadata,
        }
    )


def alert(request_id: str, error: AudioPoolError) -> bytes:
    """Encode Alert for anything else that a request came to: an error, or a warning where a retry can help."""
    severity = "info" if isinstance(error, Cancelled) else "warning" if error.retryable else "error"
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return msgspec.json.encode(
        {"type": "Alert", "request_id": request_id, "severity": severity, "message": message, "code": error.code}
    )
