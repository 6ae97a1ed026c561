"""Endpoints of other networks: at their gateways, by weight, and only where mutual TLS goes."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.emit.clusters import passing_on
from controlplane.emit.envoy import emit
from controlplane.emit.node import Node, parse
from controlplane.mesh.model import ClientTls, Endpoint, Service, Subset, TrafficPolicy
from controlplane.mesh.networks import NetworkGateway
from controlplane.resources import assemble
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, EDS
from tests.support.mesh import endpoint, mesh, node, service

GATEWAYS = (
    NetworkGateway("two", "192.0.2.1", 15443),
    NetworkGateway("two", "192.0.2.2", 443),
    NetworkGateway("three", "192.0.2.3", 15443),
)
Found = dict[tuple[str, int], int]


def at(number: int, network: str, **facts: Any) -> Endpoint:
    return endpoint(9000, address=f"10.0.0.{number}", network=network, **facts)


def web(*endpoints: Endpoint, **facts: Any) -> Service:
    return service("web", *endpoints, gateways=facts.pop("gateways", GATEWAYS), **facts)


def assignment(made: ClusterLoadAssignment) -> Found:
    return {
        (place.address, place.port_value): one.load_balancing_weight.value
        for group in made.endpoints
        for one in group.lb_endpoints
        for place in (one.endpoint.address.socket_address,)
    }


def reached(of: Service, who: Node, subset: str = "") -> Found:
    """Address and port -> weight; as the cache has it, so it is emitted."""
    whole = mesh(of)
    draft = emit(whole, who)
    cache = SnapshotCache(whole, lambda _: ())
    for url in (CDS, EDS):
        given = {name: one.body for name, one in cache.snapshot(who).of(url).items()}
        assert given == {name: one.body for name, one in assemble(draft.encode()).of(url).items()}
    name = f"outbound|8080|{subset}|{of.hostname}"
    (made,) = [one for one in draft.endpoints if one.cluster_name == name]
    return assignment(made)


ONE = node(network="one")


def test_weights_are_shared_among_the_gateways_of_a_network() -> None:
    found = web(at(1, "one", weight=3), at(2, "two"), at(3, "two", weight=4), at(4, "three"))
    assert reached(found, ONE) == {
        ("10.0.0.1", 9000): 6,
        ("192.0.2.1", 15443): 5,
        ("192.0.2.2", 443): 5,
        ("192.0.2.3", 15443): 2,
    }
    assert reached(found, node(network="two")) == {
        ("10.0.0.1", 9000): 6,  # of which no gateway is known
        ("10.0.0.2", 9000): 2,
        ("10.0.0.3", 9000): 8,
        ("192.0.2.3", 15443): 2,
    }


def test_who_does_not_say_where_it_is_goes_everywhere_itself() -> None:
    found = web(at(1, "one"), at(2, "two"), at(3, ""))
    direct = {("10.0.0.1", 9000), ("10.0.0.2", 9000), ("10.0.0.3", 9000)}
    assert set(reached(found, node())) == direct
    assert ("10.0.0.3", 9000) in reached(found, ONE)


def test_a_network_without_a_gateway_is_reached_itself() -> None:
    found = web(at(1, "far"), at(2, "three"))
    assert set(reached(found, ONE)) == {("10.0.0.1", 9000), ("192.0.2.3", 15443)}


@pytest.mark.parametrize(
    "lost", [{"mesh": False}, {"health": "UNHEALTHY"}, {"health": "DRAINING"}], ids=str
)
def test_behind_a_gateway_only_what_is_there_and_takes_mutual_tls(lost: dict[str, Any]) -> None:
    found = web(at(1, "one"), at(2, "three"), at(4, "two", **lost))
    assert ("192.0.2.1", 15443) not in reached(found, ONE)
    assert ("10.0.0.4", 9000) in reached(found, node(network="two"))


@pytest.mark.parametrize(("mode", "crosses"), [("DISABLE", False), ("ISTIO_MUTUAL", True)])
def test_a_rule_may_turn_mutual_tls_off(mode: Any, crosses: bool) -> None:
    policy = TrafficPolicy(tls=ClientTls(mode))
    found = web(at(1, "one"), at(2, "three"), policy=policy)
    assert (("192.0.2.3", 15443) in reached(found, ONE)) is crosses


def test_subsets_are_behind_their_own_endpoints() -> None:
    subsets = (Subset("v1", {"version": "v1"}), Subset("v2", {"version": "v2"}))
    found = web(
        at(1, "two", labels={"version": "v1"}),
        at(2, "three", labels={"version": "v2"}),
        subsets=subsets,
    )
    assert set(reached(found, ONE, "v2")) == {("192.0.2.3", 15443)}
    assert set(reached(found, ONE, "v1")) == {("192.0.2.1", 15443), ("192.0.2.2", 443)}


def test_what_has_no_address_is_reached_through_its_gateway_only() -> None:
    nowhere = endpoint(9000, address="", network="three")
    found = web(at(1, "one"), nowhere)
    assert set(reached(found, ONE)) == {("10.0.0.1", 9000), ("192.0.2.3", 15443)}
    assert set(reached(found, node(network="three"))) == {("10.0.0.1", 9000)}


def test_a_proxy_may_see_some_networks_only() -> None:
    found = web(at(1, "one"), at(2, "two"), at(3, "three"), at(4, ""))
    some = node(network="one", networks=("one", "three"))
    assert set(reached(found, some)) == {
        ("10.0.0.1", 9000),
        ("192.0.2.3", 15443),
        ("10.0.0.4", 9000),
    }


def test_a_gateway_by_name_is_looked_up() -> None:
    gateway = NetworkGateway("two", "gateway.example.org", 15443)
    found = web(at(1, "one"), at(2, "two"), gateways=(gateway,))
    clusters = {one.name: one for one in emit(mesh(found), ONE).clusters}
    made = clusters[f"outbound|8080||{found.hostname}"]
    assert made.type == Cluster.STRICT_DNS
    assert ("gateway.example.org", 15443) in assignment(made.load_assignment)


def test_identities_of_those_behind_a_gateway_are_expected() -> None:
    far = at(2, "two", account="elsewhere")
    clusters = {one.name: one for one in emit(mesh(web(at(1, "one"), far)), ONE).clusters}
    made = clusters["outbound|8080||web.default.svc.cluster.local"]
    assert "sa/elsewhere" in str(made.transport_socket)


def test_what_comes_through_a_gateway_goes_into_its_own_network() -> None:
    """Through another one's it would come back."""
    from controlplane.emit.clients import seen_by

    view = seen_by(web(at(1, "one"), at(2, "two")), ONE)
    assert view is not None
    ((_, made),) = passing_on(view)
    assert made is not None
    assert set(assignment(made)) == {("10.0.0.1", 9000)}


