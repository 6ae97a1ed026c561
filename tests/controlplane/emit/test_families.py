"""Where proxies listen whose pods have addresses of IPv4, of IPv6 or of both."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node, parse
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse as parse_yaml
from controlplane.mesh.model import Mesh
from controlplane.resources import assemble
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS

MESH = """
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, "fd00:96::1"]
  ipFamilies: [IPv4, IPv6]
  selector: {app: me}
  ports: [{name: http, port: 80}, {name: tcp, port: 81}]
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {clusterIP: "fd00:96::2", selector: {app: me}, ports: [{name: tcp, port: 82}]}
---
apiVersion: v1
kind: Service
metadata: {name: apart}
spec: {clusterIP: None, ipFamilies: [IPv6, IPv4], ports: [{name: tcp, port: 83}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: apart-4, labels: {kubernetes.io/service-name: apart}}
addressType: IPv4
ports: [{name: tcp, port: 83}]
endpoints: [{addresses: [10.1.0.7], targetRef: {kind: Pod, name: a, namespace: default}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: apart-6, labels: {kubernetes.io/service-name: apart}}
addressType: IPv6
ports: [{name: tcp, port: 83}]
endpoints: [{addresses: ["fd00:1::7"], targetRef: {kind: Pod, name: a, namespace: default}}]
---
apiVersion: v1
kind: Pod
metadata: {name: me, labels: {app: me, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: me, containers: [{name: me}]}
status: {podIP: 10.1.0.9, podIPs: [{ip: 10.1.0.9}, {ip: "fd00:1::9"}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.test]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [a.test]
  gateways: [edge]
  http: [{route: [{destination: {host: both, port: {number: 80}}}]}]
"""
Places = dict[str, list[str]]


def mesh() -> Mesh:
    parsed = parse_yaml(MESH, "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects), "cluster.local")[0]


def node(address: str, kind: str = "sidecar", name: str = "other", **metadata: str) -> Node:
    made = EnvoyNode(id=f"{kind}~{address}~{name}.default~default.svc.cluster.local")
    made.metadata.update(metadata)
    return parse(made)


def places(who: Node) -> Places:
    """The addresses of each listener; as the cache has it, so it is emitted."""
    found = emit(mesh(), who)
    cache = SnapshotCache(mesh(), lambda _: ())
    given = {name: one.body for name, one in cache.snapshot(who).of(LDS).items()}
    assert given == {name: one.body for name, one in assemble(found.encode()).of(LDS).items()}
    return {one.name: addresses(one) for one in found.listeners}


def addresses(one: Listener) -> list[str]:
    every = (one.address, *(more.address for more in one.additional_addresses))
    assert len({place.socket_address.port_value for place in every}) == 1
    return [place.socket_address.address for place in every]


def test_of_both_it_listens_at_both() -> None:
    said = node("10.1.0.5", INSTANCE_IPS="10.1.0.5,fd00:1::5")
    assert places(said) == {
        "virtualOutbound": ["0.0.0.0", "::"],
        "0.0.0.0_80": ["0.0.0.0", "::"],
        "10.96.0.1_81": ["10.96.0.1"],
        "fd00:96::1_81": ["fd00:96::1"],
        "fd00:96::2_82": ["fd00:96::2"],
        "10.1.0.7_83": ["10.1.0.7"],
        "fd00:1::7_83": ["fd00:1::7"],
    }


def test_of_one_it_knows_the_addresses_of_that_one() -> None:
    """Where a service has no other it stays known."""
    assert places(node("10.1.0.5", INSTANCE_IPS="10.1.0.5, 10.2.0.5, nonsense")) == {
        "virtualOutbound": ["0.0.0.0"],
        "0.0.0.0_80": ["0.0.0.0"],
        "10.96.0.1_81": ["10.96.0.1"],
        "fd00:96::2_82": ["fd00:96::2"],
        "10.1.0.7_83": ["10.1.0.7"],
    }
    assert places(node("fd00:1::5")) == {
        "virtualOutbound": ["::"],
        "::_80": ["::"],
        "fd00:96::1_81": ["fd00:96::1"],
        "fd00:96::2_82": ["fd00:96::2"],
        "fd00:1::7_83": ["fd00:1::7"],
    }


def test_a_pods_addresses_count_and_its_application_is_reached_in_each() -> None:
    me = node("10.1.0.9", name="me", SERVICE_ACCOUNT="me")
    found = places(me)
    assert found["virtualInbound"] == found["virtualOutbound"] == ["0.0.0.0", "::"]
    (inside,) = [one for one in emit(mesh(), me).clusters if one.name == "inbound|80||"]
    binds = inside.upstream_bind_config
    sources = (binds.source_address, *(one.address for one in binds.extra_source_addresses))
    assert [one.address for one in sources] == ["127.0.0.6", "::6"]


def test_gateways_listen_at_their_families() -> None:
    labels = {"LABELS": {"app": "edge"}}
    for address, more, wanted in (
        ("10.1.0.5", "", ["0.0.0.0"]),
        ("fd00::5", "", ["::"]),
        ("10.1.0.5", "fd00::5", ["0.0.0.0", "::"]),
    ):
        who = node(address, "router", INSTANCE_IPS=more, **labels)  # type: ignore[arg-type]
        assert list(places(who).values()) == [wanted]
