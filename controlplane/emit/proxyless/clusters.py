"""Clusters and endpoints as gRPC's clients take them (gRFC A27): EDS with addresses, or one name by
DNS.

Never an aggregate (gRFC A37), for instance of several names: where a cluster becomes one, or is one
no more, C-core (1.85) ends the client's process with a segmentation fault.

All endpoints of a cluster are secured alike there. Where some have sidecars and others none, those
are used that have: to send in plain text what could be secret is nobody's wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import SelfConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.emit.clusters import Target, identities, settings_of, targets
from controlplane.emit.dynamic import is_dynamic
from controlplane.emit.endpoints import load_assignment
from controlplane.emit.localities import Group, arranged, groups
from controlplane.emit.proxyless import balancing, tls
from controlplane.emit.proxyless.losses import Losses
from controlplane.emit.words import UNIX, over_ads
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import Endpoint, Service
from protos.frozen import frozen

Made = tuple[Cluster, ClusterLoadAssignment | None]


def of_service(service: Service, trust_domains: tuple[str, ...], losses: Losses) -> Iterable[Made]:
    """The clusters of its ports and subsets; those of type EDS with their endpoints."""
    for port in service.ports:
        if port.protocol != "UDP":
            for target in targets(service, port, trust_domains):
                yield from _outbound(target, losses)


@frozen
class _Security:
    """How the endpoints of a cluster are spoken to. closed: not at all, why was noted."""

    socket: TransportSocket | None = None
    endpoints: tuple[Endpoint, ...] = ()
    closed: bool = False


def _outbound(target: Target, losses: Losses) -> Iterator[Made]:
    security = _security(target, losses)
    found = () if security.closed else security.endpoints
    by_name = target.service.resolution != "STATIC" or not all(_is_address(e) for e in found)
    if is_dynamic(target.service.hostname) and not found:
        losses.note("gRPC clients can't call a service whose host name is a pattern")
        by_name = False
    elif by_name and not found and not security.closed:
        number = target.port.number
        found = (Endpoint(target.service.hostname, {number: number}),)
    addressed = tuple(filter(_is_address, found)) if target.service.resolution == "STATIC" else ()
    if not by_name or security.closed:
        yield _by_eds(target, replace(security, endpoints=found), losses)
    elif addressed:
        losses.note("gRPC clients use only those endpoints that have an address, not names of DNS")
        yield _by_eds(target, replace(security, endpoints=addressed), losses)
    else:
        if len(found) > 1:
            losses.note("gRPC clients use one name of DNS for a service, the first one")
        yield _by_dns(target, found[0], security.socket, losses), None


def _cluster(target: Target, socket: TransportSocket | None, losses: Losses) -> Cluster:
    """What all have alike. Loads are reported on the stream's own server (gRFC A27's LRS)."""
    policy = target.policy
    cluster = Cluster(name=target.name)
    cluster.lrs_server.self.CopyFrom(SelfConfigSource())
    balancing.balance(cluster, policy, losses)
    balancing.limit(cluster, policy, losses)
    if policy.outlier is not None:
        cluster.outlier_detection.CopyFrom(balancing.outlier(policy.outlier, losses))
    if policy.proxy_protocol:
        losses.note("gRPC clients send no PROXY header")
    if socket is not None:
        cluster.transport_socket.CopyFrom(socket)
    return cluster


# --------------------------------------------------------------------------- discovery


def _by_eds(target: Target, security: _Security, losses: Losses) -> Made:
    cluster = _cluster(target, security.socket, losses)
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(over_ads())
    arranged_groups = arranged(security.endpoints, target.policy, target.service.seen_from)
    number = target.port.number
    return cluster, load_assignment(target.name, _each_once(arranged_groups, number), number)


def _each_once(found: Iterable[Group], port: int) -> Iterator[Group]:
    """gRPC refuses a resource that has an address twice."""
    seen: set[tuple[str, int]] = set()
    for group in found:
        fresh = []
        for endpoint in group.endpoints:
            place = endpoint.address, endpoint.ports[port]
            if place not in seen:
                seen.add(place)
                fresh.append(endpoint)
        if fresh:
            yield replace(group, endpoints=tuple(fresh))


def _by_dns(
    target: Target, endpoint: Endpoint, socket: TransportSocket | None, losses: Losses
) -> Cluster:
    cluster = _cluster(target, socket, losses)
    cluster.type = Cluster.LOGICAL_DNS
    inline = load_assignment(target.name, groups((endpoint,)), target.port.number)
    cluster.load_assignment.CopyFrom(inline)
    return cluster


def _is_address(endpoint: Endpoint) -> bool:
    return is_ip(endpoint.address)


# --------------------------------------------------------------------------- security


def _security(target: Target, losses: Losses) -> _Security:
    settings = settings_of(target)
    mode = settings.mode if settings else "AUTO"
    every = tuple(e for e in target.endpoints if not e.through)
    if len(every) < len(target.endpoints):
        losses.note("gRPC clients say no server name, by which gateways of other networks go")
    reachable = tuple(e for e in every if not e.address.startswith(UNIX))
    if len(reachable) < len(every):
        losses.note("gRPC clients can't call an endpoint that is a unix socket")
    if settings is not None and settings.closed:
        return _Security(closed=True)
    if mode in ("SIMPLE", "MUTUAL"):
        losses.note(f"gRPC clients can't speak TLS of mode {mode}: they get no endpoints")
        return _Security(closed=True)
    if mode == "DISABLE":
        return _Security(None, reachable)
    if mode == "ISTIO_MUTUAL":
        return _Security(_mutual(target), reachable)
    # Without endpoints no TLS: whoever has no certificates would refuse the cluster for nothing.
    secured = tuple(endpoint for endpoint in reachable if endpoint.mesh)
    if len(secured) == len(reachable):
        return _Security(_mutual(target) if secured else None, reachable)
    if not secured:
        return _Security(None, reachable)
    losses.note("gRPC clients use only those endpoints that have a sidecar, as others have none")
    return _Security(_mutual(target), secured)


def _mutual(target: Target) -> TransportSocket:
    settings, service = settings_of(target), target.service
    expected = settings.subject_alt_names if settings is not None else ()
    return tls.upstream(
        # Istio's own would be no name of a certificate, which gRPC's servers complain of.
        settings.sni if settings is not None else "",
        expected or service.subject_alt_names or identities(target.endpoints),
        target.trust_domains,
    )
