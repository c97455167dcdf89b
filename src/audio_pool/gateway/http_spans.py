"""Which trace an HTTP request belongs to, and its own span where OpenTelemetry is on.

Owns: the header ``traceparent``; the span of one exchange.
Must not know: routes, the pool: what is asked of it meanwhile is within the trace by itself (tracing.CURRENT).

OpenTelemetry is imported only where its standard variables ask for traces; else a header is passed on as it came.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audio_pool import __version__
from audio_pool.gateway.tally import dialect_of
from audio_pool.tracing import CURRENT, tracing_on, valid_traceparent, within

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

__all__ = ["Traced"]

log = logging.getLogger(__name__)

_SERVER_ERROR = 500


class Traced:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, environment: Mapping[str, str]) -> None:
        self._app = app
        self._tracer = _tracer(environment)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        traceparent = valid_traceparent(given.decode("latin-1")) if given else ""
        if self._tracer is None:
            if not traceparent:
                await self._app(scope, receive, send)
                return
            token = CURRENT.set(traceparent)
            try:
                await self._app(scope, receive, send)
            finally:
                CURRENT.reset(token)
            return
        await self._within_a_span(self._tracer, traceparent, scope, receive, send)

    async def _within_a_span(
        self, tracer: Tracer, traceparent: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        method = str(scope.get("method", ""))
        span = tracer.start_span(method, context=_above(traceparent), kind=SpanKind.SERVER)
        span.set_attribute("http.request.method", method)
        if scope.get("server"):
            host, port = scope["server"] or ("", 0)
            span.set_attribute("server.address", host)
            span.set_attribute("server.port", port or 0)
        token = CURRENT.set(_traceparent(span))

        async def send_seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= _SERVER_ERROR:
                    span.set_attribute("error.type", str(message["status"]))
                    span.set_status(Status(StatusCode.ERROR))
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            CURRENT.reset(token)
            route = str(scope.get("path_template") or "")
            if route:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            dialect = dialect_of(scope)
            if dialect:
                span.set_attribute("audio_pool.dialect", dialect)
            span.end()


def _above(traceparent: str) -> Context:
    """Return a context in which the caller's span is open."""
    from opentelemetry import trace
    from opentelemetry.context import Context

    if not traceparent:
        return Context()
    given = within(traceparent)
    caused_by = trace.SpanContext(
        int(given.trace_id, 16),
        int(given.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if given.sampled else trace.TraceFlags.DEFAULT),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(caused_by), Context())


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _tracer(environment: Mapping[str, str]) -> Tracer | None:
    """Return what makes spans; None where nobody asks for them."""
    if not tracing_on(environment):
        return None
    if not all(importlib.util.find_spec(name) for name in ("opentelemetry", "opentelemetry.sdk")):
        log.warning("OTEL_* variables ask for traces, OpenTelemetry is not installed: pip install 'audio-pool[otel]'")
        return None
    from opentelemetry.sdk.trace import TracerProvider

    from audio_pool.monitoring.spans import resource_named, wanted_processors

    provider = TracerProvider(resource=resource_named("audio_pool_gateway"))
    for processor in wanted_processors():
        provider.add_span_processor(processor)
    return provider.get_tracer("audio_pool.gateway", __version__)
