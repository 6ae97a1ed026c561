"""Spans as OTLP: an `ExportTraceServiceRequest`, which gRPC and HTTP carry alike.

The messages that xds-protos has call instrumentation scopes by their older name; the field's
number, and so what is on the wire, is that of `scope_spans`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from proxy.tracing.span import Span

_KINDS = {
    "SERVER": trace_pb2.Span.SPAN_KIND_SERVER,
    "CLIENT": trace_pb2.Span.SPAN_KIND_CLIENT,
}
_NANOS = 1_000_000_000
SCOPE = "weft"


def encoded(spans: Iterable[Span], resource: Mapping[str, str]) -> bytes:
    """A serialized request. resource: attributes of who tells this."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    of_us = request.resource_spans.add()
    for name, value in resource.items():
        of_us.resource.attributes.add(key=name).value.string_value = value
    scope = of_us.instrumentation_library_spans.add()
    scope.instrumentation_library.name = SCOPE
    for span in spans:
        _write(scope.spans.add(), span)
    return request.SerializeToString()


def _write(message: trace_pb2.Span, span: Span) -> None:
    message.trace_id = bytes.fromhex(span.trace_id)
    message.span_id = bytes.fromhex(span.span_id)
    message.parent_span_id = bytes.fromhex(span.parent_id)
    message.trace_state = _text(span.state.decode("utf-8", "replace"))
    message.name = _text(span.name)
    message.kind = _KINDS[span.kind]
    message.start_time_unix_nano = int(span.started * _NANOS)
    message.end_time_unix_nano = int(span.ended * _NANOS)
    for name, value in span.tags.items():
        message.attributes.add(key=name).value.string_value = _text(value)
    for when, name in span.events:
        message.events.add(name=name, time_unix_nano=int(when * _NANOS))
    if span.failed:
        message.status.code = trace_pb2.Status.STATUS_CODE_ERROR
    elif span.failed is not None:
        message.status.SetInParent()


def _text(text: str) -> str:
    """What a peer sent may not be UTF-8, which strings of protobuf must be."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
