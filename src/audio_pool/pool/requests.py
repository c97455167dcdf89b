"""Requests that are taken in and not answered yet: what each means, and who gets its reply.

Owns: OpenRequest and the one table through which final replies leave.
Must not know: the scheduler, sockets.
"""

from __future__ import annotations

import collections
import itertools
import logging
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from audio_pool.cache.lookup import Lookup
from audio_pool.cache.sound_cache import SoundCache
from audio_pool.errors import AudioPoolError
from audio_pool.pool.answered import Answered
from audio_pool.pool.caller import HOST, Caller
from audio_pool.pool.chunk_feed import ChunkFeed
from audio_pool.pool.replies import Reply, ReplySink
from audio_pool.pool.request_log import log_answer
from audio_pool.pool.resolve import ResolvedRequest
from audio_pool.pool.tally import Tally
from audio_pool.results import Failure
from audio_pool.telemetry import Telemetry
from audio_pool.trace_record import Mark
from audio_pool.tracing import new_trace

__all__ = ["LookedUp", "OpenRequest", "RequestTable"]

log = logging.getLogger(__name__)


class LookedUp(NamedTuple):
    """A look-up for the same words, made when the request came."""

    cache: SoundCache
    """The opening in which its ids mean something."""
    lookup: Lookup


class Traces(Protocol):
    """Where the traces of answered requests go."""

    def note(self, answered: OpenRequest, reply: Reply, status: str) -> None:
        """Take one. Called on the router's thread; must not wait."""
        ...


class OpenRequest(Struct, kw_only=True):
    """One caller's request."""

    sink: ReplySink
    resolved: ResolvedRequest | None = None
    """None for calls, and until ``init_audio`` has been read."""
    caller: Caller = HOST
    opened: float = msgspec.field(default_factory=time.monotonic)
    looked_up: LookedUp | None = None
    """Until its job asks for the first time."""
    trace: str = ""
    """The traceparent of the trace that it belongs to; "": none."""
    marks: tuple[Mark, ...] = ()
    """Of its job's stages, where they are wanted."""
    is_part: bool = False
    """It is part of another request, and heard of by nobody until that is answered."""
    likened_to: ResolvedRequest | None = None
    """What it stands in for."""
    stood_in_by: ResolvedRequest | None = None
    """What the built-in engine makes in its place, where it is to be answered in time."""
    question: bool = False
    """It is about another request: nobody can mean it by its name."""
    known: str = ""
    """A file that its caller has already: it need not be sent."""
    feed: ChunkFeed | None = None
    """Where it wants its sound while it is made."""
    on_answered: Callable[[], None] | None = None
    """Called once its reply has left."""

    @property
    def of_durable_job(self) -> bool:
        """True where the journal's half of the pool is the caller, which answers whoever asked."""
        return self.resolved is not None and self.resolved.request.durable

    @property
    def sound(self) -> ResolvedRequest:
        """What the request for a sound means; not for calls."""
        assert self.resolved is not None
        return self.resolved


class RequestTable(dict[int, OpenRequest]):
    """Open requests by number. Router's thread only."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self.answers: collections.Counter[str] = collections.Counter()
        """Final replies by kind, as they were sent."""
        self.delivered = Answered()
        """The sounds among them, for whoever judges one."""
        self.tally = Tally()
        """What is counted of the requests for sounds."""
        self.traces: Traces | None = None
        """Gets each request that was answered; None: nobody wants them."""
        self._telemetry = telemetry
        self._numbers = itertools.count(1)

    def open(self, sink: ReplySink, resolved: ResolvedRequest | None = None, caller: Caller = HOST) -> int:
        """Take a request in; return its number, unique for the pool's life."""
        number = next(self._numbers)
        trace = caller.trace
        if self.traces is not None and not trace:
            trace = new_trace()
        self[number] = OpenRequest(sink=sink, resolved=resolved, caller=caller, trace=trace)
        return number

    def open_question(self, sink: ReplySink) -> int:
        """Take in what waits for another request or for the journal, so that it is answered whatever happens."""
        number = next(self._numbers)
        self[number] = OpenRequest(sink=sink, question=True)
        return number

    def number_of(self, request_id: str) -> int:
        """Return the number of a request by its caller's name for it, whoever that is; 0 where there is none.

        Durable jobs are not among them: they belong to their owners.
        """
        named = ((number, one) for number, one in self.items() if not (one.question or one.of_durable_job))
        return next((number for number, one in named if one.sink.request_id == request_id), 0)

    def forget(self, number: int) -> OpenRequest | None:
        """Take out a part of another request, which needs no answer; None: it is not there."""
        return self.pop(number, None)

    def finish(self, number: int, reply: Reply) -> None:
        """Send the final reply, once. The only place where one leaves."""
        open_request = self.pop(number, None)
        if open_request is not None:
            kind = _send(open_request.sink, reply)
            if open_request.on_answered is not None:
                open_request.on_answered()
            if reply.metadata is not None and open_request.resolved is not None:
                query = open_request.resolved.recipe.prompt
                self.delivered.note(open_request.caller.owner, open_request.sink.request_id, query, reply.metadata)
            if not open_request.of_durable_job:  # else no reply yet: the journal's half sends it, to whoever waits
                self.answers[kind] += 1
                self._telemetry.count("answers", kind=kind)
            if open_request.question:
                return
            self._count(open_request, reply, kind)
            if self.traces is not None and open_request.resolved is not None:
                self.traces.note(open_request, reply, kind)
            log_answer(
                number,
                open_request.sink.request_id,
                open_request.caller.client,
                open_request.opened,
                reply,
                kind,
                recipe=open_request.resolved.recipe if open_request.resolved is not None else None,
                trace=open_request.trace,
            )

    def _count(self, answered: OpenRequest, reply: Reply, kind: str) -> None:
        if answered.resolved is not None:
            seconds = time.monotonic() - answered.opened
            self.tally.answered(answered.resolved.recipe.engine, kind, seconds, reply.metadata)
        if kind == "error" and reply.failure is not None:
            self.tally.failed(answered.sink.request_id, reply.failure)

    def finish_all(self, reply: Reply) -> None:
        """Send every open request the same reply; a sink that fails keeps no other waiting."""
        for number in list(self):
            self.finish(number, reply)


def _send(sink: ReplySink, reply: Reply) -> str:
    """Send a reply; in place of a result that cannot be sent, an error. Return the kind of the last that was tried."""
    try:
        sink.finish(reply)
    except BaseException:  # a reply that cannot be encoded, a caller's own exit: nobody else's trouble
        log.exception("a reply could not be sent, request %s", sink.request_id)
        if reply.kind == "result":
            bug = AudioPoolError("the reply met a bug in the pool; its log says more")
            return _send(sink, Reply(kind="error", failure=Failure.of(bug)))
    return reply.kind
