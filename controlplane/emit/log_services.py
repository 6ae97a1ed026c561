"""Access logs over gRPC in Envoy's words, as Istio's proxies have them."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import (
    OpenTelemetryAccessLogConfig,
)
from google.protobuf.any_pb2 import Any
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList

from controlplane.emit import names
from controlplane.emit.formatters import formatters
from controlplane.emit.words import packed
from controlplane.mesh.telemetry import LogService

NAMES = {
    "http": "envoy.access_loggers.http_grpc",
    "tcp": "envoy.tcp_grpc_access_log",
    "otel": "envoy.access_loggers.open_telemetry",
}
"""Istio's, by which an EnvoyFilter may look for them."""
KEPT = 256


@lru_cache(maxsize=KEPT)
def logger(service: LogService, text: str) -> Any:
    """text: what OpenTelemetry is told where the service has no text of its own."""
    cluster = names.outbound_cluster(service.host, service.port)
    inner = GrpcService.EnvoyGrpc(cluster_name=cluster, authority=service.host)
    common = CommonGrpcAccessLogConfig(
        log_name=service.log_name,
        grpc_service=GrpcService(envoy_grpc=inner),
        transport_api_version=ApiVersion.V3,
        filter_state_objects_to_log=service.filter_states,
    )
    if service.kind == "tcp":
        return packed(TcpGrpcAccessLogConfig(common_config=common))
    if service.kind == "otel":
        return packed(_otel(service, common, service.text or text))
    return packed(
        HttpGrpcAccessLogConfig(
            common_config=common,
            additional_request_headers_to_log=service.request_headers,
            additional_response_headers_to_log=service.response_headers,
            additional_response_trailers_to_log=service.response_trailers,
        )
    )


def _otel(
    service: LogService, common: CommonGrpcAccessLogConfig, text: str
) -> OpenTelemetryAccessLogConfig:
    made = OpenTelemetryAccessLogConfig(
        common_config=common, disable_builtin_labels=True, body=AnyValue(string_value=text)
    )
    if service.labels:
        pairs = [
            KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in service.labels
        ]
        made.attributes.CopyFrom(KeyValueList(values=pairs))
    made.formatters.extend(formatters((text, *dict(service.labels).values())))
    return made
