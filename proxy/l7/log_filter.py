"""Filters of access logs as functions of an ended stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any

from proxy import match
from proxy.config.model import FractionalPercent
from proxy.config.model import log_filter as model
from proxy.l7 import grpc_status
from proxy.runtime import RuntimeValues

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

Wants = Callable[["Logged"], bool]


def compile_log_filter(
    config: model.AccessLogFilter, random: Random, runtime: RuntimeValues
) -> Wants:
    """True for the streams that are to be logged."""
    if isinstance(config, model.AllOf):
        tests = [compile_log_filter(each, random, runtime) for each in config.filters]
        return lambda stream: all(test(stream) for test in tests)
    if isinstance(config, model.AnyOf):
        tests = [compile_log_filter(each, random, runtime) for each in config.filters]
        return lambda stream: any(test(stream) for test in tests)
    if isinstance(config, model.Comparison):
        return _comparison(config, runtime)
    if isinstance(config, model.Sampled):
        return _sampled(config.share, random, runtime)
    compiler: Callable[[Any], Wants] = _COMPILERS[type(config)]
    return compiler(config)


def _comparison(config: model.Comparison, runtime: RuntimeValues) -> Wants:
    of = _status_code if config.of == "status_code" else _duration_ms
    key, default = config.runtime_key, config.value
    compare = _OPERATIONS[config.op]
    return lambda stream: compare(of(stream), runtime.integer(key, default))


_OPERATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "EQ": lambda value, wanted: value == wanted,
    "GE": lambda value, wanted: value >= wanted,
    "LE": lambda value, wanted: value <= wanted,
    "NE": lambda value, wanted: value != wanted,
}


def _status_code(stream: Logged) -> int:
    return stream.status


def _duration_ms(stream: Logged) -> int:
    return int(((stream.ended or monotonic()) - stream.started) * 1000)


def _sampled(share: FractionalPercent, random: Random, runtime: RuntimeValues) -> Wants:
    lucky = match.fraction(share, random, runtime)
    return lambda _: lucky()


def _request_header(config: model.RequestHeader) -> Wants:
    test = match.header(config.matcher)
    return lambda stream: test(stream.request)


def _response_flags(config: model.ResponseFlags) -> Wants:
    wanted = config.flags
    if not wanted:
        return lambda stream: bool(stream.flags)
    return lambda stream: not wanted.isdisjoint(stream.flags.split(","))


def _grpc_status(config: model.GrpcStatus) -> Wants:
    statuses, exclude = config.statuses, config.exclude

    def wants(stream: Logged) -> bool:
        found = grpc_status.status(stream)
        return (found in statuses) != exclude

    return wants


def _metadata(config: model.DynamicMetadata) -> Wants:
    """A key that is not there decides by `match_if_key_not_found`."""
    matcher, if_missing = config.matcher, config.if_missing
    if matcher is None:
        return lambda _: if_missing
    test, path = match.metadata(matcher), (matcher.filter, *matcher.path)

    def wants(stream: Logged) -> bool:
        found: Any = stream.metadata
        for key in path:
            if not isinstance(found, Mapping) or key not in found:
                return if_missing
            found = found[key]
        return test(stream.metadata)

    return wants


def _log_type(config: model.LogType) -> Wants:
    types, exclude = config.types, config.exclude
    return lambda stream: (stream.log_type in types) != exclude


def _not_health_check(_: model.NotHealthCheck) -> Wants:
    return lambda stream: not stream.health_check


_COMPILERS: Mapping[type, Callable[[Any], Wants]] = {
    model.NotHealthCheck: _not_health_check,
    model.RequestHeader: _request_header,
    model.ResponseFlags: _response_flags,
    model.GrpcStatus: _grpc_status,
    model.DynamicMetadata: _metadata,
    model.LogType: _log_type,
}
