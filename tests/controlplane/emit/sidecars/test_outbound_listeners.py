"""Who gets the listener of an address and port, where several want it."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit.clients import Client
from controlplane.emit.envoy import emit
from controlplane.emit.sidecars import outbound
from controlplane.emit.sidecars.capture import Capture
from controlplane.emit.targets import Targets
from tests.support.intercepting import meshed
from tests.support.mesh import mesh, node, service

NODE = node("x", interception="REDIRECT", http_proxy_port=0)


def entry(name: str, number: int, protocol: str, address: str = "") -> str:
    addresses = f"addresses: ['{address}']" if address else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.example.com]
  {addresses}
  resolution: STATIC
  endpoints: [{{address: 192.0.2.1}}]
  ports: [{{name: p, number: {number}, protocol: {protocol}}}]
---"""


def listeners(*texts: str) -> dict[str, Listener]:
    return {one.name: one for one in emit(meshed("".join(texts)), NODE).listeners}


def chains(listener: Listener) -> list[str]:
    """What each chain does, the default one last: 'http', or the cluster of TCP."""
    every = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        every.append(listener.default_filter_chain)
    found = []
    for chain in every:
        relay = TcpProxy()
        is_tcp = chain.filters[-1].typed_config.Unpack(relay)
        found.append(relay.cluster if is_tcp else "http")
    return found


def tcp(name: str, port: int) -> str:
    return f"outbound|{port}||{name}.example.com"


def test_http_and_tcp_share_a_port_by_the_first_bytes() -> None:
    both = listeners(entry("a", 7000, "HTTP"), entry("b", 7000, "TCP"))["0.0.0.0_7000"]
    assert chains(both) == ["http", tcp("b", 7000)]
    assert list(both.filter_chains[0].filter_chain_match.application_protocols)
    names = [one.name.rpartition(".")[2] for one in both.listener_filters]
    assert names == ["tls_inspector", "http_inspector"]


@pytest.mark.parametrize("port", [25, 53, 3306, 27017])
def test_whoever_is_first_has_a_port_at_which_servers_speak_first(port: int) -> None:
    of_tcp = listeners(entry("a", port, "TCP"), entry("b", port, "HTTP"))[f"0.0.0.0_{port}"]
    assert (chains(of_tcp), list(of_tcp.listener_filters)) == ([tcp("a", port)], [])
    of_http = listeners(entry("a", port, "HTTP"), entry("b", port, "TCP"))[f"0.0.0.0_{port}"]
    assert chains(of_http) == ["http", "PassthroughCluster"]


def test_of_two_that_are_the_same_the_first_is_found() -> None:
    found = listeners(entry("a", 7000, "TCP", "10.9.0.1"), entry("b", 7000, "TCP", "10.9.0.1"))
    assert chains(found["10.9.0.1_7000"]) == [tcp("a", 7000)]


def test_ranges_share_the_listener_of_all_addresses() -> None:
    wide, close = (
        entry("a", 7000, "TCP", "10.9.0.0/16"),
        entry("b", 7000, "TCP", "10.9.1.0/24"),
    )
    found = listeners(wide, close)["0.0.0.0_7000"]
    assert chains(found) == [tcp("a", 7000), tcp("b", 7000), "PassthroughCluster"]
    lengths = [c.filter_chain_match.prefix_ranges[0].prefix_len.value for c in found.filter_chains]
    assert lengths == [16, 24]


def test_rules_of_tcp_are_not_for_ports_of_tls() -> None:
    both = entry("a", 443, "TLS").replace(
        "ports: [", "ports: [{name: t, number: 7000, protocol: TCP}, "
    )
    rule = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a.example.com]
  tcp:
  - match: [{destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: b.example.com, port: {number: 7001}}}]
---"""
    found = listeners(both, entry("b", 7001, "TCP"), rule)
    assert chains(found["0.0.0.0_443"]) == [tcp("a", 443), "PassthroughCluster"]
    assert chains(found["0.0.0.0_7000"]) == [tcp("b", 7001), tcp("a", 7000)]


def test_a_rules_idle_timeout_is_the_relays() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec:
  host: a.example.com
  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 90s}}}
"""
    listener = listeners(entry("a", 7000, "TCP"), rule)["0.0.0.0_7000"]
    relay = TcpProxy()
    assert listener.filter_chains[0].filters[0].typed_config.Unpack(relay)
    assert relay.idle_timeout.seconds == 90


@pytest.mark.parametrize("port", [15001, 15006])
def test_the_sidecars_own_ports_are_no_services(port: int) -> None:
    found = listeners(entry("a", port, "TCP", "10.9.0.1"), entry("b", 7000, "HTTP"))
    assert set(found) == {"virtualOutbound", "0.0.0.0_7000"}


def test_what_cannot_be_made_of_one_service_leaves_the_others_as_they_are() -> None:
    told: list[str] = []
    good = service("good", port=7000, protocol="TCP", addresses=("10.9.0.1",))
    bad = service("bad", port=7000, protocol="TCP", addresses=("10.9.0.2",))
    side = outbound.Outbound(
        Client("default", intercepts=True),
        Capture("REDIRECT", "0.0.0.0"),
        lambda name, error: told.append(f"{name}: {error}"),
    )
    before = side.draft(mesh(good, bad).services, Targets(()))
    changed = service("bad", port=7001, protocol="TCP", addresses=("not an address/x",))
    after = side.draft(mesh(good, changed).services, Targets(()))
    assert [one.name for one in after.listeners] == [one.name for one in before.listeners]
    assert "10.9.0.2_7000" in [one.name for one in after.listeners]
    assert [name.partition(":")[0] for name in told] == [changed.hostname]


def test_names_and_ranges_of_several_are_whose_came_first() -> None:
    """Envoy takes no listener with two chains for one of them, and would keep the old one."""
    ranges = entry("a", 5000, "TCP", "10.7.0.0/16', '10.8.0.0/16") + entry(
        "b", 5000, "TCP", "10.8.1.0/16', '10.9.0.0/16"
    )
    names = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: c, namespace: default}
spec:
  hosts: [c.example.com, d.example.com]
  tls:
  - match: [{sniHosts: [c.example.com]}]
    route: [{destination: {host: c.example.com, port: {number: 443}}}]
  - match: [{sniHosts: [c.example.com, d.example.com]}]
    route: [{destination: {host: d.example.com, port: {number: 443}}}]
---"""
    found = listeners(ranges, entry("c", 443, "TLS"), entry("d", 443, "TLS"), names)
    matches = [one.filter_chain_match for one in found["0.0.0.0_5000"].filter_chains]
    assert [[one.address_prefix for one in match.prefix_ranges] for match in matches] == [
        ["10.7.0.0", "10.8.0.0"],
        ["10.9.0.0"],
    ]
    secured = found["0.0.0.0_443"].filter_chains
    assert [list(one.filter_chain_match.server_names) for one in secured] == [
        ["c.example.com"],
        ["d.example.com"],
    ]
