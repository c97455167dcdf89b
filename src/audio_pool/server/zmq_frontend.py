"""The clients' socket: messages decoded, checked, passed on to the pool; questions answered.

Owns: the client's half of docs/protocol.md on the router's side.
Must not know: workers, files, the scheduler's rules.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, structs

from audio_pool.api import Cancellation
from audio_pool.config import ServerConfig
from audio_pool.errors import BadMessage, Busy, NotFound, Refused
from audio_pool.pool.caller import Caller
from audio_pool.pool.replies import Body, Reply, ReplySink
from audio_pool.pool.request_log import log_refusal
from audio_pool.pool.sent_audio import Frames
from audio_pool.pool.service import PoolService
from audio_pool.results import Failure
from audio_pool.server.callers import Callers
from audio_pool.server.image_frontend import ImageRequests
from audio_pool.server.image_server import is_legacy
from audio_pool.server.live_requests import LiveRequests
from audio_pool.server.outbox import Outbox, SocketSink
from audio_pool.server.parting import parted
from audio_pool.tracing import valid_traceparent
from audio_pool.transport import packing
from audio_pool.transport.client_messages import (
    MAX_CLIENT_BYTES,
    MOST_SENT_FRAMES,
    CacheStatsRequest,
    CancelRequest,
    CandidateFileRequest,
    CandidatesRequest,
    ChooseRequest,
    ClapRequest,
    ClientMessage,
    CraftRequest,
    DuplicatesRequest,
    EchoRequest,
    EnginesRequest,
    EvictionRequest,
    ExplainRequest,
    FeedbackRequest,
    GenerateRequest,
    HealthRequest,
    JobRequest,
    JobsRequest,
    LeaseRequest,
    LeaseReturnRequest,
    MarkManyRequest,
    MarkRequest,
    ModelOrderRequest,
    ModelsRequest,
    ModelSwitchRequest,
    PresetRemoveRequest,
    PresetRequest,
    PresetSetRequest,
    PresetsRequest,
    RemoveManyRequest,
    RemoveRequest,
    RetryRequest,
    SoundFileRequest,
    SoundRequest,
    SoundsRequest,
    SpectrogramRequest,
    StatusRequest,
    VerifyRequest,
    WaveformRequest,
    WorkerAddRequest,
    WorkerDrainRequest,
    WorkerRemoveRequest,
    WorkersScaleRequest,
    decode_client,
)
from audio_pool.transport.connections import MONITORED, Connections
from audio_pool.transport.keys import ServerKeys
from audio_pool.transport.sender import Sender
from audio_pool.transport.sockets import Channel, router
from audio_pool.transport.token import LocalToken
from audio_pool.transport.unfinished import Unfinished

__all__ = ["ZmqFrontEnd"]

_UNFINISHED_BYTES = 16 << 20
"""That a connection may have sent of a message that does not end."""


class ZmqFrontEnd:
    """A FrontEnd on a bound ROUTER. Router's thread only."""

    def __init__(
        self,
        endpoint: str,
        service: PoolService,
        config: ServerConfig,
        *,
        keys: ServerKeys | None,
        max_connections: int,
    ) -> None:
        self.channel: Channel = router(
            endpoint, max_bytes=MAX_CLIENT_BYTES, keys=keys, monitored=MONITORED, knows_senders=True
        )
        self.connections = Connections(self.channel, max_connections)
        self.token = None if keys is not None else LocalToken.create(self.channel.endpoint)
        self._callers = Callers(
            self.channel, config, allowed=None if keys is None else keys.allowed, token=self.token
        )
        # a sound on its way in over a slow line is no message without an end
        unfinished_bytes = max(_UNFINISHED_BYTES, 2 * config.max_sent_audio_bytes)
        self._unfinished = Unfinished(self.channel, self.connections, connection_bytes=unfinished_bytes)
        self._service = service
        self._outbox = Outbox(self.channel, config.parked_bytes)
        self._live = LiveRequests(service.intake)
        self._image_requests = ImageRequests(service, self._live)
        self._counts: collections.Counter[str] = collections.Counter()

    @property
    def endpoint(self) -> str:
        """Where clients connect."""
        return self.channel.endpoint

    def on_message(self, frames: list[bytes]) -> None:
        """Take one multipart message; whatever is in it, nobody else is disturbed."""
        self._unfinished.handed_up(self.channel.sender_fd)
        client, *rest = frames
        known = self._callers.sender_of(client)
        envelope: tuple[bytes, ...] = (client,)
        if rest and rest[0] == b"":  # a REQ's delimiter
            envelope, rest = (client, b""), rest[1:]
        if len(rest) == 1 and not self.channel.attached and is_legacy(rest[0]):
            sender = known.sender
            self._image_requests.take(
                rest[0],
                lambda token: (self._callers.by_token(client, token) if token else known).caller,
                lambda reply: self._send(envelope, reply, sender),
            )
            return
        request_id = ""
        raw: dict[str, Any] = {}  # opaque until it is decoded
        try:
            if not rest:
                raise BadMessage("a message without a body; send one msgpack map")
            try:
                raw = packing.unpack(rest[0])
            except BadMessage:
                request_id = packing.request_id_in(rest[0])
                raise
            given = raw.get("request_id")
            request_id = given if isinstance(given, str) and len(given) <= 128 else ""
            message = decode_client(raw)
            sent = self._sent_with(message, rest[1:])
            if message.token is not UNSET:
                known = self._callers.by_token(client, message.token)
            sink = SocketSink(
                request_id=request_id, envelope=envelope, outbox=self._outbox, sender=known.sender
            )
            self._take(message, known.caller, sink, sent, size_bytes=len(rest[0]) + sum(map(len, sent)))
        except Exception as exc:
            error = self._service.refusal(exc)
            self._counts["refused"] += 1
            trace = valid_traceparent(str(raw.get("traceparent", "")))
            log_refusal(request_id, known.caller.client, error, trace=trace)
            refused = Reply(kind="busy" if isinstance(error, Busy) else "error", failure=Failure.of(error))
            SocketSink(
                request_id=request_id, envelope=envelope, outbox=self._outbox, sender=known.sender
            ).finish(refused)

    def _sent_with(self, message: ClientMessage, frames: list[bytes]) -> Frames:
        """Return the sound that came with a message, in pieces. Raises BadMessage where none may."""
        sent: list[bytes | memoryview] = [*frames, *self.channel.attached]
        if sent and not isinstance(message, GenerateRequest | ClapRequest | CraftRequest | VerifyRequest):
            raise BadMessage(f"a message of {len(sent) + 1} frames; send one msgpack map")
        if len(sent) > MOST_SENT_FRAMES:
            raise BadMessage(f"a sound in {len(sent)} frames, allowed are {MOST_SENT_FRAMES}; send larger ones")
        return sent

    def _send(self, envelope: tuple[bytes, ...], reply: bytes, sender: Sender) -> None:
        self._outbox.send(envelope, [reply], sender=sender)

    def _take(
        self, message: ClientMessage, caller: Caller, sink: SocketSink, sent: Frames, *, size_bytes: int
    ) -> None:
        service = self._service
        match message:
            case GenerateRequest():
                # a REQ socket takes a single reply
                if message.traceparent is not UNSET:
                    caller = structs.replace(caller, trace=message.traceparent)
                events_wanted = message.events and not (len(sink.envelope) > 1 and self._outbox.from_req)
                if message.request.get("durable"):
                    service.jobs.submit(
                        caller, message.request, sink, events_wanted=events_wanted, size_bytes=size_bytes, sent=sent
                    )
                    return
                self._live.take_in(
                    caller,
                    message.request,
                    sink,
                    events_wanted=events_wanted,
                    size_bytes=size_bytes,
                    sent=sent,
                    known=message.known or "",
                    better=(lambda name: structs.replace(sink, request_id=name)) if events_wanted else None,
                )
            case CancelRequest():
                if service.keeps_jobs:
                    service.jobs.cancel(caller, message.target, sink, lambda: self._cancel(caller, message.target))
                else:
                    _answer(sink, self._cancel(caller, message.target))
            case StatusRequest():
                _answer(sink, service.view.status(discreet=not caller.operator, numbers=message.numbers))
            case HealthRequest():
                _answer(sink, service.view.health(discreet=not caller.operator))
            case EnginesRequest():
                _answer(sink, service.view.engines())
            case CacheStatsRequest():
                service.cache_stats(sink, discreet=not caller.operator)
            case JobRequest():
                service.jobs.report(
                    caller, message.target, sink, wait_ms=message.wait_ms, delivery=message.delivery
                )
            case JobsRequest():
                if caller.anonymous:
                    raise Refused("jobs: this client has none of its own", hint="show a key or the token")
                service.jobs.reports.newest(caller.job_owner, message.states, message.limit, message.before, sink)
            case RetryRequest():
                service.jobs.retry(caller, message.target, sink)
            case FeedbackRequest():
                asked = self._live.was_asked_by(caller, message.target) or service.delivered_to(caller, message.target)
                if not caller.operator and not asked:
                    raise NotFound(f"target: this client has asked for no {message.target!r} lately")
                service.feedback(message.target, message.verdict, message.comment, sink, caller=caller)
            case ExplainRequest():
                everywhere = message.across_namespaces
                service.explaining.ask(
                    message.request, sink, size_bytes=size_bytes, caller=caller, across_namespaces=everywhere
                )
            case SpectrogramRequest():
                service.pictures.ask(
                    message.entry, message.namespace, message.picture, message.delivery, sink, caller=caller
                )
            case SoundsRequest():
                service.library.search(message.search, sink, size_bytes=size_bytes, caller=caller)
            case SoundRequest():
                service.library.sound(message.entry, message.namespace, sink, caller=caller)
            case SoundFileRequest():
                service.kept_files.ask(
                    message.entry, message.namespace, message.form, message.delivery, sink, caller=caller
                )
            case WaveformRequest():
                service.pictures.ask_waveform(message.entry, message.namespace, message.buckets, sink, caller=caller)
            case MarkRequest():
                service.library.mark(message.entry, message.namespace, message.marks, sink, caller=caller)
            case RemoveRequest():
                service.library.remove(message.entry, message.namespace, sink, caller=caller)
            case MarkManyRequest():
                service.bulk.mark(message.entries, message.namespace, message.marks, sink, caller=caller)
            case RemoveManyRequest():
                spare = message.spare_pinned
                service.bulk.remove(message.entries, message.namespace, sink, spare_pinned=spare, caller=caller)
            case EvictionRequest():
                service.cache_view.eviction(message.limit, sink, caller=caller)
            case DuplicatesRequest():
                service.cache_view.duplicates(message.by, message.limit, sink, caller=caller)
            case CandidatesRequest():
                _answer(sink, service.candidates.of(message.target, caller=caller))
            case CandidateFileRequest():
                service.candidates.ask(
                    message.target, message.number, message.form, message.delivery, sink, caller=caller
                )
            case ChooseRequest():
                service.candidates.choose(message.target, message.number, message.by, sink, caller=caller)
            case EchoRequest():
                worker = message.worker or ""
                service.echo(message.payload, sink, worker=worker, size_bytes=size_bytes, caller=caller)
            case CraftRequest():
                service.crafting.ask(
                    message.craft,
                    message.form,
                    message.paths,
                    sink,
                    output_path=message.output_path,
                    delivery=message.delivery,
                    sounds=parted(sent, message.sounds),
                    size_bytes=size_bytes,
                    caller=caller,
                )
            case VerifyRequest():
                service.verifying.ask(
                    message.path,
                    sink,
                    name=message.name,
                    sounds=parted(sent, () if message.sound is None else (message.sound,)),
                    namespace=message.namespace,
                    size_bytes=size_bytes,
                    caller=caller,
                )
            case ClapRequest():
                service.hearing.ask(
                    message.operation,
                    message.texts,
                    message.paths,
                    sink,
                    sounds=parted(sent, message.sounds),
                    size_bytes=size_bytes,
                    caller=caller,
                )
            case LeaseRequest():
                sender = sink.sender if message.while_connected else None
                service.lending.take(
                    message.device,
                    sink,
                    within_s=message.within_s,
                    for_s=message.for_s,
                    holder=message.holder,
                    caller=caller,
                    gone=None if sender is None else lambda: sender.gone,
                )
            case LeaseReturnRequest():
                _answer(sink, service.lending.give_back(message.device, caller=caller))
            case WorkerAddRequest():
                _answer(sink, service.staff.add(message.worker, like=message.like, caller=caller))
            case WorkerDrainRequest():
                service.staff.drain(message.worker, sink, drained=message.drained, caller=caller)
            case ModelsRequest():
                _answer(sink, service.models.list(caller=caller))
            case ModelOrderRequest():
                told = service.models.order(message.order, message.engine, worker=message.worker, caller=caller)
                _answer(sink, told)
            case ModelSwitchRequest():
                told = service.models.switch(message.engine, message.model, revision=message.revision, caller=caller)
                _answer(sink, told)
            case PresetsRequest():
                service.presets.page(message, sink, caller=caller)
            case PresetRequest():
                service.presets.preset(message.id, sink, caller=caller)
            case PresetSetRequest():
                service.presets.set(message, sink, caller=caller)
            case PresetRemoveRequest():
                service.presets.remove(message, sink, caller=caller)
            case WorkersScaleRequest():
                _answer(sink, service.staff.scale(message.worker, message.count, caller=caller))
            case WorkerRemoveRequest():
                service.staff.remove(message.worker, sink, within_s=message.within_s, caller=caller)

    def _cancel(self, caller: Caller, target: str) -> Cancellation:
        """Cancel a request, of another connection, too: ``audio-pool cancel`` is another client than who asked."""
        number = self._live.number_of(caller, target)
        if number or caller.operator:
            return self._service.cancel(target, number)
        return Cancellation(target=target, cancelled=False)  # somebody else's is answered as one that is not there

    @property
    def parked(self) -> bool:
        """True while replies wait for slow clients."""
        return self._outbox.parked

    def watch(self) -> float | None:
        """End connections whose messages do not end; return in how many seconds to look again."""
        return self._unfinished.watch()

    def flush(self) -> None:
        """Try the parked replies again."""
        self._outbox.flush()

    @property
    def reply_counts(self) -> Mapping[str, int]:
        """Replies parked, dropped, or addressed to clients that have gone."""
        return self._outbox.counts

    @property
    def message_counts(self) -> Mapping[str, int]:
        """Messages refused, connections open and turned away."""
        counts = self._counts + self._image_requests.counts + self.connections.counts
        return {**counts, "connections": len(self.connections.open)}

    def close(self) -> None:
        """Close the socket."""
        if self.token is not None:
            self.token.remove()
        self.channel.close()
        self._unfinished.close()
        self.connections.close()


def _answer(sink: ReplySink, body: Body) -> None:
    sink.finish(Reply(kind="result", body=body))
