"""A collector of OpenTelemetry's spans: what arrives over OTLP, by trace."""

from __future__ import annotations

import gzip
import http.server
import threading
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.support.waiting import eventually


class Span:
    """One span as it arrived; ids in hex."""

    def __init__(self, told: Any, service: str) -> None:
        self.name: str = told.name
        self.service = service
        self.trace, self.id, self.parent = told.trace_id.hex(), told.span_id.hex(), told.parent_span_id.hex()
        self.start, self.end = told.start_time_unix_nano, told.end_time_unix_nano
        self.kind: int = told.kind
        self.failed = told.status.code == 2
        self.attributes = {one.key: _value(one.value) for one in told.attributes}

    def __repr__(self) -> str:
        return f"{self.service}:{self.name} {self.attributes}"


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


class Collector:
    """Listens at ``endpoint``."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {one.key: _value(one.value) for one in group.resource.attributes}
                    for scope in group.scope_spans:
                        collector.spans += [Span(span, str(names.get("service.name"))) for span in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def of(self, trace: str, name: str) -> list[Span]:
        """The spans of a trace with a name, once there is one."""
        return eventually(lambda: [one for one in list(self.spans) if (one.trace, one.name) == (trace, name)], name)

    def within(self, span: Span) -> list[Span]:
        """The spans whose parent is this one, in order."""
        return sorted((one for one in list(self.spans) if one.parent == span.id), key=lambda one: (one.start, one.end))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
