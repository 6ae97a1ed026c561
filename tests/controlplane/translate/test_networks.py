"""In which network a workload is, and by which gateways others reach it."""

from __future__ import annotations

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Endpoint, Mesh, Status
from controlplane.mesh.networks import NetworkGateway, Networks
from controlplane.translate import build
from controlplane.translate.memo import Memo

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
    networks:
      one:
        endpoints: [{fromCidr: 10.1.0.0/16}, {fromCidr: "fd00:1::/32"}]
        gateways: [{address: 192.0.2.1, port: 15443}]
      two:
        endpoints: [{fromCidr: 10.0.0.0/8}, {fromRegistry: elsewhere}]
        gateways:
        - {registryServiceName: east.istio-system.svc.cluster.local, port: 443}
        - {registryServiceName: lost.istio-system.svc.cluster.local, port: 443}
---
apiVersion: v1
kind: Service
metadata: {name: east, namespace: istio-system}
spec: {type: LoadBalancer, externalIPs: [192.0.2.3], ports: [{port: 443}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: gw.example.org}]}}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.9, selector: {app: web}, ports: [{name: http, port: 80}]}
"""
ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s, labels: {app: web, security.istio.io/tlsMode: %s}}
spec: {%s}
"""
LABELLED = """
---
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: istio-system, labels: {topology.istio.io/network: three%s}}
spec: {type: LoadBalancer%s, ports: [{port: 15443}]}
"""
SYSTEM = """
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: system}}
"""


def built(text: str, memo: Memo | None = None) -> tuple[Mesh, tuple[Status, ...]]:
    parsed = parse(text, "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects), "cluster.local", memo)


def entry(name: str, spec: str, mode: str = "istio") -> str:
    return ENTRY % (name, mode, spec)


def endpoints(mesh: Mesh) -> dict[str, Endpoint]:
    found = mesh.service("web.default.svc.cluster.local")
    assert found is not None
    return {one.workload.removeprefix("default/"): one for one in found.endpoints}


def test_of_what_is_said_the_nearest_counts() -> None:
    plain = Networks(ranges=(("10.0.0.0/8", "wide"), ("10.1.0.0/16", "narrow"), ("::/0", "six")))
    label = {"topology.istio.io/network": "said"}
    assert plain.at("10.1.2.3", label) == "said"
    assert plain.at("10.1.2.3", {}) == "narrow"
    assert plain.at("10.2.2.3", {}) == "wide"
    assert plain.at("fd00::1", {}) == "six"
    assert [plain.at(one, {}) for one in ("192.0.2.1", "host.test", "")] == ["", "", ""]
    assert Networks(default="system", ranges=plain.ranges).at("10.1.2.3", {}) == "system"


def test_workloads_and_gateways_are_found() -> None:
    entries = (
        entry("a", "address: 10.1.0.1")
        + entry("b", "address: 10.2.0.1")
        + entry("c", "address: 10.1.0.2, network: two")
        + entry("d", "network: one")
    )
    mesh, statuses = built(CONFIG + SERVICE + entries)
    found = {name: one.network for name, one in endpoints(mesh).items()}
    assert found == {"a": "one", "b": "two", "c": "two", "d": "one"}
    assert {one.name: one.network for one in mesh.workloads} == found
    service = mesh.service("web.default.svc.cluster.local")
    assert service is not None
    assert service.gateways == (
        NetworkGateway("one", "192.0.2.1", 15443),
        NetworkGateway("two", "192.0.2.2", 443),
        NetworkGateway("two", "192.0.2.3", 443),
        NetworkGateway("two", "gw.example.org", 443),
    )
    told = {(one.code, one.position.line) for one in statuses}
    assert {("NoGateway", 15), ("NoEffect", 12)} <= told


def test_a_service_is_the_gateway_of_its_label() -> None:
    ports = (", networking.istio.io/gatewayPort: '31443'", ", externalIPs: [192.0.2.9]")
    text = LABELLED % ("east", "", ", externalIPs: [192.0.2.8]") + LABELLED % ("west", *ports)
    text += LABELLED % ("none", "", "")
    mesh, statuses = built(text + SERVICE + entry("a", "address: 10.1.0.1, network: three"))
    service = mesh.service("web.default.svc.cluster.local")
    assert service is not None
    assert [(one.address, one.port) for one in service.gateways] == [
        ("192.0.2.8", 15443),
        ("192.0.2.9", 31443),
    ]
    assert [one.object for one in statuses if one.code == "NoAddress"] == [
        "Service istio-system/none"
    ]


def test_a_gateway_of_gateway_api_is_one_by_its_label() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: remote, namespace: istio-system, labels: {topology.istio.io/network: three}}
spec:
  gatewayClassName: istio-remote
  addresses: [{value: 192.0.2.5}, {type: Hostname, value: gw.example.org}]
  listeners:
  - {name: cross, port: 15443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: plain, port: 80, protocol: HTTP}
  - name: other
    port: 443
    protocol: TLS
    tls: {mode: Passthrough, options: {gateway.istio.io/listener-protocol: auto-passthrough}}
