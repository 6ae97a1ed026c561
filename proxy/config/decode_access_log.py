"""Decodes access logs: to a file, to the standard streams, to a service. Formats stay text until
compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import (
    data_source,
    format_string,
    struct,
    type_name,
    unpack,
    unsupported_type,
)
from proxy.config.decode_format import check_json
from proxy.config.decode_formatters import formatters
from proxy.config.decode_log_filter import log_filter
from proxy.config.model import AccessLog
from proxy.config.rejected import Rejected


def access_logs(messages: Iterable[accesslog_pb2.AccessLog], path: str) -> tuple[AccessLog, ...]:
    return tuple(_access_log(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _access_log(message: accesslog_pb2.AccessLog, path: str) -> AccessLog:
    decode = _LOGGERS.get(type_name(message.typed_config))
    if decode is None:
        raise unsupported_type(message.typed_config, f"{path}.typed_config", _LOGGERS)
    log = decode(message.typed_config, f"{path}.typed_config")
    if message.HasField("filter"):
        return replace(log, wants=log_filter(message.filter, f"{path}.filter"))
    return log


def _file(packed: any_pb2.Any, path: str) -> AccessLog:
    message = unpack(file_pb2.FileAccessLog, packed, path)
    kind = message.WhichOneof("access_log_format")
    if kind == "log_format":
        return _formatted(message.path, message.log_format, f"{path}.log_format")
    if kind == "format":
        return _text(message.path, message.format, f"{path}.format")
    if kind is not None:
        return _json(message.path, struct(getattr(message, kind)), f"{path}.{kind}")
    return AccessLog(message.path)


def _stdout(packed: any_pb2.Any, path: str) -> AccessLog:
    message = unpack(stream_pb2.StdoutAccessLog, packed, path)
    return _formatted("/dev/stdout", message.log_format, f"{path}.log_format")


def _stderr(packed: any_pb2.Any, path: str) -> AccessLog:
    message = unpack(stream_pb2.StderrAccessLog, packed, path)
    return _formatted("/dev/stderr", message.log_format, f"{path}.log_format")


def _http_grpc(packed: any_pb2.Any, path: str) -> AccessLog:
    from proxy.config.decode_grpc_logs import http_grpc  # few configurations have one

    return AccessLog("", grpc=http_grpc(packed, path))


def _tcp_grpc(packed: any_pb2.Any, path: str) -> AccessLog:
    from proxy.config.decode_grpc_logs import tcp_grpc  # few configurations have one

    return AccessLog("", grpc=tcp_grpc(packed, path))


def _otel(packed: any_pb2.Any, path: str) -> AccessLog:
    from proxy.config.decode_otel_logs import otel  # few configurations have one

    return AccessLog("", grpc=otel(packed, path))


def _formatted(
    to: str, message: substitution_format_string_pb2.SubstitutionFormatString, path: str
) -> AccessLog:
    """Nothing set is Envoy's default text format."""
    log = _format(to, message, path, formatters(message.formatters, f"{path}.formatters"))
    return replace(log, omits_empty=True) if message.omit_empty_values else log


def _format(
    to: str,
    message: substitution_format_string_pb2.SubstitutionFormatString,
    path: str,
    brought: frozenset[str],
) -> AccessLog:
    kind = message.WhichOneof("format")
    if kind == "json_format":
        return _json(to, struct(message.json_format), f"{path}.json_format", brought)
    if kind == "text_format":
        return _text(to, message.text_format, f"{path}.text_format", brought)
    if kind == "text_format_source":
        where = f"{path}.text_format_source"
        try:
            text = data_source(message.text_format_source, where).data.decode()
        except UnicodeDecodeError:
            raise Rejected(where, "is not UTF-8") from None
        return _text(to, text, where, brought)
    return AccessLog(to)


def _text(to: str, text: str, path: str, brought: frozenset[str] = frozenset()) -> AccessLog:
    return AccessLog(to, text_format=format_string(text, path, brought) or None)


def _json(
    to: str, fields: Mapping[str, Any], path: str, brought: frozenset[str] = frozenset()
) -> AccessLog:
    check_json(fields, path, brought)
    return AccessLog(to, json_format=fields)


_Decode = Callable[[any_pb2.Any, str], AccessLog]
_LOGGERS: Mapping[str, _Decode] = {
    message.DESCRIPTOR.full_name: decode
    for message, decode in (
        (file_pb2.FileAccessLog, _file),
        (stream_pb2.StdoutAccessLog, _stdout),
        (stream_pb2.StderrAccessLog, _stderr),
    )
} | {
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": _http_grpc,
    "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig": _tcp_grpc,
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": _otel,
}