def test_networks_are_said_in_istios_words() -> None:
    made = EnvoyNode(id="sidecar~10.0.0.1~a.b~b.svc.cluster.local")
    made.metadata.update({"NETWORK": "one", "REQUESTED_NETWORK_VIEW": "two, one,"})
    assert (parse(made).network, parse(made).networks) == ("one", ("one", "two"))
    made.ClearField("metadata")
    made.metadata.update({"LABELS": {"topology.istio.io/network": "two"}})
    assert (parse(made).network, parse(made).networks) == ("two", ())


def test_weights_stay_within_what_they_may_add_up_to() -> None:
    """Of many gateways, and of weights as large as they may be said."""
    numbers = (3, 5, 7, 11, 13, 17, 19)
    gateways = tuple(
        NetworkGateway(f"n{count}", f"192.0.{count}.{each}", 15443)
        for count in numbers
        for each in range(count)
    )
    places = (at(count, f"n{count}", weight=64) for count in numbers)
    found = reached(web(at(1, "one", weight=128), *places, gateways=gateways), ONE)
    assert sum(found.values()) < 1 << 32
    of_three, itself = found["192.0.3.1", 15443], found["10.0.0.1", 9000]
    assert itself / of_three == pytest.approx(6, rel=0.001)
    heavy = web(at(1, "one", weight=1 << 31), at(2, "two", weight=1 << 30))
    assert sum(reached(heavy, ONE).values()) < 1 << 32
