"""Decodes a cluster's active health checks and how single endpoints are checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.extensions.health_check.event_sinks.file.v3 import file_pb2
from envoy.type.v3 import range_pb2

from proxy.config.decode_common import (
    enum_name,
    headers_to_add,
    headers_to_remove,
    ip_address,
    plain_text,
    seconds,
    seconds_or,
    struct,
    unpack,
    value_or,
)
from proxy.config.decode_matchers import string_matcher
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import (
    EndpointCheck,
    GrpcCheck,
    HeaderValueOption,
    HealthCheck,
    HttpCheck,
    TcpCheck,
)
from proxy.config.rejected import Rejected

_HTTP1, _HTTP2 = 0, 1
_Payloads = Iterable[health_check_pb2.HealthCheck.Payload]
_WITH_BODY = ("POST", "PUT", "PATCH", "OPTIONS")
_STATUSES = ((200, 201),)


def health_check(messages: Sequence[health_check_pb2.HealthCheck], path: str) -> HealthCheck | None:
    """`messages` must be checked. Envoy takes one at most."""
    if len(messages) > 1:
        raise Rejected(path, "more than one health check is not supported, by Envoy either")
    return _health_check(messages[0], f"{path}[0]") if messages else None


def _health_check(message: health_check_pb2.HealthCheck, path: str) -> HealthCheck:
    """Envoy requires the thresholds, where the message has no rule for it."""
    for name in ("unhealthy_threshold", "healthy_threshold"):
        if not message.HasField(name):
            raise Rejected(f"{path}.{name}", "is required")
    interval_s = seconds(message.interval)
    idle_s = seconds_or(message, "no_traffic_interval", 60.0)
    unhealthy_s = seconds_or(message, "unhealthy_interval", interval_s)
    criteria = message.transport_socket_match_criteria
    return HealthCheck(
        check=_check(message, path),
        timeout_s=seconds(message.timeout),
        interval_s=interval_s,
        unhealthy_threshold=message.unhealthy_threshold.value,
        healthy_threshold=message.healthy_threshold.value,
        initial_jitter_s=seconds_or(message, "initial_jitter", 0.0),
        interval_jitter_s=seconds_or(message, "interval_jitter", 0.0),
        interval_jitter_percent=message.interval_jitter_percent,
        no_traffic_interval_s=idle_s,
        no_traffic_healthy_interval_s=seconds_or(message, "no_traffic_healthy_interval", idle_s),
        unhealthy_interval_s=unhealthy_s,
        unhealthy_edge_interval_s=seconds_or(message, "unhealthy_edge_interval", unhealthy_s),
        healthy_edge_interval_s=seconds_or(message, "healthy_edge_interval", interval_s),
        reuse_connection=value_or(message, "reuse_connection", True),
        event_log_paths=_event_logs(message, path),
        always_log_failures=message.always_log_health_check_failures,
        always_log_success=message.always_log_health_check_success,
        alpn=tuple(message.tls_options.alpn_protocols),
        socket_match=struct(criteria)
        if message.HasField("transport_socket_match_criteria")
        else None,
    )


def _check(message: health_check_pb2.HealthCheck, path: str) -> HttpCheck | TcpCheck | GrpcCheck:
    kind = message.WhichOneof("health_checker")
    if kind == "http_health_check":
        return _http(message.http_health_check, f"{path}.{kind}")
    if kind == "tcp_health_check":
        return _tcp(message.tcp_health_check, f"{path}.{kind}")
    if kind == "grpc_health_check":
        grpc = message.grpc_health_check
        metadata = _plain_headers(grpc.initial_metadata, f"{path}.{kind}.initial_metadata")
        return GrpcCheck(grpc.service_name, grpc.authority, metadata)
    raise Rejected(path, "one of the fields of `health_checker` must be set")


def _http(message: health_check_pb2.HealthCheck.HttpHealthCheck, path: str) -> HttpCheck:
    if message.codec_client_type not in (_HTTP1, _HTTP2):
        raise Rejected(f"{path}.codec_client_type", f"HTTP3 is {UNSUPPORTED}")
    method = enum_name(base_pb2.RequestMethod, message.method)
    send = _payload(message.send, f"{path}.send") if message.HasField("send") else b""
    if send and method not in _WITH_BODY:
        raise Rejected(f"{path}.send", f"has no place in a request of method {method}")
    receive = _payloads(message.receive, f"{path}.receive")
    body_bytes = value_or(message, "response_buffer_size", 1024)
    if body_bytes and sum(map(len, receive)) > body_bytes:
        raise Rejected(f"{path}.receive", "is longer than response_buffer_size")
    service_name = None
    if message.HasField("service_name_matcher"):
        where = f"{path}.service_name_matcher"
        service_name = string_matcher(message.service_name_matcher, where)
    return HttpCheck(
        path=message.path,
        host=message.host,
        method="GET" if method == "METHOD_UNSPECIFIED" else method,
        http2=message.codec_client_type == _HTTP2,
        expected_statuses=_statuses(message.expected_statuses, f"{path}.expected_statuses")
        or _STATUSES,
        retriable_statuses=_statuses(message.retriable_statuses, f"{path}.retriable_statuses"),
        headers_to_add=_plain_headers(
            message.request_headers_to_add, f"{path}.request_headers_to_add"
        ),
        headers_to_remove=headers_to_remove(
            message.request_headers_to_remove, f"{path}.request_headers_to_remove"
        ),
        service_name=service_name,
        send=send,
        receive=receive,
        body_bytes=body_bytes,
    )


def _plain_headers(
    messages: Iterable[base_pb2.HeaderValueOption], path: str
) -> tuple[HeaderValueOption, ...]:
    return tuple(
        replace(each, value=plain_text(each.value, f"{path}[{i}].header.value"))
        for i, each in enumerate(headers_to_add(messages, path))
    )


def _statuses(messages: Iterable[range_pb2.Int64Range], path: str) -> tuple[tuple[int, int], ...]:
    found = []
    for i, each in enumerate(messages):
        if not 100 <= each.start < each.end <= 600:
            raise Rejected(f"{path}[{i}]", "is no range of statuses from 100 to below 600")
        found.append((each.start, each.end))
    return tuple(found)


def _tcp(message: health_check_pb2.HealthCheck.TcpHealthCheck, path: str) -> TcpCheck:
    send = None
    if message.HasField("send"):
        send = _payload(message.send, f"{path}.send")
    return TcpCheck(send, _payloads(message.receive, f"{path}.receive"))


def _payloads(messages: _Payloads, path: str) -> tuple[bytes, ...]:
    return tuple(_payload(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _payload(message: health_check_pb2.HealthCheck.Payload, path: str) -> bytes:
    """`text` is hexadecimal."""
    if message.WhichOneof("payload") == "binary":
        return message.binary
    try:
        found = bytes.fromhex(message.text)
    except ValueError:
        found = b""
    if not found:
        raise Rejected(f"{path}.text", f"`{message.text}` is not hexadecimal")
    return found


def _event_logs(message: health_check_pb2.HealthCheck, path: str) -> tuple[str, ...]:
    paths = [message.event_log_path] if message.event_log_path else []
    for i, each in enumerate(message.event_logger):
        where = f"{path}.event_logger[{i}].typed_config"
        sink = unpack(file_pb2.HealthCheckEventFileSink, each.typed_config, where)
        paths.append(sink.event_log_path)
    return tuple(paths)


def endpoint_check(
    message: endpoint_components_pb2.Endpoint.HealthCheckConfig, path: str
) -> EndpointCheck:
    given = message.HasField("address")
    if given and message.port_value:
        raise Rejected(f"{path}.port_value", "port_value and address are both set")
    return EndpointCheck(
        port=message.port_value,
        hostname=message.hostname,
        address=ip_address(message.address, f"{path}.address") if given else None,
        disabled=message.disable_active_health_check,
    )
