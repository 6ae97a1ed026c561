"""Decodes access logs over gRPC: `http_grpc` and `tcp_grpc`."""

from __future__ import annotations

from typing import Literal

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import seconds_or, unpack, value_or
from proxy.config.decode_services import own_grpc_service
from proxy.config.decode_tracing import custom_tags
from proxy.config.model.grpc_logs import GrpcLog, LogService
from proxy.config.rejected import Rejected

_Kind = Literal["http", "tcp"]


def http_grpc(packed: any_pb2.Any, path: str) -> GrpcLog:
    message = unpack(als_pb2.HttpGrpcAccessLogConfig, packed, path)
    return GrpcLog(
        _service(message.common_config, f"{path}.common_config", "http"),
        tuple(name.lower() for name in message.additional_request_headers_to_log),
        tuple(name.lower() for name in message.additional_response_headers_to_log),
        tuple(name.lower() for name in message.additional_response_trailers_to_log),
    )


def tcp_grpc(packed: any_pb2.Any, path: str) -> GrpcLog:
    message = unpack(als_pb2.TcpGrpcAccessLogConfig, packed, path)
    return GrpcLog(_service(message.common_config, f"{path}.common_config", "tcp"))


def _service(message: als_pb2.CommonGrpcAccessLogConfig, path: str, kind: _Kind) -> LogService:
    if message.transport_api_version != config_source_pb2.V3:
        raise Rejected(f"{path}.transport_api_version", "must be V3")
    return LogService(
        kind,
        message.log_name,
        own_grpc_service(message.grpc_service, f"{path}.grpc_service"),
        seconds_or(message, "buffer_flush_interval", 1.0),
        value_or(message, "buffer_size_bytes", 16384),
        tuple(message.filter_state_objects_to_log),
        custom_tags(message.custom_tags, f"{path}.custom_tags"),
    )
