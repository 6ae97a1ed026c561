"""A mesh that is known by several trust domains (Istio's MeshConfig.trustDomainAliases)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from controlplane.emit import clusters
from controlplane.mesh.model import ClientTls, Mesh, Service, TrafficPolicy
from controlplane.mesh.policy import Security
from tests.support.mesh import endpoint, mesh, service


def named(emitted: Mesh) -> list[str]:
    """Who the first cluster accepts."""
    cluster: Cluster = next(iter(clusters.outbound(emitted)))[0]
    context = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    combined = context.common_tls_context.combined_validation_context
    matchers = combined.default_validation_context.match_typed_subject_alt_names
    return [one.matcher.exact or f"{one.matcher.prefix}*" for one in matchers]


def aliased(one: Service) -> Mesh:
    aliases = ("old.example", "older.example")
    return replace(mesh(one), security=Security(trust_domain_aliases=aliases))


def test_a_server_is_accepted_by_any_of_its_names() -> None:
    assert named(mesh(service("a", endpoint(1)))) == [
        "spiffe://cluster.local/ns/default/sa/messenger"
    ]
    assert named(aliased(service("a", endpoint(1)))) == [
        "spiffe://cluster.local/ns/default/sa/messenger",
        "spiffe://old.example/ns/default/sa/messenger",
        "spiffe://older.example/ns/default/sa/messenger",
    ]


def test_where_no_identity_is_known_whoever_is_of_one_of_them() -> None:
    assert named(aliased(service("a"))) == [
        "spiffe://cluster.local/*",
        "spiffe://old.example/*",
        "spiffe://older.example/*",
    ]


@pytest.mark.parametrize("san", ["a.example", "urn:x://y"])
def test_names_that_are_no_spiffe_ids_have_no_aliases(san: str) -> None:
    policy = TrafficPolicy(tls=ClientTls("ISTIO_MUTUAL", subject_alt_names=(san,)))
    assert named(aliased(service("a", endpoint(1), policy=policy))) == [san]
