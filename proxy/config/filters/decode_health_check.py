"""Decodes `envoy.filters.http.health_check`: the proxy's answer to who asks for its health."""

from __future__ import annotations

from envoy.extensions.filters.http.health_check.v3 import health_check_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, optional_seconds, parse
from proxy.config.decode_matchers import header_matchers
from proxy.config.model import HeaderMatcher
from proxy.config.rejected import Rejected

TYPE_URL = PREFIX + health_check_pb2.HealthCheck.DESCRIPTOR.full_name


@frozen
class HealthCheckConfig:
    """min_healthy: (cluster, percent). cache_time_s: only when passing through."""

    pass_through: bool
    headers: tuple[HeaderMatcher, ...] = ()
    cache_time_s: float | None = None
    min_healthy: tuple[tuple[str, float], ...] = ()


def decode(value: bytes, path: str) -> HealthCheckConfig:
    message = parse(health_check_pb2.HealthCheck, value, path)
    passes = message.pass_through_mode.value
    cache_time_s = optional_seconds(message, "cache_time")
    percentages = message.cluster_min_healthy_percentages
    if cache_time_s and not passes:
        raise Rejected(f"{path}.cache_time", "must not be set when path_through_mode is disabled")
    if percentages and passes:
        where = f"{path}.cluster_min_healthy_percentages"
        raise Rejected(where, "must not be set when pass_through_mode is enabled")
    return HealthCheckConfig(
        passes,
        header_matchers(message.headers, f"{path}.headers"),
        cache_time_s,
        tuple((name, percentages[name].value) for name in sorted(percentages)),
    )
