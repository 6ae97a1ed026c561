"""Listeners of a sidecar: one for each inbound port, and the outbound HTTP proxy.

The inbound ones decide who may come in: STRICT takes mutual TLS only, PERMISSIVE plain text too,
DISABLE plain text only (Istio's PeerAuthentication).
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.base_pb2 import DataSource, TrafficDirection
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit import names, tls, tunnels
from controlplane.emit.access import Guards, http_filters, network_filters
from controlplane.emit.explanations import of_tokens
from controlplane.emit.routes import HTTP_PROTOCOLS
from controlplane.emit.words import over_ads, packed, seconds, socket_address
from controlplane.mesh.model import InboundPort

ACCESS_LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's default text format."""

DENIED_AT = " %DYNAMIC_METADATA(weft.rbac:source)%"
"""Behind it where policies hold: the place of the rule that denied. Envoy has '-' there."""

HttpConnectionManager = hcm_pb2.HttpConnectionManager

HCM = "envoy.filters.network.http_connection_manager"
NO_GUARDS = Guards()
NEW_LINE = "\n"


def inbound(
    port: InboundPort, trust_domains: tuple[str, ...], guards: Guards = NO_GUARDS
) -> Listener:
    """The way into a workload: `port` says where the sidecar listens and what it demands, and
    `guards` who may come in."""
    listener = Listener(
        name=names.listener(port.listen_address, port.listen_port),
        address=socket_address(port.listen_address, port.listen_port),
        traffic_direction=TrafficDirection.INBOUND,
    )
    filters = _inbound_filters(port, guards)
    alpn = names.server_alpn(port.protocol)
    if port.mtls != "DISABLE":
        chain = listener.filter_chains.add(filters=filters)
        chain.transport_socket.CopyFrom(tls.downstream_mutual(trust_domains, alpn))
    if port.mtls == "DISABLE":
        listener.filter_chains.append(FilterChain(filters=filters))
    if port.mtls == "PERMISSIVE":
        _split_by_transport(listener, filters)
    _explain(listener, guards)
    if port.mtls == "PERMISSIVE" or (port.mtls == "STRICT" and guards.looks_at_sni):
        listener.listener_filters.append(_inspector())
    return listener


def _explain(listener: Listener, guards: Guards) -> None:
    for chain in listener.filter_chains if guards.tokens else ():
        chain.metadata.CopyFrom(of_tokens(guards.tokens, guards.in_body))


def _split_by_transport(listener: Listener, filters: list[Filter]) -> None:
    """TLS goes to the first chain, anything else to a second one in plain text."""
    listener.filter_chains[0].filter_chain_match.transport_protocol = "tls"
    plain = FilterChainMatch(transport_protocol="raw_buffer")
    listener.filter_chains.append(FilterChain(filter_chain_match=plain, filters=filters))


def _inspector() -> ListenerFilter:
    """Tells TLS from plain text, and finds the server name, which Envoy does not do by itself."""
    inspector = packed(TlsInspector())
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=inspector)


def _inbound_filters(port: InboundPort, guards: Guards) -> list[Filter]:
    stat_prefix = f"inbound_{port.listen_port}"
    cluster = names.inbound_cluster(port)
    if port.protocol not in HTTP_PROTOCOLS:
        proxy = TcpProxy(stat_prefix=stat_prefix, cluster=cluster)
        if guards.access:
            proxy.access_log.append(_access_log(guards))
        relay = Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))
        return [*network_filters(guards, port.listen_port, port.numbers), relay]
    guarding = http_filters(guards, port.listen_port, port.numbers)
    manager = _manager(stat_prefix, guards, guarding)
    manager.route_config.CopyFrom(_inbound_routes(port, cluster))
    manager.forward_client_cert_details = HttpConnectionManager.APPEND_FORWARD
    manager.set_current_client_cert_details.subject.value = True
    manager.set_current_client_cert_details.uri = True
    return [Filter(name=HCM, typed_config=packed(manager))]


def _inbound_routes(port: InboundPort, cluster: str) -> RouteConfiguration:
    route = Route(name="default")
    route.match.prefix = "/"
    route.route.cluster = cluster
    route.route.timeout.CopyFrom(seconds(0))
    name = f"inbound|http|{port.app_port}"
    host = VirtualHost(name=name, domains=["*"], routes=[route])
    return RouteConfiguration(name=cluster, virtual_hosts=[host])


def http_proxy(port: int) -> Listener:
    """Istio's proxyHttpPort: the application reaches every service by name through it."""
    manager = _manager(f"outbound_{port}")
    manager.upgrade_configs.add(upgrade_type=tunnels.CONNECT)
    return _outbound("127.0.0.1", port, manager, names.HTTP_PROXY_ROUTES)


def gateway(address: str, port: int, guards: Guards = NO_GUARDS) -> Listener:
    """The edge: the client's address is the connection's, whatever x-forwarded-for says."""
    manager = _manager(f"outbound_{port}", guards, http_filters(guards, port, reroute=True))
    manager.use_remote_address.value = True
    listener = _outbound(address, port, manager, names.GATEWAY_ROUTES)
    _explain(listener, guards)
    return listener


def _outbound(address: str, port: int, manager: HttpConnectionManager, routes: str) -> Listener:
    manager.rds.route_config_name = routes
    manager.rds.config_source.CopyFrom(over_ads())
    return Listener(
        name=names.listener(address, port),
        address=socket_address(address, port),
        traffic_direction=TrafficDirection.OUTBOUND,
        filter_chains=[FilterChain(filters=[Filter(name=HCM, typed_config=packed(manager))])],
    )


def _access_log(guards: Guards) -> AccessLog:
    text = ACCESS_LOG_FORMAT
    if guards.access or guards.tokens:
        text = f"{text.removesuffix(NEW_LINE)}{DENIED_AT}{NEW_LINE}"
    log_format = SubstitutionFormatString(text_format_source=DataSource(inline_string=text))
    log = packed(StdoutAccessLog(log_format=log_format))
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=log)


def _manager(
    stat_prefix: str, guards: Guards = NO_GUARDS, guarding: Iterable[hcm_pb2.HttpFilter] = ()
) -> hcm_pb2.HttpConnectionManager:
    """What inbound and outbound share, as in Istio: WebSocket passes, and streams have no idle
    timeout. guarding: filters that stand before the router."""
    manager = HttpConnectionManager(
        stat_prefix=stat_prefix,
        access_log=[_access_log(guards)],
        http_filters=[
            *guarding,
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router())),
        ],
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        stream_idle_timeout=seconds(0),
    )
    manager.normalize_path.value = True
    manager.http_protocol_options.accept_http_10 = True
    return manager
