"""Clusters, their endpoints and what bounds them (`config.cluster.v3`, `config.endpoint.v3`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal

from protos.frozen import frozen
from proxy.config.model.balancing import ROUND_ROBIN, Lb
from proxy.config.model.common import Metadata, SocketAddress
from proxy.config.model.connecting import NO_SOCKETS, ProxyProtocolOut, Sockets
from proxy.config.model.discovery import DEFAULT_DNS, Dns, DnsCache, OriginalDst
from proxy.config.model.health import EndpointCheck, HealthCheck, OutlierDetection, Thresholds
from proxy.config.model.protocol import HttpProtocolOptions, PreconnectPolicy
from proxy.config.model.tls import UpstreamTls

HealthStatus = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]
SESSIONS_GO_TO: Final[frozenset[HealthStatus]] = frozenset({"UNKNOWN", "HEALTHY", "DEGRADED"})
"""What a host may be that a session stays with, where nothing is configured (Envoy)."""


@frozen
class Endpoint:
    address: SocketAddress
    health: HealthStatus = "UNKNOWN"
    weight: int = 1
    hostname: str = ""
    metadata: Metadata = field(default_factory=dict, compare=True, hash=False)
    check: EndpointCheck | None = None
    additional_addresses: tuple[SocketAddress, ...] = ()


@frozen
class LocalityEndpoints:
    """`LocalityLbEndpoints`: locality is (region, zone, sub_zone)."""

    locality: tuple[str, str, str]
    endpoints: tuple[Endpoint, ...]
    weight: int | None = None
    priority: int = 0


@frozen
class DropOverload:
    """So many of a cluster's requests are refused at once. share: of 1."""

    share: float


@frozen
class ClusterLoadAssignment:
    cluster_name: str
    localities: tuple[LocalityEndpoints, ...] = ()
    overprovisioning_factor: int = 140
    weighted_priority_health: bool = False
    drop_overloads: tuple[DropOverload, ...] = ()
    stale_after_s: float = 0.0
    """`endpoint_stale_after`: what came over EDS counts for no longer than that; 0 is for ever."""
    stale: bool = False
    """That time is over, and this is what is left: nothing."""


@frozen
class TransportSocketMatch:
    """One of a cluster's `transport_socket_matches`: the first whose `match` is a subset of the
    endpoint's `envoy.transport_socket_match` metadata decides; tls None is `raw_buffer`."""

    name: str
    match: Mapping[str, Any] = field(hash=False)
    tls: UpstreamTls | None = None


ClusterType = Literal[
    "STATIC",
    "STRICT_DNS",
    "LOGICAL_DNS",
    "EDS",
    "ORIGINAL_DST",
    "AGGREGATE",
    "DYNAMIC_FORWARD_PROXY",
]


@frozen
class Cluster:
    """eds_path: the file that has the endpoints, '' for ADS. clusters: those that an aggregate
    cluster is made of, in the order of their priority. error_statuses: which answers are errors to
    outlier detection, None for the 5xx."""

    name: str
    type: ClusterType = "STATIC"
    eds_service_name: str = ""
    eds_path: str = ""
    load_assignment: ClusterLoadAssignment | None = None
    lb: Lb = ROUND_ROBIN
    healthy_panic_threshold: float = 50.0
    connect_timeout_s: float = 5.0
    thresholds_default: Thresholds = Thresholds()
    thresholds_high: Thresholds = Thresholds()
    outlier: OutlierDetection | None = None
    error_statuses: frozenset[int] | None = None
    health_check: HealthCheck | None = None
    ignore_new_hosts_until_first_hc: bool = False
    wait_for_warm_on_init: bool = True
    tls: UpstreamTls | None = None
    tls_matches: tuple[TransportSocketMatch, ...] = ()
    http: HttpProtocolOptions = HttpProtocolOptions()
    preconnect: PreconnectPolicy = PreconnectPolicy()
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    dns: Dns = DEFAULT_DNS
    clusters: tuple[str, ...] = ()
    dns_cache: DnsCache | None = None
    original_dst: OriginalDst | None = None
    cleanup_interval_s: float = 5.0
    sockets: Sockets = NO_SOCKETS
    proxy_protocol: ProxyProtocolOut | None = None
    alt_stat_name: str = ""
    close_connections_on_host_health_failure: bool = False
    metadata: Metadata = field(default_factory=dict, hash=False)
    ignore_health_on_host_removal: bool = False
    override_host_status: frozenset[HealthStatus] = SESSIONS_GO_TO
