"""Decodes `RateLimit`: the actions that make the descriptors of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_common import choice, value_or
from proxy.config.decode_matchers import header_matchers, query_matchers
from proxy.config.model import rate_limits as model
from proxy.config.rejected import Rejected

_SOURCES: Mapping[int, Literal["DYNAMIC", "ROUTE_ENTRY"]] = {0: "DYNAMIC", 1: "ROUTE_ENTRY"}


def rate_limits(
    messages: Iterable[route_components_pb2.RateLimit], path: str
) -> tuple[model.RateLimit, ...]:
    return tuple(_rate_limit(each, f"{path}[{i}]") for i, each in enumerate(messages))


def rate_limits_of_route(
    messages: Iterable[route_components_pb2.RateLimit], path: str
) -> tuple[model.RateLimit, ...]:
    """Of a route or virtual host: there Envoy does not read what a request costs."""
    return tuple(replace(each, hits_addend=1) for each in rate_limits(messages, path))


def _rate_limit(message: route_components_pb2.RateLimit, path: str) -> model.RateLimit:
    return model.RateLimit(
        tuple(_action(each, f"{path}.actions[{i}]") for i, each in enumerate(message.actions)),
        message.stage.value,
        message.disable_key,
        value_or(message.hits_addend, "number", 1),
    )


def _action(message: route_components_pb2.RateLimit.Action, path: str) -> model.Action:
    kind = message.WhichOneof("action_specifier")
    assert kind is not None, "PGV wants one of them"
    inner: Any = getattr(message, kind)
    if kind == "generic_key":
        return model.Fixed(inner.descriptor_key or "generic_key", inner.descriptor_value)
    if kind == "source_cluster" or kind == "destination_cluster":
        return model.Fixed(kind, "", kind)
    if kind == "request_headers":
        return model.FromHeader(inner.header_name, inner.descriptor_key, inner.skip_if_absent)
    if kind == "query_parameters":
        name, key = inner.query_parameter_name, inner.descriptor_key
        return model.FromQuery(name, key or name, inner.skip_if_absent)
    if kind == "remote_address":
        return model.RemoteAddress("remote_address")
    if kind == "masked_remote_address":
        masks = (
            value_or(inner, "v4_prefix_mask_len", 32),
            value_or(inner, "v6_prefix_mask_len", 128),
        )
        return model.RemoteAddress("masked_remote_address", masks)
    if kind == "metadata":
        return _metadata(inner, f"{path}.metadata")
    return _if_match(kind, inner, f"{path}.{kind}")


def _if_match(kind: str, message: Any, path: str) -> model.Action:
    expects = value_or(message, "expect_match", True)
    if kind == "header_value_match":
        headers = header_matchers(message.headers, f"{path}.headers")
        key = message.descriptor_key or "header_match"
        return model.IfMatch(key, message.descriptor_value, expects, headers)
    parameters = query_matchers(message.query_parameters, f"{path}.query_parameters")
    key = message.descriptor_key or "query_match"
    return model.IfMatch(key, message.descriptor_value, expects, (), parameters)


def _metadata(message: Any, path: str) -> model.Action:
    key = message.metadata_key
    if not key.path:
        raise Rejected(f"{path}.metadata_key.path", "must not be empty")
    return model.FromMetadata(
        message.descriptor_key,
        (key.key, *(segment.key for segment in key.path)),
        message.default_value,
        choice(_SOURCES, message.source, f"{path}.source"),
        message.skip_if_absent,
    )
