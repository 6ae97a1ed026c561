"""Clusters, their endpoints and what bounds them (`config.cluster.v3`, `config.endpoint.v3`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.config.model.common import Metadata, SocketAddress
from proxy.config.model.protocol import HttpProtocolOptions, PreconnectPolicy
from proxy.config.model.tls import UpstreamTls


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Circuit breakers of one priority, with Envoy's defaults. max_retries as a count."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    budget_percent: float | None = None
    budget_min_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """`cluster.v3.OutlierDetection`, the consecutive-error part, with Envoy's defaults."""

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_local_origin_failure: int = 100


HealthStatus = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: SocketAddress
    health: HealthStatus = "UNKNOWN"
    weight: int = 1
    hostname: str = ""
    metadata: Metadata = field(default_factory=dict, compare=True, hash=False)


@dataclass(frozen=True, slots=True)
class LocalityEndpoints:
    """`LocalityLbEndpoints`: locality is (region, zone, sub_zone)."""

    locality: tuple[str, str, str]
    endpoints: tuple[Endpoint, ...]
    weight: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ClusterLoadAssignment:
    cluster_name: str
    localities: tuple[LocalityEndpoints, ...] = ()
    overprovisioning_factor: int = 140


@dataclass(frozen=True, slots=True)
class TransportSocketMatch:
    """One of a cluster's `transport_socket_matches`: the first whose `match` is a subset of the
    endpoint's `envoy.transport_socket_match` metadata decides; tls None is `raw_buffer`."""

    name: str
    match: Mapping[str, Any] = field(hash=False)
    tls: UpstreamTls | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    type: Literal["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS"] = "STATIC"
    eds_service_name: str = ""
    load_assignment: ClusterLoadAssignment | None = None
    lb_policy: Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"] = "ROUND_ROBIN"
    least_request_choice_count: int = 2
    healthy_panic_threshold: float = 50.0
    connect_timeout_s: float = 5.0
    thresholds_default: Thresholds = Thresholds()
    thresholds_high: Thresholds = Thresholds()
    outlier: OutlierDetection | None = None
    tls: UpstreamTls | None = None
    tls_matches: tuple[TransportSocketMatch, ...] = ()
    http: HttpProtocolOptions = HttpProtocolOptions()
    preconnect: PreconnectPolicy = PreconnectPolicy()
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    dns_refresh_rate_s: float = 5.0
    respect_dns_ttl: bool = False
    dns_lookup_family: Literal["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"] = "AUTO"
    alt_stat_name: str = ""
    close_connections_on_host_health_failure: bool = False
    metadata: Metadata = field(default_factory=dict, hash=False)
    ignore_health_on_host_removal: bool = False
