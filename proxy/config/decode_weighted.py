"""Decodes `WeightedCluster`: clusters that share the requests of one route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_common import header_edits, struct
from proxy.config.filters.decode_per_route import filter_configs
from proxy.config.model import WeightedCluster
from proxy.config.rejected import Rejected

_MAX_SUM = 0xFFFFFFFF
_LB = "envoy.lb"


def weighted_clusters(
    message: route_components_pb2.WeightedCluster, path: str
) -> tuple[WeightedCluster, ...]:
    clusters = message.clusters
    found = tuple(_cluster(each, f"{path}.clusters[{i}]") for i, each in enumerate(clusters))
    total = sum(each.weight for each in found)
    if not total:
        raise Rejected(f"{path}.clusters", "the sum of the weights must be greater than 0")
    if total > _MAX_SUM:
        raise Rejected(f"{path}.clusters", f"the sum of the weights is above {_MAX_SUM}")
    return found


def _cluster(
    message: route_components_pb2.WeightedCluster.ClusterWeight, path: str
) -> WeightedCluster:
    if bool(message.name) == bool(message.cluster_header):
        raise Rejected(path, "needs one of name and cluster_header")
    if not message.HasField("weight"):
        raise Rejected(f"{path}.weight", "is required")
    return WeightedCluster(
        name=message.name,
        weight=message.weight.value,
        edits=header_edits(message, path),
        host_rewrite=message.host_rewrite_literal or None,
        cluster_header=message.cluster_header.lower() or None,
        metadata_match=metadata_match(message.metadata_match),
        filter_configs=filter_configs(
            message.typed_per_filter_config, f"{path}.typed_per_filter_config"
        ),
    )


def metadata_match(message: base_pb2.Metadata) -> Mapping[str, Any]:
    """What a host must have to be chosen: `envoy.lb`, the only part that is looked at (Envoy)."""
    if _LB not in message.filter_metadata:
        return {}
    return struct(message.filter_metadata[_LB])
