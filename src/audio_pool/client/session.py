"""A client's half of the protocol, without a socket, thread or clock of its own.

Owns: the requests in flight on one connection: what is sent for them, what an arrival means, who has
waited too long, what becomes of them when the connection is lost.
Must not know: how frames travel, and whether its user blocks or awaits.

Both clients drive it the same way: ``ask`` gives the frames to send; ``heard`` takes what arrived;
``expire`` is called by the time ``next_deadline`` names. Every request gets exactly one ``on_final``.
"""

from __future__ import annotations

import heapq
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from audio_pool.errors import AudioPoolError, BadMessage, Disconnected, InvalidRequest, PoolClosed, Timeout
from audio_pool.results import AudioResult, Event
from audio_pool.transport import client_messages, packing
from audio_pool.types import AudioRequest
from audio_pool.validation import parse

__all__ = ["Dialogue", "Final", "generate_fields"]

log = logging.getLogger(__name__)

Final = Any
"""An AudioResult, the ``body`` of a question's answer, or an AudioPoolError."""
Frames = list[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    kind: str
    deadline: float
    timeout_s: float
    on_final: Callable[[Final], None]
    on_event: Callable[[Event], None] | None


def generate_fields(prompt: str | AudioRequest, options: dict[str, Any]) -> dict[str, Any]:
    """The checked ``request`` of a generate message.

    Raises:
        InvalidRequest: naming the field, what was given and what is allowed.
    """
    base = msgspec.to_builtins(prompt) if isinstance(prompt, AudioRequest) else {"prompt": prompt}
    request = parse(AudioRequest, {**base, **options})
    fields: dict[str, Any] = msgspec.to_builtins(request)
    # the server's working directory is not the caller's
    for name in ("output_path", "init_audio"):
        if name in fields:
            fields[name] = os.path.abspath(fields[name])
    return fields


class Dialogue:
    """Requests in flight, by request id. Not thread-safe.

    Args:
        endpoint: named in messages only.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._asked: dict[str, _Asked] = {}
        self._deadlines: list[tuple[float, str]] = []
        self.connected = False
        """Set by the client: decides what a timeout is called."""
        self.trouble = ""
        """Set by the client: what kept the connection from being made, where known."""

    def __len__(self) -> int:
        return len(self._asked)

    def ask(
        self,
        kind: str,
        fields: dict[str, Any],
        *,
        now: float,
        timeout_s: float,
        on_final: Callable[[Final], None],
        on_event: Callable[[Event], None] | None = None,
        request_id: str = "",
    ) -> tuple[str, Frames]:
        """Takes a request on: its id and the frames to send.

        Raises:
            InvalidRequest: the id is in flight already, or a field is not what the protocol allows.
        """
        request_id = request_id or uuid.uuid4().hex
        if request_id in self._asked:
            raise InvalidRequest(f"request_id {request_id!r} is in flight already; choose another")
        if not timeout_s > 0:
            raise InvalidRequest(f"timeout_s: given {timeout_s}, allowed is a positive number of seconds")
        frames = _frames(kind, request_id, {**fields, "events": True} if on_event else fields)
        self._asked[request_id] = _Asked(
            kind=kind, deadline=now + timeout_s, timeout_s=timeout_s, on_final=on_final, on_event=on_event
        )
        heapq.heappush(self._deadlines, (now + timeout_s, request_id))
        return request_id, frames

    def cancel(self, request_id: str) -> Frames | None:
        """The frames that ask the server to stop a request; None where it is not in flight (any more).

        Its own final reply, ``cancelled`` or what came first, arrives like any other.
        """
        if request_id not in self._asked:
            return None
        return _frames("cancel", uuid.uuid4().hex, {"target": request_id})

    def heard(self, frames: Sequence[bytes]) -> None:
        """Takes one multipart message from the server; what cannot be understood is logged and dropped."""
        if frames and not frames[0]:
            frames = frames[1:]
        try:
            message = packing.unpack(frames[0] if frames else b"", trusted=True)
        except BadMessage as exc:
            log.warning("from %s: %s", self._endpoint, exc)
            return
        request_id = str(message.get("request_id", ""))
        asked = self._asked.get(request_id)
        kind = message.get("type")
        if asked is None:  # a late answer, or the answer to a cancel
            log.debug("from %s: %s for %s, which is not in flight", self._endpoint, kind, request_id)
        elif kind in ("accepted", "progress"):
            if asked.on_event is not None:
                body = message.get("body")
                asked.on_event(Event(request_id=request_id, type=kind, body=body if isinstance(body, dict) else {}))
        else:
            self._end(request_id, _final(asked.kind, message, frames[1:]))

    def expire(self, now: float) -> list[Frames]:
        """Ends what has waited too long; the frames to send, so that nobody works for it any more."""
        cancels = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request_id = heapq.heappop(self._deadlines)
            asked = self._asked.get(request_id)
            if asked is None:
                continue
            if self.connected:
                cancels.append(_frames("cancel", uuid.uuid4().hex, {"target": request_id}))
                error: AudioPoolError = Timeout(
                    f"no answer to {asked.kind} {request_id} from {self._endpoint} within {asked.timeout_s:g} s",
                    hint="raise timeout_s, or ask for less; the request has been cancelled",
                )
            else:
                error = Disconnected(
                    f"no server reached at {self._endpoint} within {asked.timeout_s:g} s"
                    + (f": {self.trouble}" if self.trouble else ""),
                    hint="is 'audio-pool serve' running, and bound to this address?",
                )
            self._end(request_id, error)
        return cancels

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do; None: nothing is in flight."""
        while self._deadlines and self._deadlines[0][1] not in self._asked:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def lose(self, error: AudioPoolError) -> None:
        """Ends everything in flight: the server that had it is gone, or will not have it."""
        for request_id in list(self._asked):
            self._end(request_id, error)

    def close(self) -> None:
        self.lose(PoolClosed("the client was closed before the answer came"))

    def _end(self, request_id: str, final: Final) -> None:
        self._asked.pop(request_id).on_final(final)


def _frames(kind: str, request_id: str, fields: dict[str, Any]) -> Frames:
    message = {"v": client_messages.PROTOCOL_VERSION, "type": kind, "request_id": request_id, **fields}
    try:
        client_messages.decode_client(message)
    except BadMessage as exc:
        raise InvalidRequest(exc.message, hint=exc.hint) from None
    return [packing.pack(message)]


def _final(kind: str, message: dict[str, Any], binary: Sequence[bytes]) -> Final:
    """What a final reply stands for."""
    if message.get("type") != "result":
        error = message.get("error")
        return client_messages.error_of(error if isinstance(error, dict) else {"code": message.get("type")})
    if kind != "generate":
        body = message.get("body")
        return {**body, "data": binary[0]} if binary and isinstance(body, dict) else body
    try:
        return AudioResult(
            request_id=str(message["request_id"]),
            path=str(message["path"] or ""),
            metadata=dict(message["metadata"]),
            data=binary[0] if binary else None,
        )
    except (KeyError, TypeError, ValueError) as exc:
        return BadMessage(f"a result that this client does not understand: {type(exc).__name__}: {exc}")
