"""Listeners of a sidecar: one for each inbound port, and the outbound HTTP proxy.

The inbound ones decide who may come in: STRICT takes mutual TLS only, PERMISSIVE plain text too,
DISABLE plain text only (Istio's PeerAuthentication).
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit import (
    entering,
    http_actions,
    managers,
    metering,
    names,
    on_demand,
    tls,
    tracing,
    tunnels,
)
from controlplane.emit.access import Guards, http_filters
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.explanations import of_tokens
from controlplane.emit.managers import NO_GUARDS, HttpConnectionManager
from controlplane.emit.routes import HTTP_PROTOCOLS
from controlplane.emit.words import over_ads, socket_address
from controlplane.mesh.model import InboundPort
from controlplane.mesh.rule_filters import NO_FILTERS, RuleFilters
from controlplane.mesh.telemetry import Logs


def inbound(
    port: InboundPort,
    trust_domains: tuple[str, ...],
    guards: Guards = NO_GUARDS,
    *,
    denied: tuple[str, ...] | None = None,
    logs: Logs = DEFAULT,
) -> Listener:
    """The way into a workload: `port` says where the sidecar listens and what it demands, and
    `guards` who may come in. denied: revoked identities for a plain Envoy to refuse, whose routes
    come by `inbound_routes`; None for a proxy that knows them by itself."""
    listener = Listener(
        name=names.listener(port.listen_address, port.listen_port),
        address=socket_address(port.listen_address, port.listen_port),
        traffic_direction=TrafficDirection.INBOUND,
    )
    filters = _inbound_filters(port, guards, denied, logs)
    alpn = names.server_alpn(port.protocol)
    if port.mtls != "DISABLE":
        chain = listener.filter_chains.add(filters=filters)
        mutual = tls.downstream_mutual(trust_domains, alpn, guards.mutual_tls)
        chain.transport_socket.CopyFrom(mutual)
    if port.mtls == "DISABLE":
        listener.filter_chains.append(FilterChain(filters=filters))
    if port.mtls == "PERMISSIVE":
        _split_by_transport(listener, filters)
    _explain(listener, guards)
    if port.mtls == "PERMISSIVE" or (port.mtls == "STRICT" and guards.looks_at_sni):
        listener.listener_filters.append(managers.inspector())
    return listener


def _explain(listener: Listener, guards: Guards) -> None:
    for chain in listener.filter_chains if guards.tokens else ():
        chain.metadata.CopyFrom(of_tokens(guards.tokens, guards.in_body))


def _split_by_transport(listener: Listener, filters: list[Filter]) -> None:
    """TLS goes to the first chain, anything else to a second one in plain text."""
    listener.filter_chains[0].filter_chain_match.transport_protocol = "tls"
    plain = FilterChainMatch(transport_protocol="raw_buffer")
    listener.filter_chains.append(FilterChain(filter_chain_match=plain, filters=filters))


def _inbound_filters(
    port: InboundPort, guards: Guards, denied: tuple[str, ...] | None, logs: Logs
) -> list[Filter]:
    make = entering.over_http if port.protocol in HTTP_PROTOCOLS else entering.as_bytes
    return make(_place(port), guards, denied, logs)


def _place(port: InboundPort) -> entering.Place:
    prefix = f"inbound_{port.listen_port}"
    numbers = port.numbers
    cluster = names.inbound_cluster(port)
    grpc = port.protocol == "GRPC"
    return entering.Place(cluster, prefix, port.listen_port, numbers, port.app_port, grpc)


def inbound_routes(port: InboundPort, denied: tuple[str, ...]) -> RouteConfiguration | None:
    """For a plain Envoy: the routes of `inbound`, which refuse these identities; None for a port
    that has none."""
    return entering.table(_place(port), denied) if port.protocol in HTTP_PROTOCOLS else None


def _by_rds(name: str) -> hcm_pb2.Rds:
    return hcm_pb2.Rds(route_config_name=name, config_source=over_ads())


def http_proxy(
    port: int,
    *,
    fetches: bool = False,
    logs: Logs = DEFAULT,
    wanted: RuleFilters = NO_FILTERS,
) -> Listener:
    """Istio's proxyHttpPort: the application reaches every service by name through it. fetches:
    routes and clusters come on demand. wanted: by rules of services."""
    filters = [on_demand.http_filter()] if fetches else []
    filters += http_actions.http_filters(wanted)
    counting = metering.outbound(logs.metered.client)
    manager = managers.manager(
        f"outbound_{port}", guarding=filters, logs=logs.client, counting=counting
    )
    tracing.of_client(manager, logs)
    manager.upgrade_configs.add(upgrade_type=tunnels.CONNECT)
    return _outbound("127.0.0.1", port, manager, names.HTTP_PROXY_ROUTES)


def gateway(
    address: str,
    port: int,
    guards: Guards = NO_GUARDS,
    logs: Logs = DEFAULT,
    wanted: RuleFilters = NO_FILTERS,
) -> Listener:
    """The edge: the client's address is the connection's, whatever x-forwarded-for says."""
    filters = [*http_filters(guards, port, reroute=True), *http_actions.http_filters(wanted)]
    counting = metering.edge(logs.metered.client)
    manager = managers.manager(f"outbound_{port}", guards, filters, logs.client, counting)
    tracing.of_gateway(manager, logs)
    manager.use_remote_address.value = True
    listener = _outbound(address, port, manager, names.GATEWAY_ROUTES)
    _explain(listener, guards)
    return listener


def _outbound(address: str, port: int, manager: HttpConnectionManager, routes: str) -> Listener:
    manager.rds.CopyFrom(_by_rds(routes))
    return Listener(
        name=names.listener(address, port),
        address=socket_address(address, port),
        traffic_direction=TrafficDirection.OUTBOUND,
        filter_chains=[FilterChain(filters=[managers.as_filter(manager)])],
    )
