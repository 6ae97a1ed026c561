"""Where a gateway or an Ingress is reached, told in its status."""

from __future__ import annotations

import pytest

from controlplane.inventory import Inventory
from controlplane.kinds.parse import parse
from controlplane.mesh.conditions import CONTROLLERS, ObjectConditions
from controlplane.translate import build

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw, namespace: edge}}
spec:
  gatewayClassName: {of}
  addresses: [{address}]
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: edge}
spec: {parentRefs: [{name: gw}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: gw-1
  namespace: edge
  labels: {gateway.networking.k8s.io/gateway-name: gw, istio: ingressgateway}
spec: {containers: [{name: proxy}]}
status: {phase: Running, podIP: 10.0.0.7, conditions: [{type: Ready, status: "True"}]}
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {ingressClassName: weft, defaultBackend: {service: {name: web, port: {number: 80}}}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: gw, namespace: edge}}
spec: {{type: {of}, selector: {{istio: ingressgateway}}, ports: [{{name: http, port: 80}}], {more}}}
status: {{loadBalancer: {{ingress: [{ingress}]}}}}
"""


BALANCED = "{ip: 192.0.2.1, ipMode: VIP}, {hostname: edge.example.com}"


def told(*texts: str) -> dict[str, ObjectConditions]:
    inventory = Inventory()
    for text in texts:
        (made,) = parse(text, "m.yaml").objects
        inventory.put(made)
    mesh, _ = build(inventory.snapshot(), "cluster.local")
    return {one.kind: one for one in mesh.conditions}


def gateway(address: str = "", of: str = "weft") -> str:
    return GATEWAY.format(address=address, of=of)


def service(of: str = "LoadBalancer", ingress: str = "", more: str = "clusterIP: 10.96.0.5") -> str:
    return SERVICE.format(of=of, ingress=ingress, more=more)


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ((), ("10.0.0.7",)),
        ((service(ingress=BALANCED),), ("192.0.2.1", "edge.example.com")),
        ((service(more="externalIPs: [192.0.2.9]"),), ("192.0.2.9",)),
        ((service("ClusterIP"),), ("10.96.0.5",)),
        ((service("ClusterIP", more="clusterIP: None"),), ()),
        ((service(),), ()),
    ],
    ids=["pods", "balanced", "external", "inside", "headless", "still-waiting"],
)
def test_a_gateway_is_reached_at_the_service_before_its_pods(
    before: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    found = told(gateway(), POD, INGRESS, *before)
    assert found["Gateway"].addresses == wanted
    assert found["Ingress"].addresses == wanted


def test_a_gateway_that_nobody_serves_has_no_address() -> None:
    found = told(gateway(), INGRESS)
    assert found["Gateway"].addresses == ()
    assert found["Ingress"].addresses == ()


def test_of_addresses_that_are_asked_for_no_other_is_told() -> None:
    asked = gateway("{type: IPAddress, value: 10.0.0.7}")
    assert told(asked, POD, service("ClusterIP"))["Gateway"].addresses == ("10.0.0.7",)
    elsewhere = gateway("{type: IPAddress, value: 10.0.0.8}")
    assert told(elsewhere, POD)["Gateway"].addresses == ()
    named = gateway("{type: Hostname, value: gw}")
    assert told(named, POD, service(ingress="{ip: 192.0.2.1}"))["Gateway"].addresses == (
        "192.0.2.1",
    )


@pytest.mark.parametrize(
    ("of", "controller"), [("weft", CONTROLLERS[0]), ("istio", CONTROLLERS[1])]
)
def test_routes_are_told_of_by_the_controller_of_their_gateways_class(
    of: str, controller: str
) -> None:
    (parent,) = told(gateway(of=of), POD, ROUTE)["HTTPRoute"].parents
    assert parent.controller == controller


def test_a_class_has_the_controller_that_it_names() -> None:
    theirs = "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass,"
    theirs += " metadata: {name: weft}, spec: {controllerName: istio.io/gateway-controller}}"
    (parent,) = told(gateway(), POD, ROUTE, theirs)["HTTPRoute"].parents
    assert parent.controller == CONTROLLERS[1]
