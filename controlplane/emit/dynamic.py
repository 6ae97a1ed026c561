"""Services that stand for many hosts ('*.example.com'): the host that a request asks for is looked
up when it comes (Envoy's dynamic forward proxy), at the port that it asks for.

Every outbound listener has the filter, turned off; the routes to such services turn it on.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import FilterConfig as Enabled
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import (
    FilterConfig,
    PerRouteConfig,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit.words import packed
from controlplane.mesh.model import Destination

FILTER = "envoy.filters.http.dynamic_forward_proxy"
_CLUSTER = "envoy.clusters.dynamic_forward_proxy"


def is_dynamic(hostname: str) -> bool:
    return hostname.startswith("*")


def http_filter() -> hcm_pb2.HttpFilter:
    config = packed(FilterConfig(dns_cache_config=cache()))
    return hcm_pb2.HttpFilter(name=FILTER, typed_config=config, disabled=True)


def turn_on(route: Route, destinations: Iterable[Destination]) -> None:
    """Where one of them stands for many hosts."""
    if any(is_dynamic(destination.host) for destination in destinations):
        config = Enabled(config=packed(PerRouteConfig()))
        route.typed_per_filter_config[FILTER].CopyFrom(packed(config))


def look_up(cluster: Cluster) -> None:
    """The cluster finds no endpoints by itself, but takes those that the filter looks up."""
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    if (chosen := cluster.WhichOneof("lb_config")) is not None:
        cluster.ClearField(chosen)
    cluster.cluster_type.name = _CLUSTER
    config = ClusterConfig(dns_cache_config=cache(), allow_insecure_cluster_options=True)
    cluster.cluster_type.typed_config.CopyFrom(packed(config))


def cache() -> DnsCacheConfig:
    """Filter and clusters have the same one, by its name and all it says."""
    return DnsCacheConfig(name="weft", dns_lookup_family=Cluster.V4_PREFERRED)
