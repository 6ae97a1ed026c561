"""A collector of trace spans: OTLP over gRPC and over HTTP, and Zipkin's JSON. And an upstream that
keeps the heads of the requests it answers.

Each has a port of 127.0.0.1; what was told is there as plain dictionaries.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

Message = dict[str, Any]
SCOPES = "instrumentationLibrarySpans"
"""As the message that xds-protos has calls the field that is named scopeSpans by now."""
_EXPORT = trace_service_pb2.ExportTraceServiceRequest


class Collector:
    """`with Collector() as collector:` listens. otlp: the exports, as JSON. zipkin: lists of spans.
    heads: of the requests to the collector; requests: of those to the upstream, names in lower
    case. status: what the upstream answers."""

    def __init__(self) -> None:
        self.otlp: list[Message] = []
        self.zipkin: list[Message] = []
        self.heads: list[dict[str, str]] = []
        self.requests: list[dict[str, str]] = []
        self.answer: dict[str, str] = {}
        self._http = _server(self._take)
        self._upstream = _server(self._serve)
        self._grpc = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._grpc.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "opentelemetry.proto.collector.trace.v1.TraceService", {"Export": handler}
                ),
            )
        )
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")

    @property
    def http_port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def upstream_port(self) -> int:
        return int(self._upstream.server_address[1])

    def __enter__(self) -> Self:
        self._grpc.start()
        for server in (self._http, self._upstream):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._http, self._upstream):
            server.shutdown()
            server.server_close()
        self._grpc.stop(None).wait()

    def spans(self) -> list[Message]:
        """All that was told over OTLP."""
        return [
            span
            for export in list(self.otlp)
            for resource in export["resourceSpans"]
            for scope in resource[SCOPES]
            for span in scope["spans"]
        ]

    # ------------------------------------------------------------------ what is asked

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.heads.append({str(k): str(v) for k, v in context.invocation_metadata()})
        self.otlp.append(_readable(request))
        return b""

    def _take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.heads.append({":path": handler.path, **_head(handler)})
        if handler.path.startswith("/v1/traces"):
            self.otlp.append(_readable(body))
        else:
            self.zipkin += json.loads(body)
        _reply(handler, {}, b"")

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.requests.append({":path": handler.path, **_head(handler)})
        _reply(handler, self.answer, b"hello")


def _readable(body: bytes) -> Message:
    """Ids are in hexadecimal digits."""
    export = MessageToDict(_EXPORT.FromString(body))
    for resource in export.get("resourceSpans", ()):
        for scope in resource.get(SCOPES, ()):
            for span in scope.get("spans", ()):
                for name in {"traceId", "spanId", "parentSpanId"} & set(span):
                    span[name] = _hexadecimal(span[name])
    return export


def _hexadecimal(text: str) -> str:
    return b64decode(text).hex()


def _head(handler: BaseHTTPRequestHandler) -> dict[str, str]:
    return {name.lower(): value for name, value in handler.headers.items()}


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("transfer-encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length", "0")))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _reply(handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes) -> None:
    time.sleep(float(headers.get(":delay", "0")))
    handler.send_response(int(headers.get(":status", "200")))
    for name, value in headers.items():
        if not name.startswith(":"):
            handler.send_header(name, value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _server(take: Any) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits for an ACK
        disable_nagle_algorithm = True

        def _any(self) -> None:
            take(self, _body(self))

        do_GET = do_POST = _any

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
