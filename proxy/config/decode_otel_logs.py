"""Decodes access logs over OTLP (`OpenTelemetryAccessLogConfig`)."""

from __future__ import annotations

from collections.abc import Callable

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.access_loggers.open_telemetry.v3 import logs_service_pb2
from google.protobuf import any_pb2
from opentelemetry.proto.common.v1 import common_pb2

from proxy.config.decode_common import format_string, seconds_or, unpack, value_or
from proxy.config.decode_formatters import formatters
from proxy.config.decode_services import own_grpc_service
from proxy.config.model.grpc_logs import OtelLog, OtelValue
from proxy.config.rejected import Rejected

_MAX_DEPTH = 16


def otel(packed: any_pb2.Any, path: str) -> OtelLog:
    message = unpack(logs_service_pb2.OpenTelemetryAccessLogConfig, packed, path)
    common, where = message.common_config, f"{path}.common_config"
    if common.transport_api_version != config_source_pb2.V3:
        raise Rejected(f"{where}.transport_api_version", "must be V3")
    brought = formatters(message.formatters, f"{path}.formatters")

    def formatted(text: str, at: str) -> str:
        return format_string(text, at, brought)

    return OtelLog(
        common.log_name,
        own_grpc_service(common.grpc_service, f"{where}.grpc_service"),
        seconds_or(common, "buffer_flush_interval", 1.0),
        value_or(common, "buffer_size_bytes", 16384),
        _value(message.body, f"{path}.body", formatted) if message.HasField("body") else None,
        _pairs(message.attributes, f"{path}.attributes", formatted),
        _pairs(message.resource_attributes, f"{path}.resource_attributes", _plain),
        not message.disable_builtin_labels,
        message.stat_prefix,
    )


_Read = Callable[[str, str], str]


def _plain(text: str, path: str) -> str:
    return text


def _pairs(
    message: common_pb2.KeyValueList, path: str, read: _Read, depth: int = 0
) -> tuple[tuple[str, OtelValue], ...]:
    return tuple(
        (each.key, _value(each.value, f"{path}.values[{i}].value", read, depth))
        for i, each in enumerate(message.values)
    )


def _value(message: common_pb2.AnyValue, path: str, read: _Read, depth: int = 0) -> OtelValue:
    kind = message.WhichOneof("value")
    if depth > _MAX_DEPTH:
        raise Rejected(path, f"is more than {_MAX_DEPTH} levels deep")
    if kind == "string_value":
        return read(message.string_value, f"{path}.string_value")
    if kind == "kvlist_value":
        return dict(_pairs(message.kvlist_value, f"{path}.kvlist_value", read, depth + 1))
    if kind == "array_value":
        values = enumerate(message.array_value.values)
        where = f"{path}.array_value"
        return tuple(_value(each, f"{where}.values[{i}]", read, depth + 1) for i, each in values)
    raise Rejected(path, "must be a string, a list or an object of them")
