"""The sink behind a Pending of this process: replies and events become its result, its error, its events.

Owns: sink_of.
Must not know: where replies come from, who waits.
"""

from __future__ import annotations

from msgspec import structs

from audio_pool.audio.interleaved import planar
from audio_pool.errors import Timeout
from audio_pool.pending import Pending
from audio_pool.pool.replies import LocalSink, Reply
from audio_pool.results import Accepted, AudioResult, Chunk, Event, EventType, Failure, Progress

__all__ = ["sink_of"]


def sink_of(pending: Pending, timeout_s: float | None) -> LocalSink:
    """Return the sink that ends a Pending; ``timeout_s``: of the caller, where "expired" is not the request's own."""

    def finish(reply: Reply) -> None:
        if reply.kind == "expired" and timeout_s is not None:
            pending.on_error(Timeout(f"no sound within {timeout_s:g} s", hint="raise timeout_s, or see status()"))
        elif reply.failure is not None or reply.metadata is None:
            pending.on_error((reply.failure or Failure()).error())
        else:
            result = AudioResult(request_id=pending.request_id, path=reply.path or "", metadata=reply.metadata)
            if reply.samples is not None and reply.data is not None:
                result = structs.replace(result, audio=planar(reply.data, reply.samples.channels))
            elif reply.data is not None:
                result = structs.replace(result, data=reply.data)
            pending.on_result(result)

    def notify(body: Accepted | Progress | Chunk) -> None:
        event_type: EventType = "progress"
        if isinstance(body, Accepted):
            event_type = "accepted"
        elif isinstance(body, Chunk):
            event_type = "chunk"
        pending.on_event(Event(request_id=pending.request_id, type=event_type, body=body))

    return LocalSink(request_id=pending.request_id, on_reply=finish, on_event=notify)
