"""The laptop's gateway: which names reach which service, and that nothing dangles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.config.route.v3.route_components_pb2 import VirtualHost

from controlplane.emit import envoy
from controlplane.emit.node import BadNode, Node, parse
from controlplane.mesh.model import (
    Destination,
    Endpoint,
    HttpRule,
    Mesh,
    Service,
    ServicePort,
    Subset,
)
from controlplane.snapshot import Draft, check

GATEWAY = Node(
    "gateway",
    namespace="weft-system",
    workload="gateway",
    weft_agent=True,
    gateway=("127.0.0.1", 8080),
)


def service(name: str, namespace: str = "default", protocol: str = "HTTP") -> Service:
    return Service(
        f"{name}.{namespace}.svc.cluster.local",
        name,
        namespace,
        (ServicePort(80, "http", protocol),),  # type: ignore[arg-type]
        (Endpoint("127.0.0.1", {80: 9000}, {"version": "v1"}, mesh=True),),
        (name, f"{name}.{namespace}"),
    )


def emitted(*services: Service) -> Draft:
    draft = envoy.emit(Mesh("cluster.local", services), GATEWAY)
    assert check(draft) == ()
    return draft


def hosts(*services: Service) -> dict[str, VirtualHost]:
    (routes,) = emitted(*services).routes
    return {domain: host for host in routes.virtual_hosts for domain in host.domains}


def test_a_service_of_the_default_namespace_has_a_short_name() -> None:
    names = set(hosts(service("greeter")))
    both = {"greeter.localhost", "greeter.default.localhost"}
    assert names == both | {f"{name}:8080" for name in both} | {"*"}


def test_a_name_that_two_namespaces_have_is_short_only_for_the_default_one() -> None:
    found = hosts(service("cart", "shop"), service("cart"))
    assert found["cart.localhost"].name == "cart.default.svc.cluster.local:80"
    assert found["cart.shop.localhost"].name == "cart.shop.svc.cluster.local:80"


def test_a_name_that_no_namespace_may_claim_stays_long() -> None:
    found = hosts(service("cart", "shop"), service("cart", "lab"))
    assert "cart.localhost" not in found
    assert "cart.shop.localhost" in found


def test_a_name_that_one_namespace_has_alone_is_short() -> None:
    assert "cart.localhost" in hosts(service("cart", "shop"))


def test_only_http_services_of_the_mesh_have_names() -> None:
    outside = replace(service("api"), external=True)
    assert set(hosts(service("db", protocol="TCP"), outside)) == {"*"}


def test_another_name_is_a_404_that_says_how_to_ask() -> None:
    (route,) = hosts()["*"].routes
    assert route.direct_response.status == 404
    assert "http://SERVICE.localhost:8080/" in route.direct_response.body.inline_string


def test_the_rules_of_the_service_hold() -> None:
    name = "messenger.default.svc.cluster.local"
    rule = HttpRule((), (Destination(name, 90, "v1"), Destination(name, 10, "v2")))
    subsets = tuple(Subset(version, {"version": version}) for version in ("v1", "v2"))
    messenger = replace(service("messenger"), rules=(rule,), subsets=subsets)
    weighted = hosts(messenger)["messenger.localhost"].routes[0].route.weighted_clusters
    assert [(c.name, c.weight.value) for c in weighted.clusters] == [
        (f"outbound|80|v1|{name}", 90),
        (f"outbound|80|v2|{name}", 10),
    ]


def test_the_listener_stands_where_the_node_says() -> None:
    (listener,) = emitted(service("greeter")).listeners
    assert listener.name == "127.0.0.1_8080"
    assert listener.address.socket_address.port_value == 8080


def test_the_node_says_it_in_its_metadata() -> None:
    node = EnvoyNode(id="gateway")
    node.metadata.update({"WEFT_GATEWAY": "127.0.0.1:8081"})
    assert parse(node).gateway == ("127.0.0.1", 8081)


@pytest.mark.parametrize("text", ["8080", "127.0.0.1:", "127.0.0.1:http", ":8080", "h:70000"])
def test_metadata_that_is_no_address_is_named(text: str) -> None:
    node = EnvoyNode(id="gateway")
    node.metadata.update({"WEFT_GATEWAY": text})
    with pytest.raises(BadNode, match="WEFT_GATEWAY"):
        parse(node)
