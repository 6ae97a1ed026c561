"""How OTLP is told: `TraceService/Export` over gRPC, or a POST of the same message."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config.model.services import GrpcService
from proxy.config.model.tracing import HttpService, OpenTelemetryConfig
from proxy.http.grpc import framed
from proxy.http.grpc_call import call_head, error_of
from proxy.http.headers import Headers
from proxy.http.inquiry import Inquiry, Outcome
from proxy.http.message import Request
from proxy.tracing.export import TIMEOUT_S
from proxy.tracing.otlp import encoded
from proxy.tracing.span import Span

EXPORT_PATH = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_OK = range(200, 300)


def resource_of(config: OpenTelemetryConfig, version: str) -> dict[str, str]:
    """What resource detectors found goes before what is known anyway."""
    return {
        "service.name": config.service_name,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "weft",
        "telemetry.sdk.version": version,
        **dict(config.resource),
    }


class OtlpEncoder:
    kind = "opentelemetry"
    min_spans = 5
    interval_ms = 5000

    def __init__(self, config: OpenTelemetryConfig, version: str) -> None:
        self._config = config
        self._resource = resource_of(config, version)
        self._agent = f"OTel-OTLP-Exporter-Weft/{version}".encode()

    def inquiry(self, spans: Sequence[Span]) -> Inquiry:
        body = encoded(spans, self._resource)
        if self._config.grpc is not None:
            return self._by_grpc(self._config.grpc, framed(body))
        assert self._config.http is not None, "the decoder sets one of the two"
        return self._by_http(self._config.http, body)

    def _by_grpc(self, service: GrpcService, body: bytes) -> Inquiry:
        timeout_s = service.timeout_s or TIMEOUT_S
        waits = (b"grpc-timeout", b"%dm" % (timeout_s * 1000))
        pairs = [waits, (b"user-agent", self._agent)]
        pairs += [(name.encode(), value.encode()) for name, value in service.metadata]
        head = call_head(EXPORT_PATH, service.told_authority, pairs, len(body))
        return Inquiry(
            service.cluster,
            head,
            body,
            timeout_s,
            service.repeats,
            service.max_message_bytes,
            tells=service.envoy_headers,
        )

    def _by_http(self, service: HttpService, body: bytes) -> Inquiry:
        content = (b"content-type", b"application/x-protobuf")
        return posted(service, body, [content, (b"user-agent", self._agent)])

    def taken(self, outcome: Outcome) -> bool:
        if outcome.failure or self._config.grpc is None:
            return not outcome.failure and outcome.status in _OK
        return error_of(outcome) is None


def posted(service: HttpService, body: bytes, pairs: Sequence[tuple[bytes, bytes]]) -> Inquiry:
    """A POST to what `service` names."""
    headers = Headers.of([*pairs, (b"content-length", b"%d" % len(body))])
    for name, value in service.headers:
        headers.set(name.encode(), value.encode())
    uri = service.uri
    head = Request(b"POST", uri.path.encode(), uri.authority.encode(), headers, len(body))
    return Inquiry(uri.cluster, head, body, uri.timeout_s or TIMEOUT_S)
