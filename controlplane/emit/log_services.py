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
from google.protobuf.any_pb2 import Any

from controlplane.emit import names
from controlplane.emit.words import packed
from controlplane.mesh.telemetry import LogService

NAMES = {"http": "envoy.access_loggers.http_grpc", "tcp": "envoy.tcp_grpc_access_log"}
"""Istio's, by which an EnvoyFilter may look for them."""
KEPT = 256


@lru_cache(maxsize=KEPT)
def logger(service: LogService) -> Any:
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
    return packed(
        HttpGrpcAccessLogConfig(
            common_config=common,
            additional_request_headers_to_log=service.request_headers,
            additional_response_headers_to_log=service.response_headers,
            additional_response_trailers_to_log=service.response_trailers,
        )
    )
