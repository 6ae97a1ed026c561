"""Messages as emission made them, what dangles among them, and how they become resources."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.any_pb2 import Any

from controlplane.resources import NO_LAYER, Layer, Resource
from protos.frozen import frozen
from protos.types import CDS, EDS, LDS, RDS, SDS


def encode(type_url: str, name: str, value: bytes, aliases: tuple[str, ...] = ()) -> Resource:
    """A resource from its serialized message."""
    body = Any(type_url=type_url, value=value).SerializeToString()
    return Resource(name, hashlib.sha256(value).hexdigest()[:16], body, aliases)


@frozen
class Draft:
    """Messages as emission made them. unresolved: clusters that routes name although they do
    not exist, on purpose: the proxy answers 503 with the response flag NC (Envoy)."""

    clusters: tuple[Cluster, ...] = ()
    endpoints: tuple[ClusterLoadAssignment, ...] = ()
    listeners: tuple[Listener, ...] = ()
    routes: tuple[RouteConfiguration, ...] = ()
    secrets: tuple[Secret, ...] = ()
    unresolved: frozenset[str] = frozenset()

    def __add__(self, other: Draft) -> Draft:
        return Draft(
            self.clusters + other.clusters,
            self.endpoints + other.endpoints,
            self.listeners + other.listeners,
            self.routes + other.routes,
            self.secrets + other.secrets,
            self.unresolved | other.unresolved,
        )

    def encode(self) -> dict[str, Layer]:
        """Every message serialized once, deterministically (map fields sorted)."""
        return {
            CDS: _encode_all(CDS, ((m.name, m) for m in self.clusters)),
            EDS: _encode_all(EDS, ((m.cluster_name, m) for m in self.endpoints)),
            LDS: _encode_all(LDS, ((m.name, m) for m in self.listeners)),
            RDS: _encode_all(RDS, ((m.name, m) for m in self.routes)),
            SDS: _encode_all(SDS, ((m.name, m) for m in self.secrets)),
        }


_Message = Cluster | ClusterLoadAssignment | Listener | RouteConfiguration | Secret


def _encode_all(type_url: str, messages: Iterable[tuple[str, _Message]]) -> Layer:
    found = {
        name: encode(type_url, name, message.SerializeToString(deterministic=True))
        for name, message in messages
    }
    return Layer(found) if found else NO_LAYER


# --------------------------------------------------------------------------- check


def check(
    draft: Draft, clusters: Container[str] = (), routes: Container[str] = ()
) -> tuple[str, ...]:
    """What dangles: one sentence for each reference to something that is not there.

    clusters, routes: names that exist outside of the draft.
    """
    known = _Names({c.name for c in draft.clusters} | draft.unresolved, clusters)
    known_routes = _Names({configuration.name for configuration in draft.routes}, routes)
    problems = [
        *_duplicates("cluster", (c.name for c in draft.clusters)),
        *_duplicates("listener", (x.name for x in draft.listeners)),
        *_duplicates("route configuration", (r.name for r in draft.routes)),
        *_missing_endpoints(draft),
        *_shared_places(draft.listeners),
    ]
    for listener in draft.listeners:
        problems += _check_listener(listener, known_routes, known)
    for configuration in draft.routes:
        problems += _check_routes(f"route configuration {configuration.name}", configuration, known)
    return tuple(problems)


@frozen
class _Names:
    """Of a draft, and of what exists outside of it."""

    own: Container[str]
    others: Container[str]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.others


def _duplicates(kind: str, names: Iterable[str]) -> list[str]:
    counts = Counter(names)
    return [f"{kind} {name} exists twice" for name, count in counts.items() if count > 1]


def _missing_endpoints(draft: Draft) -> list[str]:
    have = {assignment.cluster_name for assignment in draft.endpoints}
    return [
        f"cluster {c.name} has no endpoints resource"
        for c in draft.clusters
        if c.type == Cluster.EDS and (c.eds_cluster_config.service_name or c.name) not in have
    ]


def _shared_places(listeners: Iterable[Listener]) -> list[str]:
    """Listeners that Envoy refuses, as another one has their address and port."""
    first: dict[tuple[str, int, int], str] = {}
    problems = []
    for one in listeners:
        at = one.address.socket_address
        if not at.port_value or (one.HasField("bind_to_port") and not one.bind_to_port.value):
            continue
        other = first.setdefault((at.address, at.port_value, at.protocol), one.name)
        if other != one.name:
            where = f"{at.address}:{at.port_value}"
            problems.append(f"listeners {other} and {one.name} are both at {where}")
    return problems


def _check_listener(
    listener: Listener, routes: Container[str], clusters: Container[str]
) -> list[str]:
    problems: list[str] = []
    where = f"listener {listener.name}"
    for chain in listener.filter_chains:
        for manager in _unpack_managers(chain):
            name = manager.rds.route_config_name
            if name and name not in routes:
                problems.append(f"{where} names route configuration {name}, which is not there")
            problems += _check_routes(where, manager.route_config, clusters)
        problems += [
            f"{where} names cluster {name}, which is not there"
            for name in _tcp_clusters(chain)
            if name not in clusters
        ]
    return problems


def _unpack_managers(chain: FilterChain) -> Iterable[hcm_pb2.HttpConnectionManager]:
    for item in chain.filters:
        manager = hcm_pb2.HttpConnectionManager()
        if item.typed_config.Unpack(manager):
            yield manager


def _tcp_clusters(chain: FilterChain) -> Iterable[str]:
    for item in chain.filters:
        proxy = TcpProxy()
        if item.typed_config.Unpack(proxy):
            weighted = [entry.name for entry in proxy.weighted_clusters.clusters]
            yield from weighted or [proxy.cluster]


def _check_routes(where: str, routes: RouteConfiguration, clusters: Container[str]) -> list[str]:
    return [
        f"{where}, virtual host {host.name} names cluster {name}, which is not there"
        for host in routes.virtual_hosts
        for route in host.routes
        for name in _route_clusters(route)
        if name not in clusters
    ]


def _route_clusters(route: Route) -> list[str]:
    if not route.HasField("route"):
        return []
    weighted = [entry.name for entry in route.route.weighted_clusters.clusters]
    return weighted or [route.route.cluster]
