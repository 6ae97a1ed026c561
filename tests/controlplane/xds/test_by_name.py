"""An intercepting sidecar on demand: it holds what it calls, of all else nothing; and what it gets
by name is what others hold from the start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import MessageToDict

from controlplane.emit import on_demand
from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh
from controlplane.resources import Resource, Snapshot
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.stream import by_wildcard
from protos.types import CDS, EDS, LDS, RDS, VHDS
from tests.support.intercepting import CASES, intercepted, meshed
from tests.support.mesh import node

WHOLE = node("messenger-1", interception="REDIRECT", http_proxy_port=0, weft_agent=True)
LAZY = replace(WHOLE, on_demand=True)
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  clusterIP: {ip}
  selector: {{app: {name}}}
  ports:
  - {{name: http, port: 80}}
  - {{name: tcp, port: {tcp}}}
  - {{name: some, port: 83}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-1, namespace: default}}
spec: {{address: 10.1.0.9, labels: {{app: {name}}}}}
"""
MORE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: called0, namespace: default}
spec:
  hosts: [called0]
  http:
  - {route: [{destination: {host: called0}}], mirror: {host: called1, port: {number: 83}}}
"""


def services(prefix: str, count: int, ports: int = 1) -> str:
    """ports: how many different ones for TCP."""
    return "".join(
        SERVICE.format(
            name=f"{prefix}{at}", ip=f"10.96.{len(prefix)}.{at + 1}", tcp=3306 + at % ports
        )
        for at in range(count)
    )


def snapshot(of: Mesh, who: Node = LAZY) -> Snapshot:
    return SnapshotCache(of, lambda _: ()).snapshot(who)


def found(in_: Snapshot, type_url: str, name: str) -> Resource | None:
    """What is answered to who asks for this name."""
    resources = in_.of(type_url)
    return resources.get(name) or (by_wildcard(resources, name) if type_url == VHDS else None)


def unasked(in_: Snapshot, type_url: str) -> set[str]:
    resources = in_.of(type_url)
    return {name for name in resources if resources.of_all(name)}


def held(in_: Snapshot, called: Iterable[str]) -> dict[tuple[str, str], bytes]:
    """What a proxy has that calls all ports of services."""
    names: dict[str, set[str]] = {url: unasked(in_, url) for url in (CDS, LDS)}
    names[LDS] |= {f"0.0.0.0_{port}" for port in (80, 83, 3306)}
    names[RDS], names[VHDS], names[EDS] = {"80"}, {"80/unknown.example.com"}, set()
    for at, name in enumerate(called):
        host = f"{name}.default.svc.cluster.local"
        names[LDS] |= {f"10.96.6.{at + 1}_{port}" for port in (83, 3306)}
        names[RDS].add(f"{host}:83")
        names[VHDS] |= {f"80/{name}", f"80/{host}"}
        clusters = {f"outbound|{port}||{host}" for port in (80, 83, 3306)}
        names[CDS] |= clusters
        names[EDS] |= clusters
    made = {}
    for url, every in names.items():
        for name in every:
            resource = found(in_, url, name)
            assert resource is not None, name
            made[url, name] = resource.body
    return made


CALLED = [f"called{at}" for at in range(5)]


def test_of_services_that_are_not_called_it_holds_nothing() -> None:
    few = snapshot(meshed(services("called", 5) + MORE + services("other", 5)))
    many = snapshot(meshed(services("called", 5) + MORE + services("other", 195, ports=50)))
    assert held(few, CALLED) == held(many, CALLED)
    other = "outbound|83||other7.default.svc.cluster.local"
    assert found(many, CDS, other) is not None
    assert not any("other" in name for url in (CDS, LDS) for name in unasked(many, url))


def test_what_gets_copies_of_requests_is_there_unasked() -> None:
    """Nobody waits for it; of tables by virtual host the proxy sees to it itself."""
    made = snapshot(meshed(services("called", 3) + MORE))
    assert {name for name in unasked(made, CDS) if name.startswith("outbound|")} == {
        "outbound|83||called1.default.svc.cluster.local"
    }


def _message(kind: Any, resource: Resource | None) -> Any:
    assert resource is not None
    return kind.FromString(Packed.FromString(resource.body).value)


def _text(listener: Listener) -> bytes:
    listener.ClearField("metadata")
    return listener.SerializeToString(deterministic=True)


PATCHED = (
    services("called", 2)
    + """
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: outbound, namespace: default}
spec:
  configPatches:
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: "80"}}
    patch: {operation: MERGE, value: {request_headers_to_remove: [x-patched]}}
  - applyTo: LISTENER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 65536}}
