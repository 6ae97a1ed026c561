"""Istio's metrics in the words of Istio's own proxy, which Weft's speaks: its two filters.

Only Weft's proxies get them: another Envoy than Istio's knows neither.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.any_pb2 import Any as Any_
from google.protobuf.struct_pb2 import Struct
from udpa.type.v1.typed_struct_pb2 import TypedStruct

from controlplane.emit.words import packed, seconds
from controlplane.mesh.metering import Metered, MetricRule, Metrics

GRPC_STATS = "envoy.filters.http.grpc_stats"
STATS = "istio.stats"
STATS_TYPE = "type.googleapis.com/stats.PluginConfig"
EXCHANGE = "istio.metadata_exchange"
EXCHANGE_TYPE = "type.googleapis.com/io.istio.http.peer_metadata.Config"
KEPT = 256


class Steps(NamedTuple):
    """Filters before all others, and right before the router."""

    first: tuple[hcm_pb2.HttpFilter, ...] = ()
    last: tuple[hcm_pb2.HttpFilter, ...] = ()


NO_STEPS = Steps()


@lru_cache(maxsize=KEPT)
def inbound(metrics: Metrics | None, grpc: bool = False) -> Steps:
    """Of what comes into a workload. grpc: messages are counted, too."""
    told: dict[str, Any] = {"istio_headers": {}}
    exchange = {"downstream_discovery": [told], "downstream_propagation": [told]}
    return _steps(metrics, exchange, by_host=False, grpc=grpc)


@lru_cache(maxsize=KEPT)
def outbound(metrics: Metrics | None, grpc: bool = False) -> Steps:
    """Of what a workload calls. Who is not in the mesh hears nothing of it (Istio's IN_MESH)."""
    exchange = {
        "upstream_discovery": [{"istio_headers": {}}],
        "upstream_propagation": [{"istio_headers": {"skip_external_clusters": True}}],
    }
    return _steps(metrics, exchange, by_host=True, grpc=grpc)


@lru_cache(maxsize=KEPT)
def edge(metrics: Metrics | None) -> Steps:
    """Of a gateway: hosts that strangers name are no names of services."""
    exchange = {
        "upstream_discovery": [{"istio_headers": {}}],
        "upstream_propagation": [{"istio_headers": {"skip_external_clusters": True}}],
    }
    return _steps(metrics, exchange, by_host=False)


def _steps(
    metrics: Metrics | None, exchange: dict[str, Any], *, by_host: bool, grpc: bool = False
) -> Steps:
    """Nothing for a proxy that counts nothing. A proxy that does not know the filters yet leaves
    them out."""
    if metrics is None:
        return NO_STEPS
    told = _typed(EXCHANGE_TYPE, exchange)
    peers = hcm_pb2.HttpFilter(name=EXCHANGE, typed_config=told, is_optional=True)
    counted = plugin(metrics, by_host=by_host)
    stats = hcm_pb2.HttpFilter(name=STATS, typed_config=counted, is_optional=True)
    if not grpc:
        return Steps((peers,), (stats,))
    messages = FilterConfig(emit_filter_state=True)
    messages.stats_for_all_methods.value = False
    counter = hcm_pb2.HttpFilter(name=GRPC_STATS, typed_config=packed(messages))
    return Steps((peers,), (counter, stats))


def relayed(metered: Metered, metrics: Metrics | None, relay: Filter) -> list[Filter]:
    """A TCP proxy, with who counts its connections before it: an older proxy would refuse it."""
    if metrics is None or not metered.connections:
        return [relay]
    return [Filter(name=STATS, typed_config=plugin(metrics, by_host=False)), relay]


def plugin(metrics: Metrics, *, by_host: bool) -> Any_:
    """`stats.PluginConfig`."""
    value: dict[str, Any] = {} if by_host else {"disable_host_header_fallback": True}
    if metrics.interval_s is not None:
        value["tcp_reporting_duration"] = seconds(metrics.interval_s).ToJsonString()
    if metrics.rules:
        value["metrics"] = [_metric(one) for one in metrics.rules]
    return _typed(STATS_TYPE, value)


def _metric(rule: MetricRule) -> dict[str, Any]:
    value: dict[str, Any] = {"name": rule.metric}
    if rule.dropped:
        value["drop"] = True
    if rule.removed:
        value["tags_to_remove"] = list(rule.removed)
    if rule.tags:
        value["dimensions"] = dict(rule.tags)
    return value


def _typed(type_url: str, value: dict[str, Any]) -> Any_:
    made = Struct()
    made.update(value)
    return packed(TypedStruct(type_url=type_url, value=made))
