"""How a gRPC client balances and what it leaves alone: gRFC A42, A48, A50, A52, A32."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster, LoadBalancingPolicy
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as EnvoyOutlier
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import (
    LeastRequest,
)
from envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality
from google.protobuf.message import Message

from controlplane.emit.balancing import MINIMUM_RING_SIZE
from controlplane.emit.limits import UNLIMITED
from controlplane.emit.proxyless.losses import Losses
from controlplane.emit.words import packed, seconds
from controlplane.mesh.model import ConsistentHash, OutlierDetection, TrafficPolicy

MAX_RING_SIZE = 8 * 1024 * 1024
FAILURE_PERCENT = 85
"""Envoy's and gRPC's own threshold of failures."""


def balance(cluster: Cluster, policy: TrafficPolicy, losses: Losses) -> None:
    """A policy, as old clients know it and as new ones do: these take the first that they have."""
    if policy.hash is not None:
        _consistent(cluster, policy.hash, losses)
    else:
        cluster.lb_policy = Cluster.ROUND_ROBIN
        if policy.load_balancer == "LEAST_REQUEST":
            # Java and Go have it, others go on to the next.
            cluster.load_balancing_policy.CopyFrom(_wrr_locality(LeastRequest(), RoundRobin()))
        elif policy.load_balancer == "RANDOM":
            losses.note("gRPC clients know no RANDOM load balancing: they balance ROUND_ROBIN")
    if policy.warmup is not None:
        losses.note("gRPC clients send to a new endpoint at once: warmup does nothing for them")


def _wrr_locality(*endpoint_pickers: Message) -> LoadBalancingPolicy:
    """Localities by weight, in each the first of these that the client has (gRFC A52)."""
    inner = LoadBalancingPolicy(policies=[_policy(one) for one in endpoint_pickers])
    return LoadBalancingPolicy(policies=[_policy(WrrLocality(endpoint_picking_policy=inner))])


def _policy(config: Message) -> LoadBalancingPolicy.Policy:
    name = f"envoy.load_balancing_policies.{config.DESCRIPTOR.name.lower()}"
    typed = TypedExtensionConfig(name=name, typed_config=packed(config))
    return LoadBalancingPolicy.Policy(typed_extension_config=typed)


def _consistent(cluster: Cluster, key: ConsistentHash, losses: Losses) -> None:
    cluster.lb_policy = Cluster.RING_HASH
    size = MINIMUM_RING_SIZE
    if key.algorithm == "MAGLEV":
        losses.note("gRPC clients know no Maglev: they hash by a ring")
    elif key.size is not None:
        size = min(key.size, MAX_RING_SIZE)
    cluster.ring_hash_lb_config.minimum_ring_size.value = size


def limit(cluster: Cluster, policy: TrafficPolicy, losses: Losses) -> None:
    """Of all that a connection pool bounds gRPC knows the requests that are under way (A32)."""
    pool = policy.pool
    threshold = cluster.circuit_breakers.thresholds.add()
    threshold.max_requests.value = UNLIMITED if pool.max_requests is None else pool.max_requests
    for name in ("max_connections", "max_pending_requests", "max_requests_per_connection"):
        if getattr(pool, name) is not None:
            words = name.replace("_", " ")
            losses.note(f"gRPC clients do not bound {words}, only the requests that are under way")


# --------------------------------------------------------------------------- outlier detection


def outlier(settings: OutlierDetection, losses: Losses) -> EnvoyOutlier:
    """gRPC counts failures of an interval, and not those that follow each other: whoever had as
    many requests as errors were allowed, most of which failed, is left alone for a while."""
    message = EnvoyOutlier()
    message.enforcing_success_rate.value = 0
    errors = settings.consecutive_gateway_errors or settings.consecutive_5xx
    if settings.interval_s is not None:
        message.interval.CopyFrom(seconds(settings.interval_s))
    if settings.base_ejection_time_s is not None:
        message.base_ejection_time.CopyFrom(seconds(settings.base_ejection_time_s))
    if settings.max_ejection_percent is not None:
        message.max_ejection_percent.value = settings.max_ejection_percent
    if not errors:
        return message
    message.failure_percentage_threshold.value = FAILURE_PERCENT
    message.enforcing_failure_percentage.value = 100
    message.failure_percentage_minimum_hosts.value = 1
    message.failure_percentage_request_volume.value = errors
    losses.note(
        f"gRPC clients do not count errors that follow each other: an endpoint is ejected when "
        f"{FAILURE_PERCENT} % of at least {errors} requests of an interval have failed"
    )
    return message
