"""Decodes `envoy.filters.http.cors`: the filter says nothing, the policies stand at the routes."""

from __future__ import annotations

from typing import Literal

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse, percent, value_or
from proxy.config.decode_matchers import string_matcher
from proxy.config.model import FractionalPercent, StringMatcher

Message = cors_pb2.CorsPolicy | route_components_pb2.CorsPolicy
TYPE_URL = PREFIX + cors_pb2.Cors.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + cors_pb2.CorsPolicy.DESCRIPTOR.full_name


@frozen
class CorsConfig:
    pass


@frozen
class CorsPolicy:
    """None and empty: the next less specific policy decides."""

    allow_origins: tuple[StringMatcher, ...] = ()
    allow_methods: str = ""
    allow_headers: str = ""
    expose_headers: str = ""
    max_age: str = ""
    allow_credentials: bool | None = None
    enabled: FractionalPercent | None = None
    shadow_enabled: FractionalPercent | None = None
    allow_private_network: bool | None = None
    forward_not_matching: bool | None = None


def decode(value: bytes, path: str) -> CorsConfig:
    parse(cors_pb2.Cors, value, path)
    return CorsConfig()


def decode_per_route(value: bytes, path: str) -> CorsPolicy:
    return policy(parse(cors_pb2.CorsPolicy, value, path), path)


def policy(message: Message, path: str) -> CorsPolicy:
    """Of the filter's own message, or of the older one that routes have."""
    where = f"{path}.allow_origin_string_match"
    return CorsPolicy(
        tuple(
            string_matcher(each, f"{where}[{i}]")
            for i, each in enumerate(message.allow_origin_string_match)
        ),
        message.allow_methods,
        message.allow_headers,
        message.expose_headers,
        message.max_age,
        value_or(message, "allow_credentials", None),
        _share(message, "filter_enabled", path),
        _share(message, "shadow_enabled", path),
        value_or(message, "allow_private_network_access", None),
        value_or(message, "forward_not_matching_preflights", None),
    )


def _share(
    message: Message, name: Literal["filter_enabled", "shadow_enabled"], path: str
) -> FractionalPercent | None:
    if not message.HasField(name):
        return None
    fraction: base_pb2.RuntimeFractionalPercent = getattr(message, name)
    where = f"{path}.{name}.default_value"
    return percent(fraction.default_value, where, fraction.runtime_key)
