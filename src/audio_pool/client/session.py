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
from msgspec import UNSET, structs

from audio_pool.api import check_text, check_timeout
from audio_pool.client.control import Frames, Question, new_request_id
from audio_pool.client.moving import Fate, Head, Moving, fate_of
from audio_pool.client.replies import (
    UNDECODABLE,
    body_decoder,
    decode_error,
    decode_event,
    decode_head,
    decode_sound,
)
from audio_pool.client.resumption import Resumption
from audio_pool.errors import (
    AudioPoolError,
    BadMessage,
    Disconnected,
    InvalidRequest,
    PoolClosed,
    Refused,
    Timeout,
)
from audio_pool.pending import Pending
from audio_pool.results import AudioResult, Event
from audio_pool.transport import client_messages, packing
from audio_pool.transport.client_messages import (
    MAX_CLIENT_BYTES,
    PROTOCOL_VERSION,
    CancelRequest,
    GenerateRequest,
    ReplyHead,
)
from audio_pool.types import AudioRequest, RequestId

__all__ = ["ClientSession", "Frames", "check_request_id", "new_request_id"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_RESULTS = ("result", "upgraded")


@dataclass(frozen=True, kw_only=True, slots=True)
class _InFlight(Generic[T]):
    """One request and who is called with its replies."""

    kind: str
    timeout_s: float
    decode: Callable[[Sequence[bytes]], T]
    """The ``result`` from its frames; raises one of UNDECODABLE."""
    on_result: Callable[[T], None]
    on_error: Callable[[AudioPoolError], None]
    on_event: Callable[[Event], None] | None = None
    durable: bool = False
    better: tuple[Pending, Callable[[str], Pending]] | None = None
    """Of a sound: who waits for it, and how the better one is waited for."""


class ClientSession:
    """Requests in flight, by request id. Not thread-safe.

    Args:
        endpoint: named in messages only.
        resume: durable requests outlive their connection, and are picked up on the next.
        moves: there are several heads: requests outlive the one that has them. What is to be sent is then asked of
            ``moving``, and no call returns frames.
    """

    def __init__(self, endpoint: str, *, resume: bool = False, moves: bool = False) -> None:
        self._endpoint = endpoint
        self.moving = Moving(self) if moves else None
        self._resumption = Resumption(self) if resume and not moves else self.moving
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
            decode=decode_sound,
            on_result=pending.on_result,
            on_error=pending.on_error,
            on_event=pending.on_event if events else None,
            durable=request.durable,
            better=None if better is None else (pending, better),
        )
        self._add(pending.request_id, entry, now)
        pieces = _pieces(sent)
        if self.moving is not None:
            self.moving.take(
                pending.request_id,
                lambda token: [packing.pack(structs.replace(message, token=token or UNSET)), *pieces],
                "generate",
                Fate.DURABLE if request.durable else Fate.AGAIN,
            )
            return []
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
        on: Head | None = None,
    ) -> Frames:
        """Take on a question: the frames to send.

        Args:
            on: of several heads the one that is asked; None: whichever is.

        Raises:
            InvalidRequest: the id is in flight already, or a field is not what the protocol allows.
        """
        fate = Fate.AGAIN if self.moving is None else Fate.HERE if on is not None else fate_of(question.kind)
        fields = {"v": PROTOCOL_VERSION, "type": question.kind, "request_id": request_id, **question.fields}
        if self.token:
            fields["token"] = self.token
        try:
            message = client_messages.decode_client(fields)
        except BadMessage as exc:
            raise InvalidRequest(exc.message, hint=exc.hint) from None
        decoder = body_decoder(question.answer)

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
        if self.moving is None:
            return [packing.pack(message), *_pieces(question.sent)]
        self.moving.take(
            request_id,
            lambda token: [packing.pack(structs.replace(message, token=token or UNSET)), *_pieces(question.sent)],
            question.kind,
            fate,
            on,
        )
        return []

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
        if request_id not in self._in_flight:
            return None
        if self.moving is not None:
            self.moving.stop(request_id)
            return []
        return self.cancel_frames(request_id, self.token)

    def cancel_frames(self, target: str, token: str) -> Frames:
        """Return what stops a request on the server."""
        return [
            packing.pack(
                CancelRequest(v=PROTOCOL_VERSION, request_id=new_request_id(), token=token or UNSET, target=target)
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
            head = decode_head(frames[0] if frames else b"")
        except UNDECODABLE as exc:
            log.warning("from %s: not a message of this protocol: %s", self._endpoint, exc)
            return
        entry = self._in_flight.get(head.request_id)
        if entry is None:  # a late answer, or the answer to a cancel
            log.debug("from %s: %s for %s, which is not in flight", self._endpoint, head.type, head.request_id)
        elif head.type in ("accepted", "progress", "chunk"):
            if self._resumption is not None:
                self._resumption.accepted(head.request_id)
                if self.moving is not None and head.type == "chunk":
                    self.moving.begun(head.request_id)
            if entry.on_event is not None:
                try:
                    event = decode_event(head, frames)
                except UNDECODABLE as exc:
                    log.warning("from %s: an event that this client does not understand: %s", self._endpoint, exc)
                else:
                    entry.on_event(event)
        else:
            self._finish(head, entry, frames)

    def _finish(self, head: ReplyHead, entry: _InFlight[T], frames: Sequence[bytes]) -> None:
        try:
            result = entry.decode(frames) if head.type in _RESULTS else decode_error(head.type, frames[0])
        except UNDECODABLE as exc:
            what = "a result" if head.type == "result" else "an error"
            result = BadMessage(
                f"{what} that this client does not understand: {exc}", hint="is the server of another version?"
            )
        if self.moving is not None and isinstance(result, PoolClosed) and self.moving.take_back(head.request_id):
            return  # the next head is asked
        del self._in_flight[head.request_id]
        if entry.better is not None and isinstance(result, AudioResult):
            self._await_better(result, entry, *entry.better)
        self._forget(head.request_id)
        if isinstance(result, AudioPoolError):
            entry.on_error(result)
        else:
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
                decode=decode_sound,
                on_result=pending.on_result,
                on_error=pending.on_error,
                on_event=pending.on_event,
            )  # without a deadline: it lets everybody else go first
            if self.moving is not None:
                self.moving.follow(name, first.request_id)

    def expire(self, now: float) -> list[Frames]:
        """End what has waited too long; the frames to send, so that nobody works for it any more."""
        cancels = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request_id = heapq.heappop(self._deadlines)
            entry = self._in_flight.get(request_id)
            if entry is None:
                continue
            if self.moving is not None and not entry.durable:
                self.moving.release(request_id)
            del self._in_flight[request_id]
            self._forget(request_id)
            if self.connected and entry.durable:
                error: AudioPoolError = Timeout(
                    f"no answer to {entry.kind} {request_id} from {self._endpoint} within {entry.timeout_s:g} s",
                    hint="the job goes on: fetch its result by its request_id, or cancel it",
                )
            elif self.connected:
                if self.moving is None:
                    cancels.append(self.cancel_frames(request_id, self.token))
                error = Timeout(
                    f"no answer to {entry.kind} {request_id} from {self._endpoint} within {entry.timeout_s:g} s",
                    hint="raise timeout_s, or ask for less; the request has been cancelled",
                )
            elif self.refusal is not None:  # met before this was asked, and no answer to the next attempt yet
                error = self.refusal
            else:
                error = Disconnected(
                    f"no server reached{'' if self.moving else f' at {self._endpoint}'} within {entry.timeout_s:g} s"
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
