"""A proxy on demand: it holds what it names, and of other services nothing at all."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)
from envoy.service.status.v3.csds_pb2 import NOT_SENT, SYNCED
from google.protobuf.any_pb2 import Any

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh
from controlplane.mesh.policy import AccessPolicy, Authorizer, Rule, Security
from controlplane.resources import Resource
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.client_status import client_config
from controlplane.xds.delta import DeltaStream
from controlplane.xds.service import Connection
from controlplane.xds.wire import Push
from protos.types import CDS, EDS, LDS, RDS, VHDS
from tests.support.mesh import endpoint, inbound, mesh, node, service, workload

ONE, TWO = service("one", endpoint(9101)), service("two", endpoint(9102))
WILD = replace(service("wild", endpoint(9101)), hostname="*.example.org")
LAZY = node(on_demand=True)


def name_of(host: str) -> str:
    return f"http_proxy/{host}"


def cluster(name: str) -> str:
    return f"outbound|8080||{name}.default.svc.cluster.local"


def no_secrets(of: Node) -> tuple[Secret, ...]:
    return ()


def cache_of(of: Mesh) -> SnapshotCache:
    return SnapshotCache(of, no_secrets)


class Client:
    """A stream and what its client holds: type -> name -> the resource's message."""

    def __init__(self, cache: SnapshotCache, of: Node = LAZY) -> None:
        self._cache = cache
        self._node = of
        self._machine = DeltaStream(cache.snapshot(of))
        self.held: dict[str, dict[str, bytes]] = {}
        self.responses: list[DeltaDiscoveryResponse] = []

    def ask(self, type_url: str, *names: str, **held: str) -> None:
        request = DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=names, initial_resource_versions=held
        )
        self._take(self._machine.feed(request).pushes)

    def see(self, changed: Mesh) -> None:
        self._cache.set_mesh(changed)
        self._take(self._machine.on_snapshot(self._cache.snapshot(self._node)))

    def _take(self, pushes: tuple[Push, ...]) -> None:
        for push in pushes:
            response = DeltaDiscoveryResponse.FromString(push.body)
            self.responses.append(response)
            held = self.held.setdefault(response.type_url, {})
            held |= {one.name: one.resource.value for one in response.resources}
            for name in response.removed_resources:
                held.pop(name, None)
            answer = DeltaDiscoveryRequest(
                type_url=response.type_url, response_nonce=response.nonce
            )
            self._take(self._machine.feed(answer).pushes)

    def told(self) -> dict[str, int]:
        """What CSDS says of each name."""
        client = SimpleNamespace(node=self._node, machine=self._machine, last_push_at=0.0)
        config = client_config(cast(Connection, client), contents=False)
        return {one.name: one.config_status for one in config.generic_xds_configs}

    @property
    def size(self) -> int:
        return sum(len(value) for held in self.held.values() for value in held.values())


def calling(*names: str, cache: SnapshotCache) -> Client:
    client = Client(cache)
    client.ask(CDS, "*", *map(cluster, names))
    client.ask(LDS)
    client.ask(RDS, "http_proxy")
    client.ask(EDS, *map(cluster, names))
    client.ask(VHDS, *(name_of(f"{name}.default.svc.cluster.local:8080") for name in names))
    return client


def test_it_holds_the_services_that_it_names() -> None:
    client = calling("one", cache=cache_of(mesh(ONE, TWO)))
    assert set(client.held[CDS]) == set(client.held[EDS]) == {cluster("one")}
    assert set(client.held[VHDS]) == {name_of("one.default.svc.cluster.local:8080")}
    table = RouteConfiguration.FromString(client.held[RDS]["http_proxy"])
    assert table.HasField("vhds")
    assert not table.virtual_hosts


def test_a_service_that_it_does_not_call_costs_nothing() -> None:
    few = calling("one", cache=cache_of(mesh(ONE, TWO)))
    others = [service(f"other{number}", endpoint(9200)) for number in range(50)]
    many = calling("one", cache=cache_of(mesh(ONE, *others, TWO)))
    assert many.size == few.size
    told = len(many.responses)
    many.see(mesh(ONE, *others[1:], service("two", endpoint(9999))))
    assert len(many.responses) == told
    many.see(mesh(service("one", endpoint(9111)), TWO))
    assert [one.type_url for one in many.responses[told:]] == [EDS]


def test_its_virtual_hosts_are_those_of_the_whole_table() -> None:
    meshed = mesh(ONE, service("two", endpoint(9102), namespace="shop"))
    (table,) = emit(meshed, node()).routes
    hosts = cache_of(meshed).snapshot(LAZY).of(VHDS)
    for host in table.virtual_hosts[:-1]:
        for domain in host.domains:
            made = _host(hosts[name_of(domain)])
            assert made.name == name_of(host.name)
            made.name = host.name
            assert made == host


