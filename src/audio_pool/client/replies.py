"""What a server's messages say: frames into heads, sounds, events, bodies and errors.

Owns: the decoders of replies.
Must not know: which request a reply belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, structs

from audio_pool.errors import AudioPoolError, error_from_code
from audio_pool.results import Accepted, AudioResult, ChunkHead, Event, Progress
from audio_pool.transport.client_messages import BodyReply, ErrorReply, ReplyHead, SoundReply

__all__ = ["UNDECODABLE", "body_decoder", "decode_error", "decode_event", "decode_head", "decode_sound"]

T = TypeVar("T")

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise."""

# compiled once. The server is trusted as far as sizes go, so no limits of packing.unpack apply
decode_head = msgspec.msgpack.Decoder(ReplyHead).decode
_SOUND = msgspec.msgpack.Decoder(SoundReply)
_ERROR = msgspec.msgpack.Decoder(ErrorReply)
_ACCEPTED = msgspec.msgpack.Decoder(BodyReply[Accepted])
_PROGRESS = msgspec.msgpack.Decoder(BodyReply[Progress])
_CHUNK = msgspec.msgpack.Decoder(BodyReply[ChunkHead])
_ANSWERS: dict[type, msgspec.msgpack.Decoder[Any]] = {}  # Any: BodyReply[T] by T


def body_decoder(answer: type[T]) -> msgspec.msgpack.Decoder[BodyReply[T]]:
    if answer not in _ANSWERS:
        _ANSWERS[answer] = msgspec.msgpack.Decoder(BodyReply[answer])  # type: ignore[valid-type]
    return _ANSWERS[answer]


class _Code(Struct, frozen=True):
    code: str


class _CodedReply(Struct, frozen=True):
    """The one field of an error that decides what its caller does."""

    error: _Code


_CODED = msgspec.msgpack.Decoder(_CodedReply)


def decode_sound(frames: Sequence[bytes]) -> AudioResult:
    reply = _SOUND.decode(frames[0])
    result = AudioResult(request_id=reply.request_id, path=reply.path or "", metadata=reply.metadata)
    if len(frames) < 2:
        return result
    if reply.samples is UNSET:
        return structs.replace(result, data=frames[1])
    from audio_pool.audio.interleaved import planar  # only here: who asks for files needs no numpy

    try:
        return structs.replace(result, audio=planar(frames[1], reply.samples.channels))
    except ValueError as exc:  # not so many
        raise msgspec.DecodeError(f"samples: {exc}") from None


def decode_event(head: ReplyHead, frames: Sequence[bytes]) -> Event:
    frame = frames[0]
    if head.type == "chunk":
        told = _CHUNK.decode(frame).body
        chunk = told.with_samples(frames[1] if len(frames) > 1 else b"")
        return Event(request_id=head.request_id, type="chunk", body=chunk)
    if head.type == "accepted":
        return Event(request_id=head.request_id, type="accepted", body=_ACCEPTED.decode(frame).body)
    return Event(request_id=head.request_id, type="progress", body=_PROGRESS.decode(frame).body)


def decode_error(kind: str, frame: bytes) -> AudioPoolError:
    try:
        failure = _ERROR.decode(frame).error
    except msgspec.ValidationError as exc:  # an error must not fail for what comes with its code
        code = _CODED.decode(frame).error.code
        return error_from_code(code, f"an error that this client does not wholly understand: {exc}")
    return error_from_code(kind, "") if failure is UNSET else failure.error()
