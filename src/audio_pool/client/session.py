"""A client's half of the protocol, without a socket, thread or clock of its own.

Owns: the requests in flight on one connection: the frames sent for them, the meaning of what arrives,
their deadlines, their end when the connection is lost; which durable requests outlive that (resumption.py).
Must not know: how frames travel, whether its user blocks or awaits.

Both clients drive it the same way: ``submit`` and ``ask`` give the frames to send; ``on_message`` takes what
arrived; ``expire`` is called by the time ``next_deadline`` names. Every request gets exactly one final call.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Struct, structs

from audio_pool.api import check_text, check_timeout
from audio_pool.client.control import Frames, Question, new_request_id
from audio_pool.client.resumption import Resumption
from audio_pool.errors import (
    AudioPoolError,
    BadMessage,
    Disconnected,
    InvalidRequest,
    PoolClosed,
    Refused,
    Timeout,
    error_from_code,
)
from audio_pool.pending import Pending
from audio_pool.results import Accepted, AudioResult, ChunkHead, Event, Progress
from audio_pool.transport import client_messages, packing
from audio_pool.transport.client_messages import (
    MAX_CLIENT_BYTES,
    PROTOCOL_VERSION,
    BodyReply,
    CancelRequest,
    ErrorReply,
    GenerateRequest,
    ReplyHead,
    SoundReply,
)
from audio_pool.types import AudioRequest, RequestId

__all__ = ["ClientSession", "Frames", "check_request_id", "new_request_id"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# compiled once. The server is trusted as far as sizes go, so no limits of packing.unpack apply
_HEAD = msgspec.msgpack.Decoder(ReplyHead)
_SOUND = msgspec.msgpack.Decoder(SoundReply)
_ERROR = msgspec.msgpack.Decoder(ErrorReply)
_ACCEPTED = msgspec.msgpack.Decoder(BodyReply[Accepted])
_PROGRESS = msgspec.msgpack.Decoder(BodyReply[Progress])
_CHUNK = msgspec.msgpack.Decoder(BodyReply[ChunkHead])
_RESULTS = ("result", "upgraded")
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_ANSWERS: dict[type, msgspec.msgpack.Decoder[Any]] = {}  # Any: BodyReply[T] by T


def _body_decoder(answer: type[T]) -> msgspec.msgpack.Decoder[BodyReply[T]]:
    if answer not in _ANSWERS:
        _ANSWERS[answer] = msgspec.msgpack.Decoder(BodyReply[answer])  # type: ignore[valid-type]
    return _ANSWERS[answer]


@dataclass(frozen=True, kw_only=True, slots=True)
class _InFlight(Generic[T]):
    """One request and who is called with its replies."""

    kind: str
    timeout_s: float
    decode: Callable[[Sequence[bytes]], T]
    """The ``result`` from its frames; raises one of _UNDECODABLE."""
    on_result: Callable[[T], None]
    on_error: Callable[[AudioPoolError], None]
    on_event: Callable[[Event], None] | None = None
    durable: bool = False
    better: tuple[Pending, Callable[[str], Pending]] | None = None
    """Of a sound: who waits for it, and how the better one is waited for."""


class _Code(Struct, frozen=True):
    code: str


class _CodedReply(Struct, frozen=True):
    """The one field of an error that decides what its caller does."""

    error: _Code


_CODED = msgspec.msgpack.Decoder(_CodedReply)


class ClientSession:
    """Requests in flight, by request id. Not thread-safe.

    Args:
        endpoint: named in messages only.
        resume: durable requests outlive their connection, and are picked up on the next.
    """

    def __init__(self, endpoint: str, *, resume: bool = False) -> None:
        self._endpoint = endpoint
        self._resumption = Resumption(self) if resume else None
        self.outgoing: list[Frames] = []
        """Frames to send that nobody's call has returned: the connection takes them."""
        self._in_flight: dict[str, _InFlight[Any]] = {}  # Any: each with a result type of its own
        self._deadlines: list[tuple[float, str]] = []
        self.connected = False
        """Set by the connection: decides whether a timeout is a Timeout or Disconnected."""
        self.trouble = ""
        """Set by the connection: what kept it from being made, where known."""
        self.refusal: Refused | None = None
        """Why the server turned this client away last; None where it did not, or let it in since."""
        self.token = ""
        """Set by the connection: shows a server on this machine that the same user asks."""

    def __len__(self) -> int:
        return len(self._in_flight)

    def submit(
        self,
        request: AudioRequest,
        pending: Pending,
        *,
        now: float,
        timeout_s: float,
        events: bool = False,
        sent: bytes = b"",
        traceparent: str = "",
        known: str = "",
        better: Callable[[str], Pending] | None = None,
    ) -> Frames:
        """Take on a generate under the id of its ``pending``, which gets its replies: the frames to send now, if any.

        Args:
            sent: the sound to start from, where it goes with the request.
            traceparent: of the trace that it belongs to; "": none.
            known: the ``path`` of an earlier result whose bytes are still there.
            better: makes what the better sound is waited for by, given its id; None: nobody waits for one.

        Raises:
            InvalidRequest: the id is in flight already, or ``timeout_s`` is not positive.
        """
        resumed = self._resumption if request.durable else None
        message = GenerateRequest(
            v=PROTOCOL_VERSION,
            request_id=pending.request_id,
            token=self.token or UNSET,
            request=_request_fields(request),
            traceparent=traceparent or UNSET,
            # a better sound is announced to who hears events; whether it was accepted decides what a lost one comes to
            events=events or resumed is not None or request.upgrade or request.stand_in,
            known=known or UNSET,
        )
        entry = _InFlight(
            kind="generate",
            timeout_s=timeout_s,
            decode=_decode_sound,
            on_result=pending.on_result,
            on_error=pending.on_error,
            on_event=pending.on_event if events else None,
            durable=request.durable,
            better=None if better is None else (pending, better),
        )
        self._add(pending.request_id, entry, now)
        pieces = _pieces(sent)
        if resumed is not None:  # the next server has another token
            resumed.add(
                pending.request_id,
                lambda: [packing.pack(structs.replace(message, token=self.token or UNSET)), *pieces],
            )
            if resumed.away:
                return []
        return [packing.pack(message), *pieces]

    def ask(
        self,
        question: Question[T],
        *,
        request_id: str,
        now: float,
        timeout_s: float,
        on_result: Callable[[T], None],
        on_error: Callable[[AudioPoolError], None],
    ) -> Frames:
        """Take on a question: the frames to send.

        Raises:
            InvalidRequest: the id is in flight already, or a field is not what the protocol allows.
        """
        fields = {"v": PROTOCOL_VERSION, "type": question.kind, "request_id": request_id, **question.fields}
        if self.token:
            fields["token"] = self.token
        try:
            message = client_messages.decode_client(fields)
        except BadMessage as exc:
            raise InvalidRequest(exc.message, hint=exc.hint) from None
        decoder = _body_decoder(question.answer)

        def decode(frames: Sequence[bytes]) -> T:
            body = decoder.decode(frames[0]).body
            return body if question.with_file is None or len(frames) < 2 else question.with_file(body, frames[1])

        entry = _InFlight(
            kind=question.kind,
            timeout_s=timeout_s,
            decode=decode,
            on_result=on_result,
            on_error=on_error,
        )
        self._add(request_id, entry, now)
        return [packing.pack(message), *_pieces(question.sent)]

    def _add(self, request_id: str, entry: _InFlight[T], now: float) -> None:
        if request_id in self._in_flight:
            raise InvalidRequest(f"request_id {request_id!r} is in flight already; choose another")
        check_timeout(entry.timeout_s)
        self._in_flight[request_id] = entry
        heapq.heappush(self._deadlines, (now + entry.timeout_s, request_id))

    def cancel(self, request_id: str) -> Frames | None:
        """Return the frames that ask the server to stop a request; None where it is not in flight (any more).

        Its own final reply, ``cancelled`` or what came first, arrives like any other.
        """
        return self._cancel_frames(request_id) if request_id in self._in_flight else None

    def _cancel_frames(self, target: str) -> Frames:
        return [
            packing.pack(
                CancelRequest(v=PROTOCOL_VERSION, request_id=new_request_id(), token=self.token or UNSET, target=target)
            )
        ]

    def on_message(self, frames: Sequence[bytes]) -> None:
        """Take one multipart message from the server.

        A result or error that cannot be decoded ends its request as BadMessage. An event that cannot be is
        dropped, as a slow client's may be; so is a message that belongs to no request.
        """
        if frames and not frames[0]:
            frames = frames[1:]
        try:
            head = _HEAD.decode(frames[0] if frames else b"")
        except _UNDECODABLE as exc:
            log.warning("from %s: not a message of this protocol: %s", self._endpoint, exc)
            return
        entry = self._in_flight.get(head.request_id)
        if entry is None:  # a late answer, or the answer to a cancel
            log.debug("from %s: %s for %s, which is not in flight", self._endpoint, head.type, head.request_id)
        elif head.type in ("accepted", "progress", "chunk"):
            if self._resumption is not None:
                self._resumption.accepted(head.request_id)
            if entry.on_event is not None:
                try:
                    event = _decode_event(head, frames)
                except _UNDECODABLE as exc:
                    log.warning("from %s: an event that this client does not understand: %s", self._endpoint, exc)
                else:
                    entry.on_event(event)
        else:
            self._finish(head, entry, frames)

    def _finish(self, head: ReplyHead, entry: _InFlight[T], frames: Sequence[bytes]) -> None:
        del self._in_flight[head.request_id]
        self._forget(head.request_id)
        try:
            result = entry.decode(frames) if head.type in _RESULTS else _decode_error(head.type, frames[0])
        except _UNDECODABLE as exc:
            what = "a result" if head.type == "result" else "an error"
            result = BadMessage(
                f"{what} that this client does not understand: {exc}", hint="is the server of another version?"
            )
        if isinstance(result, AudioPoolError):
            entry.on_error(result)
        else:
            if entry.better is not None and isinstance(result, AudioResult):
                self._await_better(result, entry, *entry.better)
            entry.on_result(result)

    def _await_better(
        self, result: AudioResult, entry: _InFlight[T], first: Pending, better: Callable[[str], Pending]
    ) -> None:
        """Take on the better sound that a result announces, before anybody sees that."""
        name = result.metadata.upgrade_id
        if isinstance(name, str) and name not in self._in_flight:
            pending = first.upgraded = better(name)
            self._in_flight[name] = _InFlight(
                kind="upgrade",
                timeout_s=entry.timeout_s,
                decode=_decode_sound,
                on_result=pending.on_result,
                on_error=pending.on_error,
                on_event=pending.on_event,
            )  # without a deadline: it lets everybody else go first

    def expire(self, now: float) -> list[Frames]:
        """End what has waited too long; the frames to send, so that nobody works for it any more."""
        cancels = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request_id = heapq.heappop(self._deadlines)
            entry = self._in_flight.pop(request_id, None)
            if entry is None:
                continue
            self._forget(request_id)
            if self.connected and entry.durable:
                error: AudioPoolError = Timeout(
                    f"no answer to {entry.kind} {request_id} from {self._endpoint} within {entry.timeout_s:g} s",
                    hint="the job goes on: fetch its result by its request_id, or cancel it",
                )
            elif self.connected:
                cancels.append(self._cancel_frames(request_id))
                error = Timeout(
                    f"no answer to {entry.kind} {request_id} from {self._endpoint} within {entry.timeout_s:g} s",
                    hint="raise timeout_s, or ask for less; the request has been cancelled",
                )
            elif self.refusal is not None:  # met before this was asked, and no answer to the next attempt yet
                error = self.refusal
            else:
                error = Disconnected(
                    f"no server reached at {self._endpoint} within {entry.timeout_s:g} s"
                    + (f": {self.trouble}" if self.trouble else ""),
                    hint="is 'audio-pool serve' running, and bound to this address?",
                )
            entry.on_error(error)
        return cancels

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do; None: nothing is in flight."""
        while self._deadlines and self._deadlines[0][1] not in self._in_flight:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def lose(self, error: AudioPoolError) -> None:
        """End everything in flight: the server that had it is gone, or refuses it."""
        for request_id in list(self._in_flight):
            self.end(request_id, error)

    def refuse(self, refusal: Refused) -> None:
        """End everything in flight, and what is asked until the server lets this client in, at its deadline."""
        self.refusal = refusal
        self.lose(refusal)

    def end(self, request_id: str, error: AudioPoolError) -> None:
        """End one request without its server."""
        self._forget(request_id)
        entry = self._in_flight.pop(request_id, None)
        if entry is not None:
            entry.on_error(error)

    def disconnected(self, error: AudioPoolError) -> None:
        """End what was in flight on the connection that broke; durable requests wait for the next one, if they may."""
        self.connected = False
        kept = self._resumption.lose() if self._resumption is not None else ()
        for request_id in list(self._in_flight):
            if request_id not in kept:
                self.end(request_id, error)

    def reconnected(self) -> None:
        """Pick up on a new connection what the last one left."""
        self.connected, self.trouble, self.refusal = True, "", None
        if self._resumption is not None:
            self._resumption.resume()

    @property
    def away(self) -> bool:
        """True while the server was lost and the next is not there yet; only resuming sessions wait for it."""
        return self._resumption is not None and self._resumption.away

    @property
    def server_instance(self) -> str:
        """Which start of the server this session talks to; "" where it is not known: only resuming ones ask."""
        return "" if self._resumption is None else self._resumption.instance

    def _forget(self, request_id: str) -> None:
        if self._resumption is not None:
            self._resumption.forget(request_id)

    def close(self) -> None:
        """End everything in flight as PoolClosed."""
        self.lose(PoolClosed("the client was closed before the answer came"))


def _pieces(sent: bytes) -> Frames:
    """Part what goes along with a message into frames that a server takes."""
    return [sent[start : start + MAX_CLIENT_BYTES] for start in range(0, len(sent), MAX_CLIENT_BYTES)]


def check_request_id(request_id: str) -> str:
    """Return an id that the protocol allows. Raises InvalidRequest."""
    try:
        return msgspec.convert(request_id, RequestId)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"request_id: given {request_id!r:.140}, allowed are 1..128 printable ASCII characters without spaces"
        ) from None


def _request_fields(request: AudioRequest) -> dict[str, Any]:  # Any: the values of AudioRequest's fields
    fields: dict[str, Any] = msgspec.to_builtins(request)
    # the server's working directory is not the caller's
    for name in ("output_path", "init_audio"):
        if name in fields:
            check_text(name, fields[name])  # a path may be any bytes here, not on the wire
            fields[name] = os.path.abspath(fields[name])
    return fields


def _decode_sound(frames: Sequence[bytes]) -> AudioResult:
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


def _decode_event(head: ReplyHead, frames: Sequence[bytes]) -> Event:
    frame = frames[0]
    if head.type == "chunk":
        told = _CHUNK.decode(frame).body
        chunk = told.with_samples(frames[1] if len(frames) > 1 else b"")
        return Event(request_id=head.request_id, type="chunk", body=chunk)
    if head.type == "accepted":
        return Event(request_id=head.request_id, type="accepted", body=_ACCEPTED.decode(frame).body)
    return Event(request_id=head.request_id, type="progress", body=_PROGRESS.decode(frame).body)


def _decode_error(kind: str, frame: bytes) -> AudioPoolError:
    try:
        failure = _ERROR.decode(frame).error
    except msgspec.ValidationError as exc:  # an error must not fail for what comes with its code
        code = _CODED.decode(frame).error.code
        return error_from_code(code, f"an error that this client does not wholly understand: {exc}")
    return error_from_code(kind, "") if failure is UNSET else failure.error()
