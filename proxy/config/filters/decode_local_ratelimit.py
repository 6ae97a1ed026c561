"""Decodes `envoy.filters.http.local_ratelimit`: token buckets of this proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from envoy.config.core.v3 import base_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.type.v3 import token_bucket_pb2

from protos.frozen import frozen
from proxy.config.decode_common import (
    PREFIX,
    choice,
    headers_to_add,
    parse,
    percent,
    seconds,
    value_or,
)
from proxy.config.decode_rate_limits import rate_limits
from proxy.config.model import FractionalPercent, HeaderValueOption
from proxy.config.model.rate_limits import RateLimit
from proxy.config.rejected import Rejected

TYPE_URL = PREFIX + local_rate_limit_pb2.LocalRateLimit.DESCRIPTOR.full_name
VhRateLimits = Literal["OVERRIDE", "INCLUDE", "IGNORE"]
_VH: Mapping[int, VhRateLimits] = {0: "OVERRIDE", 1: "INCLUDE", 2: "IGNORE"}
_MIN_FILL_S = 0.05
_TOO_MANY_REQUESTS = 429


@frozen
class TokenBucket:
    max_tokens: int
    tokens_per_fill: int
    fill_interval_s: float


@frozen
class LocalDescriptor:
    """entries: (key, value); value '' stands for any, which gets a bucket of its own."""

    entries: tuple[tuple[str, str], ...]
    bucket: TokenBucket


@frozen
class LocalRateLimitConfig:
    """bucket None: nothing is limited. enabled, enforced None: never."""

    stat_prefix: str
    bucket: TokenBucket | None = None
    status: int = _TOO_MANY_REQUESTS
    enabled: FractionalPercent | None = None
    enforced: FractionalPercent | None = None
    request_add: tuple[HeaderValueOption, ...] = ()
    response_add: tuple[HeaderValueOption, ...] = ()
    descriptors: tuple[LocalDescriptor, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    stage: int = 0
    per_connection: bool = False
    tells_limits: bool = False
    vh_rate_limits: VhRateLimits = "OVERRIDE"
    always_default_bucket: bool = True
    resource_exhausted: bool = False
    max_dynamic_descriptors: int = 20


def decode(value: bytes, path: str) -> LocalRateLimitConfig:
    message = parse(local_rate_limit_pb2.LocalRateLimit, value, path)
    status = message.status.code
    return LocalRateLimitConfig(
        message.stat_prefix,
        _bucket(message.token_bucket, f"{path}.token_bucket")
        if message.HasField("token_bucket")
        else None,
        status if status >= 400 else _TOO_MANY_REQUESTS,
        _share(message, "filter_enabled", path),
        _share(message, "filter_enforced", path),
        headers_to_add(
            message.request_headers_to_add_when_not_enforced,
            f"{path}.request_headers_to_add_when_not_enforced",
        ),
        headers_to_add(message.response_headers_to_add, f"{path}.response_headers_to_add"),
        _descriptors(message, path),
        rate_limits(message.rate_limits, f"{path}.rate_limits"),
        message.stage,
        message.local_rate_limit_per_downstream_connection,
        message.enable_x_ratelimit_headers == ratelimit_pb2.DRAFT_VERSION_03,
        choice(_VH, message.vh_rate_limits, f"{path}.vh_rate_limits"),
        value_or(message, "always_consume_default_token_bucket", True),
        message.rate_limited_as_resource_exhausted,
        value_or(message, "max_dynamic_descriptors", 20),
    )


def decode_per_route(value: bytes, path: str) -> LocalRateLimitConfig:
    config = decode(value, path)
    if config.bucket is None:
        why = "local rate limit token bucket must be set for per filter configs"
        raise Rejected(f"{path}.token_bucket", why)
    return config


def _bucket(message: token_bucket_pb2.TokenBucket, path: str) -> TokenBucket:
    interval_s = seconds(message.fill_interval)
    if interval_s < _MIN_FILL_S:
        raise Rejected(f"{path}.fill_interval", "must be >= 50ms")
    return TokenBucket(message.max_tokens, value_or(message, "tokens_per_fill", 1), interval_s)


def _descriptors(
    message: local_rate_limit_pb2.LocalRateLimit, path: str
) -> tuple[LocalDescriptor, ...]:
    found: list[LocalDescriptor] = []
    seen: set[tuple[tuple[str, str], ...]] = set()
    for i, each in enumerate(message.descriptors):
        where = f"{path}.descriptors[{i}]"
        entries = tuple((entry.key, entry.value) for entry in each.entries)
        if entries in seen:
            raise Rejected(where, "duplicate descriptor in the local rate descriptor")
        seen.add(entries)
        found.append(LocalDescriptor(entries, _bucket(each.token_bucket, f"{where}.token_bucket")))
    return tuple(found)


def _share(
    message: local_rate_limit_pb2.LocalRateLimit,
    name: Literal["filter_enabled", "filter_enforced"],
    path: str,
) -> FractionalPercent | None:
    if not message.HasField(name):
        return None
    fraction: base_pb2.RuntimeFractionalPercent = getattr(message, name)
    where = f"{path}.{name}.default_value"
    return percent(fraction.default_value, where, fraction.runtime_key)
