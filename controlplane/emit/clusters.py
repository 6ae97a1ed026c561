"""Clusters: one for each service port and subset (outbound), one for each inbound port.

Mutual TLS is automatic (Istio's auto mTLS): a service whose endpoints all have sidecars gets it
for the whole cluster, a mixed one by the endpoint's `tlsMode`. A DestinationRule's `tls` wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.struct_pb2 import Struct

from controlplane.emit import dynamic, limits, names, networks, originals, stat_names, tls
from controlplane.emit.balancing import balance
from controlplane.emit.endpoints import MUTUAL, TLS_MODE, load_assignment, select
from controlplane.emit.localities import arranged, groups
from controlplane.emit.words import is_place, over_ads, seconds
from controlplane.mesh.model import (
    ClientTls,
    ConnectionPool,
    Endpoint,
    InboundPort,
    Mesh,
    Service,
    ServicePort,
    TrafficPolicy,
)
from protos.frozen import frozen

_UNTOUCHED = ClientTls("DISABLE")


@frozen
class Target:
    """What one outbound cluster leads to."""

    service: Service
    port: ServicePort
    subset: str
    policy: TrafficPolicy
    endpoints: tuple[Endpoint, ...]
    trust_domains: tuple[str, ...]
    passes: bool = False

    @property
    def name(self) -> str:
        """passes: what comes is mutual TLS already, for this server name."""
        make = names.outbound_sni if self.passes else names.outbound_cluster
        return make(self.service.hostname, self.port.number, self.subset)


def outbound(mesh: Mesh) -> Iterable[tuple[Cluster, ClusterLoadAssignment | None]]:
    """Every service's clusters; those of type EDS with their endpoints."""
    for service in mesh.services:
        yield from of_service(service, mesh.own_domains)


def of_service(
    service: Service, trust_domains: tuple[str, ...]
) -> Iterable[tuple[Cluster, ClusterLoadAssignment | None]]:
    """Its clusters. They depend on nothing else, so that they need not be made again."""
    for port in service.ports:
        if port.protocol != "UDP":
            yield from map(_outbound, targets(service, port, trust_domains))


def passing_on(service: Service) -> Iterable[tuple[Cluster, ClusterLoadAssignment | None]]:
    """Clusters to which mutual TLS of the mesh goes unopened (Istio's SNI-DNAT): to endpoints that
    end it themselves, in the gateway's own network: through another one's they would come back."""
    for port in service.ports:
        if port.protocol != "UDP":
            for target in targets(service, port, ()):
                mine = tuple(one for one in target.endpoints if one.mesh and not one.through)
                policy = replace(target.policy, tls=_UNTOUCHED, proxy_protocol="")
                yield _outbound(replace(target, policy=policy, endpoints=mine, passes=True))


def targets(
    service: Service, port: ServicePort, trust_domains: tuple[str, ...]
) -> Iterable[Target]:
    """The port as a whole, then each subset."""
    number = port.number
    policy = service.port_policies.get(number, service.policy)
    every = networks.reached(select(service, number, {}), service, policy)
    yield Target(service, port, "", policy, every, trust_domains)
    for subset in service.subsets:
        policy = subset.port_policies.get(number, subset.policy)
        some = networks.reached(select(service, number, subset.labels), service, policy)
        yield Target(service, port, subset.name, policy, some, trust_domains)


def _outbound(target: Target) -> tuple[Cluster, ClusterLoadAssignment | None]:
    policy = target.policy
    cluster = Cluster(name=target.name)
    if target.service.external:
        cluster.metadata.filter_metadata["istio"].update({"external": True})
    cluster.alt_stat_name = stat_names.outbound(target.service, target.port, target.subset)
    limits.bound(cluster, policy.pool)
    balance(cluster, policy)
    if policy.outlier:
        cluster.outlier_detection.CopyFrom(limits.outlier(policy.outlier))
    _secure(cluster, target)
    if policy.proxy_protocol:
        tls.after_proxy_header(cluster, policy.proxy_protocol)
    keeps_case = target.service.clusters.keeps_case
    if not target.passes:
        errors = policy.outlier.error_codes if policy.outlier else ()
        limits.http_options(cluster, policy.pool, target.port.protocol, keeps_case, errors)
    return cluster, _discover(cluster, target)


