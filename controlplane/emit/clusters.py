"""Clusters: one for each service port and subset (outbound), one for each inbound port.

Mutual TLS is automatic (Istio's auto mTLS): a service whose endpoints all have sidecars gets it
for the whole cluster, a mixed one by the endpoint's `tlsMode`. A DestinationRule's `tls` wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as EnvoyOutlier
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as upstream_http
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.emit import names, tls
from controlplane.emit.endpoints import MUTUAL, TLS_MODE, load_assignment, select
from controlplane.emit.words import is_ip, over_ads, packed, seconds
from controlplane.mesh.model import (
    ClientTls,
    ConnectionPool,
    Endpoint,
    InboundPort,
    Mesh,
    OutlierDetection,
    Protocol,
    Service,
    ServicePort,
    TrafficPolicy,
)

CONNECT_TIMEOUT_S = 10.0
UNLIMITED = 2**32 - 1
RETRY_BUDGET_PERCENT = 20.0
RETRY_BUDGET_FLOOR = 10
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LB: Mapping[str, Cluster.LbPolicy] = {
    "ROUND_ROBIN": Cluster.ROUND_ROBIN,
    "LEAST_REQUEST": Cluster.LEAST_REQUEST,
    "RANDOM": Cluster.RANDOM,
}


@dataclass(frozen=True, slots=True)
class _Target:
    """What one outbound cluster leads to."""

    service: Service
    port: ServicePort
    subset: str
    policy: TrafficPolicy
    endpoints: tuple[Endpoint, ...]
    trust_domains: tuple[str, ...]

    @property
    def name(self) -> str:
        return names.outbound_cluster(self.service.hostname, self.port.number, self.subset)


def outbound(mesh: Mesh) -> Iterable[tuple[Cluster, ClusterLoadAssignment | None]]:
    """Every service's clusters; those of type EDS with their endpoints."""
    for service in mesh.services:
        for port in service.ports:
            if port.protocol != "UDP":
                yield from map(_outbound, _targets(mesh, service, port))


def _targets(mesh: Mesh, service: Service, port: ServicePort) -> Iterable[_Target]:
    """The port as a whole, then each subset."""
    number = port.number
    own = (mesh.trust_domain, *mesh.security.trust_domain_aliases)
    policy = service.port_policies.get(number, service.policy)
    every = select(service, number, {})
    yield _Target(service, port, "", policy, every, own)
    for subset in service.subsets:
        policy = subset.port_policies.get(number, subset.policy)
        some = select(service, number, subset.labels)
        yield _Target(service, port, subset.name, policy, some, own)


def _outbound(target: _Target) -> tuple[Cluster, ClusterLoadAssignment | None]:
    policy = target.policy
    cluster = _base(target.name, policy.pool)
    cluster.lb_policy = _LB[policy.load_balancer]
    # Never send to an endpoint that is known to be unhealthy (Envoy's panic mode would).
    minimum = policy.outlier.min_health_percent if policy.outlier else None
    cluster.common_lb_config.healthy_panic_threshold.CopyFrom(Percent(value=minimum or 0))
    if policy.outlier:
        cluster.outlier_detection.CopyFrom(_outlier(policy.outlier))
    _secure(cluster, target)
    _http_options(cluster, policy.pool, target.port.protocol)
    return cluster, _discover(cluster, target)


def _base(name: str, pool: ConnectionPool) -> Cluster:
    cluster = Cluster(name=name)
    timeout_s = pool.connect_timeout_s
    cluster.connect_timeout.CopyFrom(seconds(CONNECT_TIMEOUT_S if timeout_s is None else timeout_s))
    cluster.circuit_breakers.thresholds.append(_thresholds(pool))
    return cluster


def _discover(cluster: Cluster, target: _Target) -> ClusterLoadAssignment | None:
    """How the proxy finds endpoints: EDS, or DNS where one of them is a name."""
    number = target.port.number
    if target.policy.tls is not None and target.policy.tls.closed:
        cluster.type = Cluster.STATIC
        cluster.load_assignment.CopyFrom(load_assignment(target.name, (), number))
        return None
    if target.service.resolution == "STATIC" and all(is_ip(e.address) for e in target.endpoints):
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(over_ads())
        return load_assignment(target.name, target.endpoints, number)
    cluster.type = Cluster.STRICT_DNS
    cluster.dns_lookup_family = Cluster.V4_PREFERRED
    cluster.respect_dns_ttl = True
    # A DNS service without endpoints is found under its own name.
    itself = Endpoint(target.service.hostname, {number: number})
    inline = load_assignment(target.name, target.endpoints or (itself,), number)
    cluster.load_assignment.CopyFrom(inline)
    return None


# --------------------------------------------------------------------------- TLS


def _secure(cluster: Cluster, target: _Target) -> None:
    settings = target.policy.tls
    mode = settings.mode if settings else "AUTO"
    if mode == "DISABLE" or (settings is not None and settings.closed):
        return
    if settings and mode in ("SIMPLE", "MUTUAL"):
        sni = settings.sni or target.service.hostname
        alpn = names.outside_alpn(target.port.protocol)
        cluster.transport_socket.CopyFrom(tls.upstream_outside(settings, sni, alpn))
    elif mode == "ISTIO_MUTUAL" or _all_mesh(target.service, target.endpoints):
        cluster.transport_socket.CopyFrom(_mutual(target))
    elif any(endpoint.mesh for endpoint in target.endpoints):
        _by_endpoint(cluster, _mutual(target))


