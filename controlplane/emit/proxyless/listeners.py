"""Listeners of gRPC: for clients one by each name that they call a service (gRFC A27), for servers
one by each address where they may listen (A36), with mutual TLS (A29) and RBAC (A41).

A server's filter chains can't tell TLS from plain text, so that PERMISSIVE is mutual TLS there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import NonForwardingAction, Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit import http_actions, managers
from controlplane.emit.access import Guards
from controlplane.emit.proxyless import access, tls
from controlplane.emit.proxyless.losses import Losses
from controlplane.emit.words import over_ads, packed, socket_address
from controlplane.mesh.model import InboundPort, Workload

SERVER = "grpc/server?xds.resource.listening_address="
"""What a server asks for, before its address (gRPC's own template)."""

ROUTER = "envoy.filters.http.router"
ANY_ADDRESS = ("0.0.0.0", "[::]", "127.0.0.1", "[::1]")
"""Where a server listens that does not name the workload's address."""


def for_clients(names: Iterable[str], routes: str) -> Iterator[Listener]:
    """By each name that clients call: xds:///NAME. routes: the name of the RouteConfiguration."""
    manager = _manager([_FAULTS])
    manager.rds.CopyFrom(hcm_pb2.Rds(route_config_name=routes, config_source=over_ads()))
    entry = ApiListener(api_listener=packed(manager))
    for name in names:
        yield Listener(name=name, api_listener=entry)


def for_servers(
    workload: Workload, guards: Guards, denied: tuple[str, ...], losses: Losses
) -> Iterator[Listener]:
    """Of all ports of a workload. denied: revoked identities."""
    if guards.tokens:
        losses.note("gRPC servers check no tokens: RequestAuthentication does nothing for them")
    for port in workload.inbound:
        if port.protocol == "UDP":
            continue
        chain = _chain(port, guards, denied, losses)
        for host in dict.fromkeys((_bracketed(port.listen_address), *ANY_ADDRESS)):
            yield _server(host, port.listen_port, chain)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _server(host: str, port: int, chain: FilterChain) -> Listener:
    """gRPC compares the address with its own."""
    return Listener(
        name=f"{SERVER}{host}:{port}",
        address=socket_address(host.strip("[]"), port),
        filter_chains=[chain],
    )


def _chain(
    port: InboundPort, guards: Guards, denied: tuple[str, ...], losses: Losses
) -> FilterChain:
    filters = list(access.http_filters(guards, port, denied, losses))
    manager = _manager(filters)
    manager.route_config.CopyFrom(_everything(port))
    chain = FilterChain(filters=[managers.as_filter(manager)])
    if port.mtls != "DISABLE":
        chain.transport_socket.CopyFrom(tls.downstream())
    if port.mtls == "PERMISSIVE":
        losses.note(
            f"gRPC servers can't take both TLS and plain text: port {port.listen_port} is STRICT"
        )
    return chain


def _everything(port: InboundPort) -> RouteConfiguration:
    route = Route(name="default", non_forwarding_action=NonForwardingAction())
    route.match.prefix = "/"
    host = VirtualHost(name=f"inbound|{port.listen_port}", domains=["*"], routes=[route])
    return RouteConfiguration(name=host.name, virtual_hosts=[host])


_FAULTS = hcm_pb2.HttpFilter(name=http_actions.FAULT, typed_config=packed(HTTPFault()))
_ROUTER = hcm_pb2.HttpFilter(name=ROUTER, typed_config=packed(Router()))


def _manager(before: Iterable[hcm_pb2.HttpFilter]) -> managers.HttpConnectionManager:
    return managers.HttpConnectionManager(http_filters=[*before, _ROUTER])
