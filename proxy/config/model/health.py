"""What keeps a cluster from hosts that fail: circuit breakers, outlier detection, health checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from protos.frozen import frozen
from proxy.config.model.common import HeaderValueOption, SocketAddress, StringMatcher


@frozen
class Thresholds:
    """Circuit breakers of one priority, with Envoy's defaults. max_retries as a count;
    max_connections_per_host is from `per_host_thresholds`."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    budget_percent: float | None = None
    budget_min_concurrency: int = 3
    track_remaining: bool = False
    max_connection_pools: int | None = None
    max_connections_per_host: int | None = None


@frozen
class OutlierDetection:
    """`cluster.v3.OutlierDetection` with Envoy's defaults; `enforcing_*` are percent."""

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    split_external_local_origin_errors: bool = False
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_time_jitter_s: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    successful_active_health_check_uneject_host: bool = True


@frozen
class HttpCheck:
    """statuses: ranges (from, below). host: '' is the endpoint's or the cluster's name. send: the
    body of the request. receive: found in that of the answer, one behind the other. body_bytes: how
    much of it is looked at."""

    path: str
    host: str = ""
    method: str = "GET"
    http2: bool = False
    expected_statuses: tuple[tuple[int, int], ...] = ((200, 201),)
    retriable_statuses: tuple[tuple[int, int], ...] = ()
    headers_to_add: tuple[HeaderValueOption, ...] = ()
    headers_to_remove: tuple[str, ...] = ()
    service_name: StringMatcher | None = None
    send: bytes = b""
    receive: tuple[bytes, ...] = ()
    body_bytes: int = 1024


@frozen
class TcpCheck:
    """send: None writes nothing. Without `receive` a connection is enough, and nothing is sent."""

    send: bytes | None = None
    receive: tuple[bytes, ...] = ()


@frozen
class GrpcCheck:
    service_name: str = ""
    authority: str = ""
    initial_metadata: tuple[HeaderValueOption, ...] = ()


@frozen
class HealthCheck:
    """`core.v3.HealthCheck`. Intervals that were not set have the value that Envoy takes then.
    event_log_paths: where changes are told, '' for none. alpn: of `tls_options`."""

    check: HttpCheck | TcpCheck | GrpcCheck
    timeout_s: float
    interval_s: float
    unhealthy_threshold: int
    healthy_threshold: int
    initial_jitter_s: float = 0.0
    interval_jitter_s: float = 0.0
    interval_jitter_percent: int = 0
    no_traffic_interval_s: float = 60.0
    no_traffic_healthy_interval_s: float = 60.0
    unhealthy_interval_s: float = 0.0
    unhealthy_edge_interval_s: float = 0.0
    healthy_edge_interval_s: float = 0.0
    reuse_connection: bool = True
    event_log_paths: tuple[str, ...] = ()
    always_log_failures: bool = False
    always_log_success: bool = False
    alpn: tuple[str, ...] = ()
    socket_match: Mapping[str, Any] | None = field(default=None, hash=False)


@frozen
class EndpointCheck:
    """`Endpoint.HealthCheckConfig`: how one endpoint is checked otherwise than it is used."""

    port: int = 0
    hostname: str = ""
    address: SocketAddress | None = None
    disabled: bool = False


@frozen
class SlowStart:
    """`SlowStartConfig`: a host's weight grows over `window_s` after it came."""

    window_s: float
    aggression: float = 1.0
    min_weight_percent: float = 10.0