def _mutual(target: _Target) -> TransportSocket:
    """TLS between sidecars; a DestinationRule may name the SNI and who is accepted."""
    settings = target.policy.tls or ClientTls("ISTIO_MUTUAL")
    hostname, number = target.service.hostname, target.port.number
    return tls.upstream_mutual(
        settings.sni or names.outbound_sni(hostname, number, target.subset),
        settings.subject_alt_names or _identities(target.endpoints),
        target.trust_domains,
        names.client_alpn(target.port.protocol),
    )


def _all_mesh(service: Service, endpoints: tuple[Endpoint, ...]) -> bool:
    """True for a mesh service without endpoints too: those that come will have sidecars, and the
    cluster need not change with the first of them."""
    if not endpoints:
        return not service.external and service.resolution == "STATIC"
    return all(endpoint.mesh for endpoint in endpoints)


def _identities(endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
    """The ids to accept; none (so: the trust domain's) where a sidecar's is not known."""
    mesh = [endpoint.identity for endpoint in endpoints if endpoint.mesh]
    return tuple(mesh) if all(mesh) else ()


def _by_endpoint(cluster: Cluster, mutual: TransportSocket) -> None:
    with_sidecar = Struct()
    with_sidecar.update({TLS_MODE: MUTUAL})
    cluster.transport_socket_matches.add(
        name="tlsMode-istio", match=with_sidecar, transport_socket=mutual
    )
    cluster.transport_socket_matches.add(
        name="tlsMode-disabled", match=Struct(), transport_socket=tls.plaintext()
    )


# --------------------------------------------------------------------------- limits


def _thresholds(pool: ConnectionPool) -> CircuitBreakers.Thresholds:
    """Unlimited where nothing is set (Istio's default), but retries stay inside a budget."""

    def limit(value: int | None) -> UInt32Value:
        return UInt32Value(value=UNLIMITED if value is None else value)

    thresholds = CircuitBreakers.Thresholds(
        max_connections=limit(pool.max_connections),
        max_pending_requests=limit(pool.max_pending_requests),
        max_requests=limit(pool.max_requests),
    )
    if pool.max_retries is not None:
        thresholds.max_retries.CopyFrom(limit(pool.max_retries))
        return thresholds
    budget = thresholds.retry_budget
    budget.budget_percent.CopyFrom(Percent(value=RETRY_BUDGET_PERCENT))
    budget.min_retry_concurrency.CopyFrom(UInt32Value(value=RETRY_BUDGET_FLOOR))
    return thresholds


def _outlier(settings: OutlierDetection) -> EnvoyOutlier:
    """A count of 0 turns its detector off; unset is Envoy's default. Success-rate detection,
    which nobody asked for, is off (as in Istio)."""
    outlier = EnvoyOutlier(enforcing_success_rate=UInt32Value(value=0))
    if settings.consecutive_5xx is not None:
        outlier.consecutive_5xx.value = settings.consecutive_5xx
        outlier.enforcing_consecutive_5xx.value = 100 if settings.consecutive_5xx else 0
    if settings.consecutive_gateway_errors is not None:
        count = settings.consecutive_gateway_errors
        outlier.consecutive_gateway_failure.value = count
        outlier.enforcing_consecutive_gateway_failure.value = 100 if count else 0
    if settings.interval_s is not None:
        outlier.interval.CopyFrom(seconds(settings.interval_s))
    if settings.base_ejection_time_s is not None:
        outlier.base_ejection_time.CopyFrom(seconds(settings.base_ejection_time_s))
    # Of fewer than ten hosts, Istio's default of 10 % would be none at all.
    outlier.always_eject_one_host.value = True
    if settings.max_ejection_percent is not None:
        outlier.max_ejection_percent.value = settings.max_ejection_percent
    return outlier


def _http_options(cluster: Cluster, pool: ConnectionPool, protocol: Protocol) -> None:
    """HttpProtocolOptions, only where something differs from the default. A port that is declared
    so is spoken to in HTTP/2 from the first byte."""
    http2 = protocol in names.HTTP2
    if not http2 and pool.idle_timeout_s is None and not pool.max_requests_per_connection:
        return
    options = upstream_http.HttpProtocolOptions()
    if pool.idle_timeout_s is not None:
        idle = seconds(pool.idle_timeout_s)
        options.common_http_protocol_options.idle_timeout.CopyFrom(idle)
    if pool.max_requests_per_connection:
        count = UInt32Value(value=pool.max_requests_per_connection)
        options.common_http_protocol_options.max_requests_per_connection.CopyFrom(count)
    explicit = options.explicit_http_config
    if http2:
        explicit.http2_protocol_options.CopyFrom(Http2ProtocolOptions())
    else:
        explicit.http_protocol_options.CopyFrom(Http1ProtocolOptions())
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))


# --------------------------------------------------------------------------- inbound


def inbound(port: InboundPort) -> Cluster:
    """The way from a sidecar to its own application, in plain text on the loopback."""
    cluster = _base(names.inbound_cluster(port), ConnectionPool())
    cluster.type = Cluster.STATIC
    local = Endpoint(port.app_address, {port.app_port: port.app_port})
    cluster.load_assignment.CopyFrom(load_assignment(cluster.name, (local,), port.app_port))
    _http_options(cluster, ConnectionPool(), port.protocol)
    return cluster
