"""Decodes the filters of access logs; local replies are chosen by them, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as data_pb2

from proxy.config.decode_common import choice, percent, value_or
from proxy.config.decode_matchers import header_matcher
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.model import log_filter as model

Op = Literal["EQ", "GE", "LE", "NE"]
_OPS: Mapping[int, Op] = {0: "EQ", 1: "GE", 2: "LE", 3: "NE"}


def log_filter(message: accesslog_pb2.AccessLogFilter, path: str) -> model.AccessLogFilter:
    """`message` must be checked."""
    kind = message.WhichOneof("filter_specifier")
    if kind == "status_code_filter":
        where = f"{path}.status_code_filter.comparison"
        return _comparison("status_code", message.status_code_filter.comparison, where)
    if kind == "duration_filter":
        where = f"{path}.duration_filter.comparison"
        return _comparison("duration", message.duration_filter.comparison, where)
    if kind == "not_health_check_filter":
        return model.NotHealthCheck()
    if kind == "runtime_filter":
        return _sampled(message.runtime_filter, f"{path}.runtime_filter")
    if kind == "and_filter":
        return model.AllOf(_each(message.and_filter.filters, f"{path}.and_filter.filters"))
    if kind == "or_filter":
        return model.AnyOf(_each(message.or_filter.filters, f"{path}.or_filter.filters"))
    return _by_what_it_says(kind, message, path)


def _by_what_it_says(
    kind: str | None, message: accesslog_pb2.AccessLogFilter, path: str
) -> model.AccessLogFilter:
    if kind == "header_filter":
        where = f"{path}.header_filter.header"
        return model.RequestHeader(header_matcher(message.header_filter.header, where))
    if kind == "response_flag_filter":
        return model.ResponseFlags(frozenset(message.response_flag_filter.flags))
    if kind == "grpc_status_filter":
        status = message.grpc_status_filter
        return model.GrpcStatus(frozenset(status.statuses), status.exclude)
    if kind == "metadata_filter":
        return _metadata(message.metadata_filter, f"{path}.metadata_filter")
    types = message.log_type_filter
    names = frozenset(data_pb2.AccessLogType.Name(number) for number in types.types)
    return model.LogType(names, types.exclude)


def _each(
    messages: Iterable[accesslog_pb2.AccessLogFilter], path: str
) -> tuple[model.AccessLogFilter, ...]:
    return tuple(log_filter(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _comparison(
    of: Literal["status_code", "duration"], message: accesslog_pb2.ComparisonFilter, path: str
) -> model.Comparison:
    op = choice(_OPS, message.op, f"{path}.op")
    return model.Comparison(of, op, message.value.default_value, message.value.runtime_key)


def _sampled(message: accesslog_pb2.RuntimeFilter, path: str) -> model.Sampled:
    where = f"{path}.percent_sampled"
    return model.Sampled(percent(message.percent_sampled, where, message.runtime_key))


def _metadata(message: accesslog_pb2.MetadataFilter, path: str) -> model.DynamicMetadata:
    matcher = None
    if message.HasField("matcher"):
        matcher = metadata_matcher(message.matcher, f"{path}.matcher")
    return model.DynamicMetadata(matcher, value_or(message, "match_if_key_not_found", True))
