"""How endpoints are chosen, bounded and secured, in the neutral mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.scopes import Scope
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits
from protos.frozen import frozen


@frozen
class ConnectionPool:
    """None: not set, the dialect's default holds. idle_timeout_s 0: none. http2: whether HTTP/2 is
    spoken where the port's protocol is HTTP; as_client: what the client speaks is spoken on."""

    max_connections: int | None = None
    connect_timeout_s: float | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    idle_timeout_s: float | None = None
    max_connection_duration_s: float | None = None
    keepalive: TcpKeepalive | None = None
    http2: bool | None = None
    as_client: bool = False
    max_concurrent_streams: int | None = None
    ping_interval_s: float | None = None
    ping_timeout_s: float | None = None
    retry_budget: RetryBudget | None = None


@frozen
class TcpKeepalive:
    """None: what the proxy's system does."""

    probes: int | None = None
    time_s: float | None = None
    interval_s: float | None = None


@frozen
class RetryBudget:
    """percent of the requests that are under way may be retries, and this many in any case."""

    percent: float | None = None
    min_retries: int | None = None


@frozen
class OutlierDetection:
    """split_local_origin: failures to connect are counted apart from errors of the service.
    error_codes: statuses that are errors; without any the 5xx are."""

    consecutive_5xx: int | None = None
    consecutive_gateway_errors: int | None = None
    interval_s: float | None = None
    base_ejection_time_s: float | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int | None = None
    split_local_origin: bool = False
    consecutive_local_origin_failures: int | None = None
    error_codes: tuple[int, ...] = ()


@frozen
class ClientTls:
    """A DestinationRule's `tls`. None in its place: automatic (mutual where the endpoint can).

    roots, crl, certificate, private_key: names of files at the proxy; roots '' is what its system
    trusts. roots_pem: roots in place of a file. credential: namespace and name of what stands in
    place of the files; only proxies of that namespace may have it. closed: others, who can't speak
    to anybody there. verifies: whoever answers must show a certificate that is good. by_gateways: a
    gateway shows the certificate that it has for backends; shown: that one, as a credential."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    roots: str = ""
    roots_pem: str = ""
    crl: str = ""
    certificate: str = ""
    private_key: str = ""
    credential: tuple[str, str] | None = None
    closed: bool = False
    verifies: bool = True
    by_gateways: bool = False
    shown: tuple[str, str] | None = None
    limits: TlsLimits = NO_LIMITS


# --------------------------------------------------------------------------- load balancing


@frozen
class Cookie:
    """ttl_s None: no cookie is made where a request has none; 0: one that ends with the browser."""

    name: str
    path: str = ""
    ttl_s: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@frozen
class ConsistentHash:
    """Requests with the same key go to the same endpoint. One of header, cookie, source_ip and
    query is set. size: of the ring (at least) or of the Maglev table."""

    header: str = ""
    cookie: Cookie | None = None
    source_ip: bool = False
    query: str = ""
    algorithm: Literal["RING_HASH", "MAGLEV"] = "RING_HASH"
    size: int | None = None


@frozen
class Warmup:
    """A new endpoint gets its share of requests little by little (Envoy's slow start)."""

    duration_s: float
    minimum_percent: float | None = None
    aggression: float | None = None


@frozen
class Localities:
    """Istio's localityLbSetting, at most one of the first three. distribute: client's locality ->
    (endpoints' locality, percent). failover: region -> region that is next when it has nothing.
    priority: labels that an endpoint should have as its client does, the most important first.
    zone_aware: of the endpoints in its region a client takes those of its zone, as far as they
    suffice for all of its kind, where the region has min_cluster_size of them (Istio's
    zoneAwareLbSetting); None: nothing is said. always: priority counts also where nobody would know
    that endpoints fail."""

    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    priority: tuple[str, ...] = ()
    enabled: bool = True
    zone_aware: bool | None = None
    min_cluster_size: int | None = None
    always: bool = False


Algorithm = Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH"]


@frozen
class Tunnel:
    """Connections go on within HTTP: the service is asked by CONNECT, or by POST, to let them
    through to host and port."""

    host: str
    port: int
    post: bool = False


@frozen
class TrafficPolicy:
    """hash, where it is set, stands in place of load_balancer; PASSTHROUGH: connections go where
    the application sends them. proxy_protocol: the version of the header that each connection
    begins with."""

    load_balancer: Algorithm = "LEAST_REQUEST"
    pool: ConnectionPool = ConnectionPool()
    outlier: OutlierDetection | None = None
    tls: ClientTls | None = None
    hash: ConsistentHash | None = None
    warmup: Warmup | None = None
    localities: Localities = Localities()
    proxy_protocol: Literal["", "V1", "V2"] = ""
    tunnel: Tunnel | None = None


@frozen
class Subset:
    """A named part of a service's endpoints; policy and port_policies are already merged."""

    name: str
    labels: Mapping[str, str]
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    position: Position = NOWHERE


@frozen
class ClientPolicy:
    """What holds for some clients of a service in place of its own policy and subsets."""

    scope: Scope
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    subsets: tuple[Subset, ...] = ()
