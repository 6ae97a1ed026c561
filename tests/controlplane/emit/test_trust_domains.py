"""Which trust domains' identities may come in, and which are accepted of a server."""

from __future__ import annotations

from dataclasses import replace

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    DownstreamTlsContext,
    UpstreamTlsContext,
)

from controlplane.emit import clusters, envoy
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.model import Mesh
from controlplane.mesh.policy import Security
from tests.support.mesh import endpoint, inbound, mesh, node, service, workload

PLAIN = mesh(service("messenger", endpoint(9101)), workloads=(workload("messenger-1", inbound()),))
ALIASES = replace(PLAIN, security=Security(trust_domain_aliases=("old.td",)))
FEDERATED = replace(ALIASES, federated=(ForeignDomain("far", "https://far/"),))


def accepted_of_clients(candidate: Mesh) -> list[str]:
    (listener,) = (
        one
        for one in envoy.sidecar(envoy.beside(candidate, node()), node()).listeners
        if one.filter_chains[0].HasField("transport_socket")
    )
    context = DownstreamTlsContext()
    _unpack(listener.filter_chains[0].transport_socket, context)
    return _names(context, "prefix")


def accepted_of_servers(candidate: Mesh) -> list[str]:
    (cluster, _) = next(iter(clusters.outbound(candidate)))
    assert isinstance(cluster, Cluster)
    context = UpstreamTlsContext()
    _unpack(cluster.transport_socket, context)
    return _names(context, "exact") or _names(context, "prefix")


def _unpack(socket: TransportSocket, context: DownstreamTlsContext | UpstreamTlsContext) -> None:
    assert socket.typed_config.Unpack(context)


def _names(context: DownstreamTlsContext | UpstreamTlsContext, kind: str) -> list[str]:
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    names = [getattr(one.matcher, kind) for one in validation.match_typed_subject_alt_names]
    return [name for name in names if name]


def test_who_may_come_in() -> None:
    own, old, far = "spiffe://cluster.local/", "spiffe://old.td/", "spiffe://far/"
    assert accepted_of_clients(PLAIN) == [own]
    assert accepted_of_clients(ALIASES) == [own, old]
    assert accepted_of_clients(FEDERATED) == [own, old, far]


def test_a_server_may_have_an_identity_of_an_alias_but_of_no_foreign_domain() -> None:
    path = "ns/default/sa/messenger"
    ours, alias = f"spiffe://cluster.local/{path}", f"spiffe://old.td/{path}"
    assert accepted_of_servers(PLAIN) == [ours]
    assert accepted_of_servers(ALIASES) == [ours, alias]
    assert accepted_of_servers(FEDERATED) == [ours, alias]


def test_an_identity_of_a_foreign_domain_is_itself_alone() -> None:
    far = endpoint(9101, identity="spiffe://far/ns/default/sa/messenger")
    candidate = replace(FEDERATED, services=(service("messenger", far),))
    assert accepted_of_servers(candidate) == ["spiffe://far/ns/default/sa/messenger"]


def test_where_no_identity_is_known_the_meshs_is_wanted() -> None:
    empty = replace(FEDERATED, services=(service("messenger"),))
    assert accepted_of_servers(empty) == ["spiffe://cluster.local/", "spiffe://old.td/"]
