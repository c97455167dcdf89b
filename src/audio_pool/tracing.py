"""Which trace a request belongs to: W3C's ``traceparent``, and the variables that turn OpenTelemetry on.

Owns: the form of a traceparent, the one that holds for what is asked now, what the OTEL_* variables mean for us.
Must not know: OpenTelemetry itself, which nothing imports unless it is on: spans are made by a process of their
own (monitoring/spans.py), from times that were taken anyway.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Annotated, NamedTuple

from msgspec import Meta

from audio_pool.errors import InvalidRequest

__all__ = [
    "CURRENT",
    "Traceparent",
    "Within",
    "asked_traceparent",
    "captures_prompts",
    "current_traceparent",
    "new_trace",
    "tracing_on",
    "valid_traceparent",
    "within",
]

_PATTERN = r"\A(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z"
_VALID = re.compile(_PATTERN)
Traceparent = Annotated[str, Meta(max_length=55, pattern=_PATTERN)]
_NO_SPAN = "0" * 16

CURRENT: ContextVar[str] = ContextVar("audio_pool_traceparent", default="")
"""The traceparent of what is being done in this task or thread; a gateway sets it for each HTTP request."""


class Within(NamedTuple):
    """A traceparent's parts."""

    trace_id: str
    span_id: str
    """Of the span that caused this; "": none did."""
    sampled: bool


def within(traceparent: str) -> Within:
    """Return the parts of a valid traceparent, or of ``new_trace``'s."""
    _, trace_id, span_id, flags = traceparent.split("-")
    return Within(trace_id, "" if span_id == _NO_SPAN else span_id, bool(int(flags, 16) & 1))


def valid_traceparent(text: str) -> str:
    """Return a header's value, "" where it is none: the standard has a malformed one ignored."""
    return text if _VALID.match(text) else ""


def asked_traceparent(given: str | None) -> str:
    """Return the traceparent of a request; ``given``: by its caller, None: what is open here.

    Raises:
        InvalidRequest: it has not W3C's form.
    """
    if given is None:
        return current_traceparent()
    if valid_traceparent(given):
        return given
    raise InvalidRequest(
        f"traceparent: given {given!r:.80}, allowed is W3C's form 00-TRACE-SPAN-FLAGS in lower case hex"
    )


def new_trace() -> str:
    """Return the traceparent of a trace that begins here: it has no span yet."""
    return f"00-{random.getrandbits(128) | 1:032x}-{_NO_SPAN}-01"


def current_traceparent() -> str:
    """Return the traceparent of what is being done here: what CURRENT says, else the span that this program has
    open in OpenTelemetry, if it uses that; "": none."""
    known = CURRENT.get()
    trace = sys.modules.get("opentelemetry.trace")
    if known or trace is None:
        return known
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def tracing_on(environment: Mapping[str, str]) -> bool:
    """Return True where the standard variables ask for traces: an exporter, or an endpoint for it."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return exporter != "none" and bool(exporter or any(environment.get(name, "").strip() for name in endpoints))


def captures_prompts(environment: Mapping[str, str]) -> bool:
    """Return True where spans may say what was asked for: OpenTelemetry's own variable for it."""
    asked = environment.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower()
    return asked in ("true", "1", "span_only", "span_and_event")