"""
)


def test_patches_hold_for_what_comes_by_name() -> None:
    made = snapshot(meshed(PATCHED))
    for name in ("80/called0", "80/unknown.example.com"):
        host = _message(VirtualHost, found(made, VHDS, name))
        assert list(host.request_headers_to_remove) == ["x-patched"]
    for name in ("virtualOutbound", "0.0.0.0_80", "0.0.0.0_3306", "10.96.6.1_3306"):
        listener = _message(Listener, made.of(LDS)[name])
        assert listener.per_connection_buffer_limit_bytes.value == 65536


@pytest.mark.parametrize("name", CASES)
def test_what_comes_by_name_is_what_others_hold(name: str) -> None:
    mesh = intercepted(name)
    draft, lazy = emit(mesh, LAZY), snapshot(mesh)
    for listener in draft.listeners:
        assert _text(_message(Listener, lazy.of(LDS)[listener.name])) == _text(listener)
        handed = listener.HasField("bind_to_port") and not listener.bind_to_port.value
        assert lazy.of(LDS).of_all(listener.name) is not handed
    for table in draft.routes:
        made = _message(RouteConfiguration, lazy.of(RDS)[table.name])
        if not made.HasField("vhds"):
            assert made == table
            continue
        assert made == on_demand.fetched(table)
        for host in table.virtual_hosts:
            for domain in host.domains:
                fetched = _message(VirtualHost, found(lazy, VHDS, f"{table.name}/{domain}"))
                assert fetched.name == f"{table.name}/{host.name}"
                fetched.name = host.name
                assert fetched == host
    for cluster in draft.clusters:
        assert cluster.name in lazy.of(CDS)


def test_it_differs_from_the_whole_by_waiting_alone() -> None:
    mesh = meshed(services("called", 1))
    whole, lazy = snapshot(mesh, WHOLE), snapshot(mesh)
    assert set(whole.of(CDS)) == set(lazy.of(CDS))
    assert set(whole.of(LDS)) < set(lazy.of(LDS))
    assert set(whole.of(RDS)) == set(lazy.of(RDS))
    for url in (CDS, LDS):
        assert unasked(whole, url) == set(whole.of(url))


def test_a_port_is_asked_at_addresses_only_where_some_service_has_one() -> None:
    http = SERVICE.format(name="web", ip="10.96.0.1", tcp=3306).replace(
        "name: some", "name: http-b"
    )
    made = snapshot(meshed(http))
    said = {
        name: MessageToDict(_message(Listener, one).metadata).get("filterMetadata")
        for name, one in made.of(LDS).items()
    }
    assert said == {
        "virtualOutbound": {"weft.on_demand": {}},
        "0.0.0.0_80": None,
        "0.0.0.0_83": None,
        "0.0.0.0_3306": {"weft.on_demand": {"ranges": ["10.96.0.0/16"]}},
        "10.96.0.1_3306": None,
    }


def test_a_port_without_a_listener_of_its_own_does_as_virtual_outbound() -> None:
    made = snapshot(meshed(services("called", 1))).of(LDS)
    outbound = _message(Listener, made["virtualOutbound"])
    stand_in = _message(Listener, made["0.0.0.0_3306"])
    assert [one.name for one in stand_in.filter_chains] == ["virtualOutbound-catchall-tcp"]
    assert stand_in.filter_chains[0] == outbound.filter_chains[1]
    assert stand_in.address.socket_address.port_value == 3306
    assert not stand_in.bind_to_port.value
    assert not stand_in.HasField("use_original_dst")


def test_a_change_makes_new_only_what_it_concerns() -> None:
    cache = SnapshotCache(meshed(services("called", 3)), lambda _: ())
    before = cache.snapshot(LAZY)
    cache.set_mesh(meshed(services("called", 4)))
    after = cache.snapshot(LAZY)
    for url in (LDS, RDS, VHDS):
        changed = after.of(url).changed_from(before.of(url))
        assert changed
        assert all("called3" in name or "10.96.6.4" in name for name in changed), url
        kept = set(before.of(url)) - changed
        assert all(after.of(url)[name] is before.of(url)[name] for name in kept)
