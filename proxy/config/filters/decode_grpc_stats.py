"""Decodes `envoy.filters.http.grpc_stats`."""

from __future__ import annotations

from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse

TYPE_URL = PREFIX + config_pb2.FilterConfig.DESCRIPTOR.full_name


@frozen
class GrpcStatsConfig:
    """methods: (service, method) that have statistics of their own; all_methods: every one has."""

    emits_filter_state: bool = False
    all_methods: bool = False
    methods: frozenset[tuple[str, str]] = frozenset()
    upstream_time: bool = False
    replaces_dots: bool = False


def decode(value: bytes, path: str) -> GrpcStatsConfig:
    message = parse(config_pb2.FilterConfig, value, path)
    listed = message.individual_method_stats_allowlist.services
    return GrpcStatsConfig(
        message.emit_filter_state,
        message.stats_for_all_methods.value,
        frozenset((each.name, method) for each in listed for method in each.method_names),
        message.enable_upstream_stats,
        message.replace_dots_in_grpc_service_name,
    )