def _discover(cluster: Cluster, target: Target) -> ClusterLoadAssignment | None:
    """How the proxy finds endpoints: EDS, or DNS where one of them is a name."""
    number, service = target.port.number, target.service
    found = arranged(target.endpoints, target.policy, service.seen_from)
    if target.policy.tls is not None and target.policy.tls.closed:
        cluster.type = Cluster.STATIC
        cluster.load_assignment.CopyFrom(load_assignment(target.name, (), number))
        return None
    if service.as_addressed or target.policy.load_balancer == "PASSTHROUGH":
        originals.go_as_addressed(cluster)
        return None
    if dynamic.is_dynamic(service.hostname) and not target.endpoints:
        dynamic.look_up(cluster)
        return None
    if service.resolution == "STATIC" and all(is_place(e.address) for e in target.endpoints):
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(over_ads())
        return load_assignment(target.name, found, number)
    one_at_a_time = service.resolution == "DNS_ROUND_ROBIN" and len(target.endpoints) < 2
    cluster.type = Cluster.LOGICAL_DNS if one_at_a_time else Cluster.STRICT_DNS
    cluster.dns_lookup_family = Cluster.V4_PREFERRED
    cluster.respect_dns_ttl = True
    if service.clusters.dns_refresh_s is not None:
        cluster.dns_refresh_rate.CopyFrom(seconds(service.clusters.dns_refresh_s))
    # A DNS service without endpoints is found under its own name.
    itself = Endpoint(service.hostname, {number: number})
    inline = load_assignment(target.name, found or groups((itself,)), number)
    cluster.load_assignment.CopyFrom(inline)
    return None


# --------------------------------------------------------------------------- TLS


def _secure(cluster: Cluster, target: Target) -> None:
    settings = settings_of(target)
    mode = settings.mode if settings else "AUTO"
    if mode == "DISABLE" or (settings is not None and settings.closed):
        return
    if settings and mode in ("SIMPLE", "MUTUAL"):
        sni = settings.sni or target.service.hostname
        alpn = names.outside_alpn(target.port.protocol)
        cluster.transport_socket.CopyFrom(tls.upstream_outside(settings, sni, alpn))
    elif mode == "ISTIO_MUTUAL" or all_mesh(target.service, target.endpoints):
        cluster.transport_socket.CopyFrom(_mutual(target))
    elif any(endpoint.mesh for endpoint in target.endpoints):
        _by_endpoint(cluster, _mutual(target))


def settings_of(target: Target) -> ClientTls | None:
    """The rule's settings, with the service's own names where the rule expects none."""
    settings, own = target.policy.tls, target.service.subject_alt_names
    if settings is None or settings.subject_alt_names or not own:
        return settings
    return replace(settings, subject_alt_names=own)


def _mutual(target: Target) -> TransportSocket:
    """TLS between sidecars; a DestinationRule may name the SNI and who is accepted, and so may a
    ServiceEntry."""
    settings = settings_of(target) or ClientTls("ISTIO_MUTUAL")
    hostname, number = target.service.hostname, target.port.number
    expected = settings.subject_alt_names or target.service.subject_alt_names
    return tls.upstream_mutual(
        settings.sni or names.outbound_sni(hostname, number, target.subset),
        expected or identities(target.endpoints),
        target.trust_domains,
        names.client_alpn(target.port.protocol),
    )


def all_mesh(service: Service, endpoints: tuple[Endpoint, ...]) -> bool:
    """True for a mesh service without endpoints too: those that come will have sidecars, and the
    cluster need not change with the first of them."""
    if not endpoints:
        return not service.external and service.resolution == "STATIC"
    return all(endpoint.mesh for endpoint in endpoints)


def identities(endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
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


# --------------------------------------------------------------------------- inbound


def serves(cluster: Cluster, hostnames: tuple[str, ...]) -> None:
    """Of which services it is, in Istio's metadata: metrics name them."""
    services: list[dict[str, str]] = []
    for host in hostnames:
        name, _, rest = host.partition(".")
        namespace, _, domain = rest.partition(".")
        if domain.startswith("svc."):
            services.append({"host": host, "name": name, "namespace": namespace})
        else:
            services.append({"host": host, "name": host})
    if services:
        cluster.metadata.filter_metadata["istio"].update({"services": services})


def inbound(port: InboundPort, stat_name: str = "", keeps_case: bool = False) -> Cluster:
    """The way from a sidecar to its own application, in plain text on the loopback."""
    cluster = Cluster(name=names.inbound_cluster(port), type=Cluster.STATIC)
    cluster.alt_stat_name = stat_name
    serves(cluster, port.hostnames)
    limits.bound(cluster, ConnectionPool())
    local = Endpoint(port.app_address, {port.app_port: port.app_port})
    inline = load_assignment(cluster.name, groups((local,)), port.app_port)
    cluster.load_assignment.CopyFrom(inline)
    limits.http_options(cluster, ConnectionPool(), port.protocol, keeps_case)
    return cluster