"""
    mesh, _ = built(text + SERVICE + entry("a", "address: 10.1.0.1, network: three"))
    service = mesh.service("web.default.svc.cluster.local")
    assert service is not None
    assert [(one.address, one.port) for one in service.gateways] == [
        ("192.0.2.5", 443),
        ("192.0.2.5", 15443),
        ("gw.example.org", 443),
        ("gw.example.org", 15443),
    ]


def test_the_systems_namespace_says_where_the_cluster_is() -> None:
    """Not where things are that are no part of the mesh."""
    outside = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec:
  hosts: [out.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.0.7}, {address: 10.1.0.8, network: far}]
"""
    mesh, _ = built(CONFIG + SYSTEM + SERVICE + entry("a", "address: 10.1.0.1") + outside)
    assert endpoints(mesh)["a"].network == "system"
    found = mesh.service("out.test")
    assert found is not None
    assert [one.network for one in found.endpoints] == ["", "far"]


@pytest.mark.parametrize(
    ("spec", "mode", "code", "asked"),
    [
        ("address: 10.1.0.1, network: nowhere", "istio", "NoEffect", True),
        ("network: nowhere", "istio", "NoGateway", False),
        ("address: 10.1.0.1, network: one", "disabled", "NotSupported", True),
    ],
)
def test_what_can_not_be_reached_is_told(spec: str, mode: str, code: str, asked: bool) -> None:
    mesh, statuses = built(CONFIG + SERVICE + entry("a", spec, mode))
    assert ("a" in endpoints(mesh)) is asked
    assert code in [one.code for one in statuses if one.object == "WorkloadEntry default/a"]


def test_a_change_of_a_gateway_is_one_of_the_services_behind_it() -> None:
    memo = Memo()
    other = SERVICE.replace("web", "other")
    text = CONFIG + SERVICE + other + entry("a", "address: 10.1.0.1")
    before, _ = built(text, memo)
    moved = text.replace("192.0.2.1,", "192.0.2.7,")
    after, _ = built(moved, memo)
    assert after == built(moved)[0]
    changed = [one.name for one in after.services if one is not before.service(one.hostname)]
    assert "web" in changed
    assert "other" not in changed


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ("{address: 192.0.2.1, port: 15443}", "{port: 15443}", 10, "registryServiceName"),
        ("address: 192.0.2.1", "address: alone", 10, "neither an IP address nor a full name"),
        ("port: 15443", "port: 0", 10, "port"),
        ("fromCidr: 10.1.0.0/16", "fromCidr: 10.1", 9, "10.1"),
        ("{fromCidr: 10.1.0.0/16}", "{}", 9, "give one of"),
    ],
)
def test_mistakes_have_their_place(old: str, new: str, line: int, word: str) -> None:
    parsed = parse(CONFIG.replace(old, new), "m.yaml")
    (status,) = [one for one in parsed.statuses if one.severity == "error"]
    assert status.position.line == line
    assert word in status.message


@pytest.mark.parametrize("port", ["0", "65536", "9" * 63, "tls"])
def test_a_label_that_is_no_port_is_told(port: str) -> None:
    label = f", networking.istio.io/gatewayPort: '{port}'"
    text = LABELLED % ("east", label, ", externalIPs: [192.0.2.8]")
    mesh, statuses = built(text + SERVICE + entry("a", "address: 10.1.0.1, network: three"))
    service = mesh.service("web.default.svc.cluster.local")
    assert service is not None
    assert [one.port for one in service.gateways] == [15443]
    assert [one.object for one in statuses if repr(port) in one.message] == [
        "Service istio-system/east"
    ]


def test_objects_that_stay_hear_of_networks_that_change() -> None:
    """Of their own network, and of whether it has a gateway."""
    entries = "".join(
        entry(name, f"address: 10.1.0.{at}{network}", mode)
        for at, (name, network, mode) in enumerate(
            (("a", "", "istio"), ("b", ", network: two", "istio"), ("c", ", network: two", "none"))
        )
    )
    memo, found = Memo(), set()
    stays = parse(entries + SERVICE, "m.yaml").objects
    for text in ("", CONFIG, SYSTEM, CONFIG + SYSTEM, CONFIG.replace("two", "four"), ""):
        snapshot = Snapshot([*stays, *parse(text, "n.yaml").objects])
        after = build(snapshot, "cluster.local", memo)
        assert after == build(snapshot, "cluster.local")
        found.add(tuple(one.network for one in after[0].workloads))
    assert len(found) == 3
