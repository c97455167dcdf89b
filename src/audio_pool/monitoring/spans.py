"""OpenTelemetry's spans of requests that a pool has answered, made and sent by a process of their own.

Owns: which spans a request has, their names, times and attributes; the process that reads records and sends spans.
Must not know: the pool; how a record got here (pool/traces.py).

    generate_content MODEL      the whole request, under the span that its traceparent names
      lookup | embeddings | claim | render | store      as the scheduler saw them
      queue                     the wait for a worker
      generate_audio            a worker's time for generating: the services' own span
      score, master             likewise

A stage of a worker is placed by when the pool knows that the worker was at it, and is as long as the worker itself
measured: a worker on another machine has another clock, but seconds are as long there. Names and attributes are
those of OpenTelemetry's GenAI conventions where these have any.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from msgspec import Struct

from audio_pool import __version__
from audio_pool.trace_record import Mark, TraceRecord
from audio_pool.tracing import within

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanKind

__all__ = ["Sender", "SpanTold", "resource_named", "run", "spans_of", "wanted_processors"]

log = logging.getLogger(__name__)

Value = str | int | float | bool | list[str]

_LOOKUPS = {"lookup": "exact", "recheck": "exact", "near": "semantic"}
_PLAIN = {"claim": "claim", "store": "store"}
_FINISH = {"result": "stop", "cancelled": "cancelled", "expired": "length", "busy": "error", "error": "error"}
_PROVIDER = "audio_pool"


class SpanTold(Struct, kw_only=True):
    """One span; times in seconds on the record's clock."""

    name: str
    start: float
    end: float
    attributes: dict[str, Value] = {}
    failed: str = ""
    """Why, in a word; "": it did not."""


def spans_of(record: TraceRecord) -> tuple[SpanTold, list[SpanTold]]:
    """Return a request's own span and, in order, those of its parts."""
    whole = SpanTold(
        name=f"generate_content {record.model or record.engine}",
        start=record.opened,
        end=max(record.opened, record.ended),
        failed=record.error or ("" if record.status == "result" else record.status),
        attributes={
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": record.engine,
            "gen_ai.output.type": "audio",
            "gen_ai.response.id": record.request_id,
            "gen_ai.response.finish_reasons": [_FINISH.get(record.status, record.status)],
            "gen_ai.request.choice.count": record.candidates,
            "audio_pool.status": record.status,
        },
    )
    told: dict[str, Value | None] = {
        "gen_ai.response.model": record.model or None,
        "gen_ai.request.seed": record.seed,
        "audio_pool.cache": record.cache or None,
        "audio_pool.entry_id": record.entry,
        "error.type": whole.failed or None,
    }
    whole.attributes |= {name: value for name, value in told.items() if value is not None}
    parts = list(_parts(record)) if record.marks else list(_hit(record))
    # who joined a job came when it was under way already
    parts = [part for part in parts if part.end >= record.opened and part.start <= record.ended]
    for part in parts:
        part.start = max(part.start, record.opened)
        part.end = min(max(part.end, part.start), record.ended)
    return whole, parts


def _hit(record: TraceRecord) -> Iterator[SpanTold]:
    """Yield the one part of a hit that needed no job."""
    if record.lookup_ms:
        end = record.opened + record.lookup_ms / 1000
        yield SpanTold(name="lookup", start=record.opened, end=end, attributes={"audio_pool.lookup": "exact"})


def _parts(record: TraceRecord) -> Iterator[SpanTold]:
    works = [mark for mark in record.marks if mark.part == "work" and not mark.failed]
    last = {mark.stage: mark for mark in works}
    for mark in record.marks:
        match mark.part:
            case "queue":
                yield _plain("queue", mark)
            case "work" if mark.stage in ("generate", "master"):
                yield from _work(record, mark, final=last.get(mark.stage) is mark, alone="master" not in last)
            case "whole" if mark.stage in _LOOKUPS:
                yield _plain("lookup", mark, {"audio_pool.lookup": _LOOKUPS[mark.stage]})
            case "whole" if mark.stage in _PLAIN:
                yield _plain(_PLAIN[mark.stage], mark)
            case "whole" if mark.stage == "render":
                yield _plain("render", mark)
            case "whole" if mark.stage == "embed":
                yield _plain("embeddings", mark, {"gen_ai.operation.name": "embeddings"})
            case "cut" if mark.end > mark.start:
                yield _plain(mark.stage, mark, failed=record.error or record.status)


def _plain(
    name: str, mark: Mark, attributes: dict[str, Value] | None = None, *, failed: str = ""
) -> SpanTold:
    return SpanTold(name=name, start=mark.start, end=mark.end, attributes=attributes or {}, failed=failed)


