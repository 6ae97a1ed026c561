"""Listeners of a gateway: one for each address and port, with a filter chain for each of its
servers, chosen by the server name of TLS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from envoy.config.core.v3.base_pb2 import TrafficDirection, TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit import families, http_actions, managers, metering, names, tracing, tunnels
from controlplane.emit.access import Guards, http_filters, network_filters
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.explanations import of_tokens
from controlplane.emit.gateways import tls
from controlplane.emit.gateways.crossing import crossing, passed_on
from controlplane.emit.gateways.places import Place
from controlplane.emit.gateways.routes import configuration
from controlplane.emit.node import Node
from controlplane.emit.targets import Targets
from controlplane.emit.words import over_ads, packed, seconds, socket_address
from controlplane.mesh.gateways import Gateway, Server, ServerTls, StreamRoute
from controlplane.mesh.model import ConnectionPool, Destination, Service
from controlplane.mesh.rule_filters import filters_of
from controlplane.mesh.telemetry import Logs
from protos.frozen import frozen

HttpConnectionManager = managers.HttpConnectionManager
TCP_PROXY = "envoy.filters.network.tcp_proxy"
NAMES_WITHOUT = ("", "*")


@dataclass(slots=True)
class Made:
    listeners: list[Listener] = field(default_factory=list)
    routes: list[RouteConfiguration] = field(default_factory=list)


@frozen
class Context:
    """What all listeners of one gateway proxy have in common."""

    place: Place
    node: Node
    guards: Guards
    targets: Targets
    trust_domains: tuple[str, ...]
    logs: Logs = DEFAULT
    services: tuple[Service, ...] = ()


def listeners(context: Context) -> Made:
    made = Made()
    grouped: dict[tuple[str, int], list[tuple[Gateway, Server]]] = {}
    for gateway in context.place.gateways:
        for server in gateway.servers:
            address = context.place.address_of(server)
            for port in context.place.ports_of(gateway, server):
                grouped.setdefault((address, port), []).append((gateway, server))
    for (address, port), servers in sorted(grouped.items(), key=lambda item: item[0]):
        builder = _Builder(context, port, made)
        listener = Listener(
            name=names.listener(address, port),
            address=socket_address(address, port),
            traffic_direction=TrafficDirection.OUTBOUND,
            filter_chains=list(builder.chains(servers)),
        )
        if address == context.place.address:
            families.listen_at(listener, port, context.place.more)
        if any(server.is_tls for _, server in servers):
            listener.listener_filters.append(managers.inspector())
        if listener.filter_chains:
            made.listeners.append(listener)
    return made


class _Builder:
    """The filter chains of one listener. No two have the same match: Envoy would refuse all."""

    def __init__(self, context: Context, port: int, made: Made) -> None:
        self._context = context
        self._port = port
        self._made = made
        self._taken: set[tuple[bool, str]] = set()

    def chains(self, servers: list[tuple[Gateway, Server]]) -> Iterator[FilterChain]:
        plain = [server for _, server in servers if not server.is_tls]
        yield from self._plain([one for one in plain if one.protocol == "HTTP"])
        for gateway, server in servers:
            if server.is_tls and server.protocol == "HTTP":
                yield from self._secured(gateway, server)
            elif server.by_name:
                yield from self._by_name(server)
            elif server.protocol == "STREAM":
                yield from self._streams(server)

    # ------------------------------------------------------------------ HTTP

    def _plain(self, servers: list[Server]) -> Iterator[FilterChain]:
        """All servers of the port share one chain, and their hosts one route configuration."""
        if servers and (free := self._free(False, ())) is not None:
            name = names.plain_routes(self._port, servers[0].bind)
            yield self._http(name, servers, free)

    def _secured(self, gateway: Gateway, server: Server) -> Iterator[FilterChain]:
        if (free := self._free(True, server.hosts)) is None:
            return
        name = names.secured_routes(self._port, server.name, gateway.name)
        chain = self._http(name, [server], free)
        if server.tls is not None:
            chain.transport_socket.CopyFrom(self._tls(server.tls, tls.HTTP_ALPN))
        yield chain

    def _http(self, name: str, servers: list[Server], hosts: tuple[str, ...]) -> FilterChain:
        context = self._context
        number = servers[0].port
        virtual_hosts = [host for server in servers for host in server.virtual_hosts]
        self._made.routes.append(
            configuration(name, virtual_hosts, number, context.node, context.targets)
        )
        guarding = http_filters(context.guards, self._port, (number,), reroute=True)
        wanted = filters_of(rule for host in virtual_hosts for rule in host.rules)
        guarding += http_actions.http_filters(wanted)
        stat_prefix = f"outbound_0.0.0.0_{self._port}"
        counting = metering.edge(context.logs.metered.client)
        logs = context.logs.client
        manager = managers.manager(stat_prefix, context.guards, guarding, logs, counting)
        tracing.of_gateway(manager, context.logs)
        manager.rds.route_config_name = name
        manager.rds.config_source.CopyFrom(over_ads())
        manager.use_remote_address.value = True
        # What a client says of its certificate is not to be believed; what it showed is.
        manager.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
        manager.set_current_client_cert_details.subject.value = True
        manager.set_current_client_cert_details.uri = True
        manager.set_current_client_cert_details.dns = True
        chain = self._chain([managers.as_filter(manager)], hosts)
        if context.guards.tokens:
            chain.metadata.CopyFrom(of_tokens(context.guards.tokens, context.guards.in_body))
        return chain

    # ------------------------------------------------------------------ streams

    def _streams(self, server: Server) -> Iterator[FilterChain]:
        for route in server.streams:
            wanted = route.server_names or server.hosts
            free = self._free(server.is_tls, wanted if server.is_tls else ())
            if free is None:
                continue
            chain = self._chain(self._relay(server, route), free)
            if server.tls is not None:
                chain.transport_socket.CopyFrom(self._tls(server.tls, ()))
            yield chain

    def _by_name(self, server: Server) -> Iterator[FilterChain]:
        """One for each cluster that mutual TLS may be meant for."""
        context = self._context
        for service in crossing(context.services, server):
            for name in passed_on(service):
                if (free := self._free(True, [name])) is None:
                    continue
                proxy = TcpProxy(stat_prefix=name, cluster=name)
                proxy.access_log.extend(managers.access_logs(context.logs.client, context.guards))
                guarding = network_filters(context.guards, self._port, (server.port,))
                relay = Filter(name=TCP_PROXY, typed_config=packed(proxy))
                chain = self._chain([*guarding, *self._counted(relay)], free)
                chain.filter_chain_match.application_protocols.extend(names.MESH_PROTOCOLS)
                yield chain

    def _relay(self, server: Server, route: StreamRoute) -> list[Filter]:
        context = self._context
        proxy = TcpProxy(stat_prefix=f"outbound_{self._port}")
        logs = managers.access_logs(context.logs.client, context.guards)
        proxy.access_log.extend(logs)
        pool = _pool(route.destinations, context.services)
        _set_clusters(proxy, route.destinations, server.port, context.targets, pool)
        relay = Filter(name=TCP_PROXY, typed_config=packed(proxy))
        guarding = network_filters(context.guards, self._port, (server.port,))
        return [*guarding, *self._counted(relay)]

    def _counted(self, relay: Filter) -> list[Filter]:
        metered = self._context.logs.metered
        return metering.relayed(metered, metered.client, relay)

    # ------------------------------------------------------------------ chains

    def _tls(self, settings: ServerTls, alpn: tuple[str, ...]) -> TransportSocket:
        context = self._context
        return tls.downstream(settings, context.trust_domains, alpn, context.guards.mutual_tls)

    def _free(self, secured: bool, hosts: Iterable[str]) -> tuple[str, ...] | None:
        """The server names that no chain has yet; () takes any. None: all are taken."""
        wanted = [host.lower() for host in hosts if host not in NAMES_WITHOUT] or [""]
        free = [host for host in dict.fromkeys(wanted) if (secured, host) not in self._taken]
        self._taken.update((secured, host) for host in free)
        if not free:
            return None
        return tuple(host for host in free if host)

    def _chain(self, filters: list[Filter], hosts: tuple[str, ...]) -> FilterChain:
        chain = FilterChain(filters=filters)
        if hosts:
            chain.filter_chain_match.server_names.extend(hosts)
        return chain


def _pool(destinations: Sequence[Destination], services: Iterable[Service]) -> ConnectionPool:
    """Of the first of them: one connection can't be bounded by several."""
    first = destinations[0]
    service = next((one for one in services if one.hostname == first.host), None)
    if service is None:
        return ConnectionPool()
    return service.port_policies.get(first.port or 0, service.policy).pool


def _set_clusters(
    proxy: TcpProxy,
    destinations: tuple[Destination, ...],
    port: int,
    targets: Targets,
    pool: ConnectionPool,
) -> None:
    live = tuple(one for one in destinations if one.weight > 0) or destinations[:1]
    proxy.idle_timeout.CopyFrom(seconds(0))
    tunnels.bound_relay(proxy, pool)
    tunnels.relay_by_source(proxy, live)
    if len(live) == 1:
        proxy.cluster = targets.cluster(live[0], port)
        tunnels.relay_within(proxy, live[0])
        return
    for one in live:
        entry = proxy.weighted_clusters.clusters.add(name=targets.cluster(one, port))
        entry.weight = one.weight
