"""Clients' messages: taken apart, checked, carried to the pool; questions about the pool answered.

Owns: the client's half of docs/protocol.md on the router's side.
Must not know: workers, files, the schedule's rules.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from typing import Any

from audio_pool.errors import AudioPoolError, BadMessage, Busy, EngineUnavailable, InvalidRequest, NotFound
from audio_pool.pool.executor import PoolHands
from audio_pool.pool.replies import Caller, Final
from audio_pool.pool.status import _engines, health, status
from audio_pool.scheduler import events
from audio_pool.server.image_server import ImageCaller, alert, is_legacy, request_id_of, to_request
from audio_pool.server.outbox import Outbox, SocketCaller
from audio_pool.transport import client_messages, packing, worker_messages

__all__ = [
    "Reception",
]

log = logging.getLogger(__name__)

_KINDS: dict[type[AudioPoolError], str] = {Busy: "busy"}
"""Errors that a client hears under a name of their own."""


def _refusal(exc: Exception) -> AudioPoolError:
    """What a client hears of it. No message, however made, may end the router: what slips through every
    check is our bug, told as such."""
    if isinstance(exc, AudioPoolError):
        return exc
    log.error("a client's message met a bug", exc_info=exc)
    return AudioPoolError("this message met a bug in the server; its log says more")


class Reception:
    """What stands between clients' frames and the pool. Router's thread only."""

    def __init__(self, hands: PoolHands) -> None:
        self._hands = hands
        self._router = hands.router
        self._live: dict[tuple[bytes, str], int] = {}
        """(client, request_id) -> ticket, of generates in flight."""
        self.counts: collections.Counter[str] = collections.Counter()

    def __call__(self, frames: list[bytes], outbox: Outbox) -> None:
        """One multipart message; whatever is in it, nobody else is disturbed."""
        identity, *rest = frames
        envelope: tuple[bytes, ...] = (identity,)
        if rest and rest[0] == b"":  # a REQ's delimiter
            envelope, rest = (identity, b""), rest[1:]
        if len(rest) == 1 and is_legacy(rest[0]):

            def send(reply: bytes) -> None:
                outbox.send(envelope, [reply])

            self.image_request(rest[0], identity, send)
            return
        request_id = ""
        try:
            if not rest:
                raise BadMessage("a message without a body; send one msgpack map")
            raw = packing.unpack(rest[0])
            given = raw.get("request_id")
            request_id = given if isinstance(given, str) and len(given) <= 128 else ""
            if len(rest) > 1:
                raise BadMessage(f"a message of {len(rest)} frames; send one msgpack map")
            message = client_messages.decode_client(raw)
            caller: Caller = SocketCaller(request_id=request_id, envelope=envelope, outbox=outbox)
            if isinstance(message, client_messages.GenerateRequest):
                caller = _Live(caller, self, identity)
                size = len(rest[0])
                events = message.events and not (len(envelope) > 1 and outbox.from_req)
                self._take_in(message.request_id, message.request, caller, identity, size, events=events)
            else:
                self._take(message, caller, identity, len(rest[0]))
        except Exception as exc:
            error = _refusal(exc)
            self.counts["refused"] += 1
            SocketCaller(request_id=request_id, envelope=envelope, outbox=outbox).finish(
                Final(kind=_KINDS.get(type(error), "error"), error=error)
            )

    def image_request(self, frame: bytes, identity: bytes, send: Callable[[bytes], None]) -> None:
        """An image server's JSON message: answered by one AudioReady or one Alert, whatever it is."""
        try:
            asked = to_request(frame)
            if asked.clear_queue:
                self._clear_queue(identity)
            caller = _Live(ImageCaller.of(asked, send), self, identity)
            self._take_in(asked.request_id, asked.request, caller, identity, len(frame), events=False)
        except Exception as exc:
            self.counts["refused"] += 1
            send(alert(request_id_of(frame), _refusal(exc)))

    def _clear_queue(self, identity: bytes) -> None:
        """Cancels this client's requests that wait; what has begun goes on."""
        schedule = self._router.schedule
        for (client, _), number in list(self._live.items()):
            ticket = schedule.tickets.get(number)
            if client == identity and ticket is not None and not schedule.begun(ticket.work):
                self._router.feed(events.Cancel(ticket=number))

    def forget(self, identity: bytes, request_id: str) -> None:
        self._live.pop((identity, request_id), None)

    def _take_in(
        self, request_id: str, fields: dict[str, Any], caller: Caller, identity: bytes, size: int, *, events: bool
    ) -> None:
        key = (identity, request_id)
        if key in self._live:
            raise InvalidRequest(f"request_id {request_id!r} is in flight already; every request needs its own")
        self._live[key] = 0
        try:
            ticket = self._hands.submit_fields(fields, caller, events=events, size_bytes=size)
        except BaseException:
            self._live.pop(key, None)
            raise
        if key in self._live:  # a hit has been answered already
            self._live[key] = ticket

    def _take(self, message: Any, caller: Caller, identity: bytes, size: int) -> None:
        match message:
            case client_messages.CancelRequest():
                ticket = self._live.get((identity, message.target), 0) or self._by_id(message.target)
                if ticket:
                    self._hands.cancel(ticket)
                caller.finish(Final(kind="result", body={"target": message.target, "cancelled": bool(ticket)}))
            case client_messages.StatusRequest():
                caller.finish(Final(kind="result", body=status(self._hands)))
            case client_messages.HealthRequest():
                caller.finish(Final(kind="result", body=health(self._hands)))
            case client_messages.EnginesRequest():
                caller.finish(Final(kind="result", body={"engines": _engines(self._hands)}))
            case client_messages.CacheStatsRequest():
                self._cache_stats(caller)
            case client_messages.FeedbackRequest():
                self._feedback(message, caller)
            case client_messages.EchoRequest():
                self._hands.errand("echo", message.payload, caller, worker=message.worker or "", size_bytes=size)
            case client_messages.ClapRequest():
                self._clap(message, caller, size)

    def _by_id(self, request_id: str) -> int:
        """Any client's request of that id: ``audio-pool cancel`` is another client than the one that asked."""
        return next((ticket for (_, name), ticket in self._live.items() if name == request_id), 0)

    def _cache_stats(self, caller: Caller) -> None:
        cache = self._hands.cache
        if cache is None:
            raise NotFound("the cache is off (cache.enabled = false)")
        router, ticket = self._router, next(self._hands.tickets)
        router.callers[ticket] = caller  # so that it is answered though the pool stops meanwhile

        def errand() -> None:
            from audio_pool.cache.manage import AudioSemanticCache

            try:
                with AudioSemanticCache(self._hands.config.cache_dir) as managed:
                    final = Final(kind="result", body=managed.get_cache_stats())
            except Exception as exc:
                final = Final(kind="error", error=_refusal(exc))
            router.post(lambda: router.finish(ticket, final))

        self._hands.clerk.order(errand)

    def _feedback(self, message: client_messages.FeedbackRequest, caller: Caller) -> None:
        log.info("feedback on %s: %s %s", message.target, message.verdict, message.comment)
        self.counts[f"feedback_{message.verdict}"] += 1
        caller.finish(Final(kind="result", body={"target": message.target, "noted": True}))

    def _clap(self, message: client_messages.ClapRequest, caller: Caller, size: int) -> None:
        scorer = self._hands.config.cache.scorer
        if scorer == "off":
            raise EngineUnavailable("no CLAP is configured", hint='set cache.scorer = "clap"')
        if message.operation == "zero-shot" and not (message.texts and message.paths):
            raise InvalidRequest("zero-shot: needs at least one of texts (the labels) and one of paths")
        if not message.texts and not message.paths:
            raise InvalidRequest(f"{message.operation}: texts and paths are both empty; give at least one of either")
        relative = next((path for path in message.paths if not path.startswith("/")), None)
        if relative is not None:
            raise InvalidRequest(f"paths: given {relative!r}, allowed are absolute paths, which this server can read")
        task = worker_messages.ClapTask(
            engine=scorer, operation=message.operation, texts=message.texts, paths=message.paths
        )
        self._hands.errand("clap", task, caller, engine=scorer, size_bytes=size)


class _Live:
    """A socket's caller that takes itself off the list of requests in flight when it is answered."""

    def __init__(self, caller: Caller, reception: Reception, identity: bytes) -> None:
        self.request_id = caller.request_id
        self._caller, self._reception, self._identity = caller, reception, identity

    def finish(self, final: Final) -> None:
        self._reception.forget(self._identity, self.request_id)
        self._caller.finish(final)

    def notify(self, kind: str, body: dict[str, Any]) -> None:
        self._caller.notify(kind, body)


# -- questions -------------------------------------------------------------------------------------