def _work(record: TraceRecord, mark: Mark, *, final: bool, alone: bool) -> Iterator[SpanTold]:
    """Yield what a worker did.

    Args:
        final: this is the try that the sound is of: the measured times are its.
        alone: the worker that generates masters, too.
    """
    worker: dict[str, Value] = {"audio_pool.worker": mark.worker}
    failed = "failed" if mark.failed else ""
    at = mark.start
    if mark.stage == "generate":
        end = min(mark.end, at + record.generate_ms / 1000) if final and alone and record.generate_ms else mark.end
        attributes: dict[str, Value] = {
            **worker,
            "gen_ai.request.model": record.engine,
            "duration": record.duration_s,
            "audio_pool.candidates": record.candidates,
        }
        if record.device:
            attributes["audio_pool.device"] = record.device
        if record.steps is not None:
            attributes["num_inference_steps"] = record.steps
        if record.prompt:
            attributes["prompt"] = record.prompt
        yield SpanTold(name="generate_audio", start=at, end=end, attributes=attributes, failed=failed)
        at = end
        if not (final and alone):
            return
    if not final:
        yield SpanTold(name="master", start=at, end=mark.end, attributes=worker, failed=failed)
        return
    scored = min(mark.end, at + record.score_ms / 1000)
    if record.score_ms:
        yield SpanTold(name="score", start=at, end=scored, attributes=worker)
    if record.master_ms:
        yield SpanTold(
            name="master", start=scored, end=min(mark.end, scored + record.master_ms / 1000), attributes=worker
        )


# -- sending ---------------------------------------------------------------------------------------


class Sender:
    """Makes spans of records, and has them exported. Imports OpenTelemetry."""

    def __init__(self, *processors: SpanProcessor) -> None:
        """
        Args:
            processors: get the spans; none: those that the standard variables ask for.
        """
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """Gives a trace that a pool has begun the id that its log has."""

            wanted = 0

            def generate_trace_id(self) -> int:
                return self.wanted or super().generate_trace_id()

        self._ids = Ids()
        self._provider = TracerProvider(resource=resource_named("audio_pool"), id_generator=self._ids)
        for processor in processors or wanted_processors():
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("audio_pool", __version__)

    def send(self, record: TraceRecord) -> None:
        """Have a request's spans exported."""
        from opentelemetry import trace

        whole, parts = spans_of(record)
        given = within(record.traceparent)
        self._ids.wanted = int(given.trace_id, 16)
        caused_by = trace.SpanContext(
            self._ids.wanted,
            int(given.span_id or "0", 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if given.sampled else trace.TraceFlags.DEFAULT),
        )
        above = trace.set_span_in_context(trace.NonRecordingSpan(caused_by))
        root = self._start(record, whole, above, trace.SpanKind.SERVER)
        inside = trace.set_span_in_context(root)
        for part in parts:
            self._start(record, part, inside, trace.SpanKind.INTERNAL).end(_ns(record, part.end))
        root.end(_ns(record, whole.end))

    def _start(self, record: TraceRecord, told: SpanTold, context: Context, kind: SpanKind) -> Span:
        from opentelemetry.trace import Status, StatusCode

        span = self._tracer.start_span(
            told.name, context=context, kind=kind, attributes=told.attributes, start_time=_ns(record, told.start)
        )
        if told.failed:
            span.set_status(Status(StatusCode.ERROR, told.failed))
        return span

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def _ns(record: TraceRecord, at: float) -> int:
    """Return nanoseconds since 1970."""
    return round((record.epoch_s + at) * 1e9)


def resource_named(service: str) -> Resource:
    """Return who sends spans; ``service``: unless the standard variables say otherwise."""
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

    found = Resource.create()  # with what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say
    ours = {SERVICE_VERSION: __version__}
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        ours[SERVICE_NAME] = service
    return found.merge(Resource(ours))


def wanted_processors() -> list[SpanProcessor]:
    """Return what sends spans where the standard variables say."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    asked = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    exporters: list[SpanExporter] = []
    for name in (part.strip().lower() for part in asked.split(",")):
        if name == "console":
            exporters.append(ConsoleSpanExporter(out=sys.stderr))
        elif name == "otlp":
            exporters.append(_otlp())
        else:
            log.error("OTEL_TRACES_EXPORTER: given %r, known are otlp, console and none", name)
    return [BatchSpanProcessor(exporter) for exporter in exporters]


def _otlp() -> SpanExporter:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        log.warning("OTEL_EXPORTER_OTLP_PROTOCOL: given %r, traces are sent by http/protobuf all the same", protocol)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def run(records: BinaryIO, sender: Sender) -> None:
    """Send the spans of records, each behind its length in four bytes, until their end."""
    decoder = msgspec.msgpack.Decoder(TraceRecord)
    while len(head := records.read(4)) == 4:
        size = int.from_bytes(head, "big")
        data = records.read(size)
        if len(data) < size:
            return
        try:
            sender.send(decoder.decode(data))
        except Exception:
            log.exception("the spans of a request could not be made")


def main() -> None:
    """Read records from standard input. It ends when the pool closes that, or is gone."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s traces: %(message)s")
    # from a terminal both reach the server, too, which closes this process's input when it is done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sender = Sender()
    try:
        run(sys.stdin.buffer, sender)
    finally:
        sender.close()


if __name__ == "__main__":
    main()
