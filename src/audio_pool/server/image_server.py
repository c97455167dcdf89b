"""The image server's own JSON messages, told in ours and back.

Owns: AudioRenderRequest in; AudioReady and Alert out; what each field means to us.
Must not know: sockets, the router, the schedule: pure translation.

AudioRenderRequest  request_id, prompt, generator?, duration_s?, style?, seed?, metadata?, clear_queue?
AudioReady          request_id, uri (file://), prompt, duration_s, is_loop, metadata
Alert               request_id, severity (info | warning | error), message

Every request is answered by one AudioReady or one Alert. A peer's newer fields are ignored, not
refused: unlike our own clients it cannot be told to follow our protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from audio_pool.errors import AudioPoolError, BadMessage, Cancelled
from audio_pool.types import MAX_PROMPT_CHARS, Duration, RequestId, Seed
from audio_pool.validation import parse

__all__ = ["Translated", "alert", "is_legacy", "request_id_of", "to_reply", "to_request"]

MAX_FRAME_BYTES = 1 << 16
_LABELS = 32
_STRATEGIES = {"prompt2audio": None, "mock_audio": "mock"}
"""Names of ways to make audio rather than of engines: None is the pool's default engine."""


class AudioRenderRequest(Struct, frozen=True, kw_only=True):
    """As the image server sends it; ``None`` is the same as leaving a field out."""

    request_id: RequestId
    prompt: Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS, pattern=r"\S")]
    type: Literal["AudioRenderRequest"] | None = None
    generator: Annotated[str, Meta(max_length=64)] | None = None
    duration_s: Duration | None = None
    style: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] | None = None
    seed: Seed | None = None
    metadata: dict[str, Any] | None = None
    clear_queue: bool | None = None


class Translated(NamedTuple):
    """An AudioRenderRequest in our words."""

    request_id: str
    prompt: str
    """As it was sent, without the style: what AudioReady repeats."""
    request: dict[str, Any]
    """The mapping of an AudioRequest, for ``types.parse``."""
    clear_queue: bool
    """This client's waiting requests are to be cancelled before this one is taken."""


def is_legacy(frame: bytes) -> bool:
    """Whether a frame is JSON's ``{`` and not one of our msgpack maps (which never start with one)."""
    return frame[:64].lstrip(b" \t\r\n")[:1] == b"{"


def to_request(frame: bytes) -> Translated:
    """An AudioRenderRequest, translated.

    ``style`` joins the prompt after a comma, ``metadata.no_cache`` forces a new sound, and the rest
    of ``metadata`` comes back as the result's labels (the first 32; nested values as JSON text).

    Raises:
        BadMessage: not JSON, or not such a request: the field, what was given, what is allowed.
    """
    if len(frame) > MAX_FRAME_BYTES:
        raise BadMessage(f"a JSON message of {len(frame):,} bytes, allowed are {MAX_FRAME_BYTES:,}")
    try:
        mapping = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise BadMessage(f"not a JSON message: {exc}") from None
    asked = parse(AudioRenderRequest, mapping, error=BadMessage)
    prompt = f"{asked.prompt}, {asked.style}" if asked.style and asked.style.strip() else asked.prompt
    if len(prompt) > MAX_PROMPT_CHARS:
        raise BadMessage(
            f"AudioRenderRequest: prompt and style have {len(prompt):,} characters together, "
            f"allowed are {MAX_PROMPT_CHARS:,}"
        )
    labels = dict(asked.metadata or {})
    request: dict[str, Any] = {"prompt": prompt, "force": bool(labels.pop("no_cache", False))}
    if asked.generator:
        request["engine"] = _STRATEGIES.get(asked.generator, asked.generator)
    request |= {"duration_s": asked.duration_s, "seed": asked.seed}
    request["metadata"] = {key: _label(value) for key, value in list(labels.items())[:_LABELS]}
    kept = {key: value for key, value in request.items() if value not in (None, False, {})}
    return Translated(asked.request_id, asked.prompt, kept, bool(asked.clear_queue))


def _label(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return msgspec.json.encode(value).decode()


def request_id_of(frame: bytes) -> str:
    """The request id of a frame that ``to_request`` refused, "" where there is none to be found."""
    try:
        found = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    value = found.get("request_id") if isinstance(found, dict) else None
    return value[:128] if isinstance(value, str) else ""


def to_reply(request_id: str, prompt: str, path: str, metadata: dict[str, Any]) -> bytes:
    """AudioReady for a finished sound.

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
    """Alert for anything else that a request came to: an error, or a warning where a retry can help."""
    severity = "info" if isinstance(error, Cancelled) else "warning" if error.retryable else "error"
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return msgspec.json.encode(
        {"type": "Alert", "request_id": request_id, "severity": severity, "message": message, "code": error.code}
    )
