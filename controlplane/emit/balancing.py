"""How a cluster chooses endpoints: a TrafficPolicy's load balancer in Envoy's words."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.type.v3.percent_pb2 import Percent

from controlplane.emit.words import seconds
from controlplane.mesh.model import ConsistentHash, TrafficPolicy, Warmup

MINIMUM_RING_SIZE = 1024
"""Istio's default."""

WARMUP_FLOOR_PERCENT = 10.0
"""Istio's: of the weight that an endpoint will have in the end."""

_LB: Mapping[str, Cluster.LbPolicy] = {
    "ROUND_ROBIN": Cluster.ROUND_ROBIN,
    "LEAST_REQUEST": Cluster.LEAST_REQUEST,
    "RANDOM": Cluster.RANDOM,
}


def balance(cluster: Cluster, policy: TrafficPolicy) -> None:
    if policy.hash is not None:
        _consistent(cluster, policy.hash)
    else:
        cluster.lb_policy = _LB.get(policy.load_balancer, Cluster.CLUSTER_PROVIDED)
        if policy.warmup is not None:
            _warm_up(cluster, policy.warmup)
    # Never send to an endpoint that is known to be unhealthy (Envoy's panic mode would).
    minimum = policy.outlier.min_health_percent if policy.outlier else None
    cluster.common_lb_config.healthy_panic_threshold.CopyFrom(Percent(value=minimum or 0))
    if policy.localities.enabled and policy.localities.distribute:
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    elif policy.localities.zone_aware is not None and policy.hash is None:
        zones = cluster.common_lb_config.zone_aware_lb_config
        zones.routing_enabled.value = 100 if policy.localities.zone_aware else 0
        if policy.localities.min_cluster_size is not None:
            zones.min_cluster_size.value = policy.localities.min_cluster_size


def _consistent(cluster: Cluster, key: ConsistentHash) -> None:
    if key.algorithm == "MAGLEV":
        cluster.lb_policy = Cluster.MAGLEV
        if key.size is not None:
            cluster.maglev_lb_config.table_size.value = key.size
        return
    cluster.lb_policy = Cluster.RING_HASH
    size = MINIMUM_RING_SIZE if key.size is None else key.size
    cluster.ring_hash_lb_config.minimum_ring_size.value = size


def _warm_up(cluster: Cluster, warmup: Warmup) -> None:
    """RANDOM has no slow start in Envoy, and new endpoints get their full share there."""
    if cluster.lb_policy == Cluster.RANDOM:
        return
    is_least = cluster.lb_policy == Cluster.LEAST_REQUEST
    config = cluster.least_request_lb_config if is_least else cluster.round_robin_lb_config
    slow = config.slow_start_config
    slow.slow_start_window.CopyFrom(seconds(warmup.duration_s))
    percent = warmup.minimum_percent
    floor = Percent(value=WARMUP_FLOOR_PERCENT if percent is None else percent)
    slow.min_weight_percent.CopyFrom(floor)
    if warmup.aggression is not None:
        slow.aggression.default_value = warmup.aggression
        slow.aggression.runtime_key = AGGRESSION_KEY


AGGRESSION_KEY = "weft.slow_start_aggression"
"""Envoy wants a name; nobody sets it."""