def _host(resource: Resource) -> VirtualHost:
    return VirtualHost.FromString(Any.FromString(resource.body).value)


@pytest.mark.parametrize("asked", ["one", "one.default", "one:8080"])
def test_a_virtual_host_is_found_by_each_of_its_domains(asked: str) -> None:
    client = Client(cache_of(mesh(ONE)))
    client.ask(VHDS, name_of(asked))
    (resource,) = client.responses[-1].resources
    assert resource.name == name_of("one.default.svc.cluster.local:8080")
    assert name_of(asked) in (resource.name, *resource.aliases)
    client.see(mesh(service("one", endpoint(9101), local_aliases=("one", "uno"))))
    assert name_of("uno") in client.responses[-1].resources[0].aliases


def test_a_host_below_a_wildcard_is_found() -> None:
    client = Client(cache_of(mesh(WILD)))
    client.ask(VHDS, name_of("a.b.example.org:8080"))
    (resource,) = client.responses[-1].resources
    assert name_of("a.b.example.org:8080") in resource.aliases


def test_csds_knows_what_stands_below_a_wildcard() -> None:
    client = Client(cache_of(mesh(WILD)))
    below, unknown = name_of("a.example.org:8080"), name_of("unknown")
    client.ask(VHDS, below, unknown)
    assert client.told() == {below: SYNCED, unknown: NOT_SENT}


def test_an_unknown_host_is_answered_without_a_body_until_there_is_one() -> None:
    client = Client(cache_of(mesh(ONE)))
    client.ask(VHDS, name_of("two"))
    (resource,) = client.responses[-1].resources
    assert (resource.name, list(resource.aliases)) == (name_of("two"), [name_of("two")])
    assert not resource.HasField("resource")
    client.see(mesh(ONE, TWO))
    (resource,) = client.responses[-1].resources
    assert resource.HasField("resource")
    client.see(mesh(ONE))
    own = name_of("two.default.svc.cluster.local:8080")
    assert list(client.responses[-1].removed_resources) == [name_of("two"), own]
    client.see(mesh(ONE, TWO))
    assert client.responses[-1].resources[0].name == own


def test_hosts_below_one_wildcard_are_one_resource() -> None:
    client = Client(cache_of(mesh(WILD)))
    asked = [name_of(f"{host}.example.org:8080") for host in "ab"]
    client.ask(VHDS, *asked)
    (resource,) = client.responses[-1].resources
    assert set(asked) <= set(resource.aliases)
    client.see(mesh())
    assert set(client.responses[-1].removed_resources) == {*asked, resource.name}


def test_a_virtual_host_goes_only_when_none_of_its_names_is_asked_for() -> None:
    both = service("one", endpoint(9101), local_aliases=("one", "uno"))
    client = Client(cache_of(mesh(both)))
    client.ask(VHDS, name_of("one"), name_of("uno"))
    client.see(mesh(ONE))
    gone = [name for one in client.responses for name in one.removed_resources]
    assert gone == [name_of("uno")]
    alone = Client(cache_of(mesh(both)))
    alone.ask(VHDS, name_of("uno"))
    alone.see(mesh(ONE))
    assert len(alone.responses[-1].removed_resources) == 2


def test_who_comes_back_with_what_it_has_gets_nothing() -> None:
    cache = cache_of(mesh(ONE, TWO))
    name = name_of("one.default.svc.cluster.local:8080")
    version = cache.snapshot(LAZY).of(VHDS)[name].version
    client = Client(cache)
    client.ask(VHDS, name_of("one"), **{name: version})
    assert not client.responses


def test_who_comes_back_hears_what_is_gone() -> None:
    own = name_of("two.default.svc.cluster.local:8080")
    for asked in (name_of("two"), own):
        client = Client(cache_of(mesh(ONE)))
        client.ask(VHDS, asked, **{own: "1"})
        assert own in client.responses[-1].removed_resources


def test_an_empty_subscription_to_virtual_hosts_is_answered() -> None:
    client = Client(cache_of(mesh(ONE)))
    client.ask(RDS, "http_proxy")
    client.ask(VHDS)
    assert list(client.responses[-1].removed_resources) == [name_of("none")]


def test_what_its_listeners_name_comes_unasked() -> None:
    authorizer = Authorizer("ext", "grpc", host="one.default.svc.cluster.local", port=8080)
    policy = AccessPolicy("default", "ask", "CUSTOM", (Rule(0),), provider="ext")
    security = Security(access=(policy,), authorizers=(authorizer,))
    guarded = Mesh(
        "cluster.local", (ONE, TWO), (workload("messenger-1", inbound()),), security=security
    )
    client = Client(cache_of(guarded), node("messenger-1", on_demand=True))
    client.ask(CDS)
    assert set(client.held[CDS]) == {"inbound|9001||", cluster("one")}
