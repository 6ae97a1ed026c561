"""What is done with what comes into a workload, behind TLS: who may come in is decided, and the
rest is one route, or a relay, to the application."""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit import managers, metering, revoked, tracing
from controlplane.emit.access import Guards, http_filters, network_filters
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.managers import HttpConnectionManager
from controlplane.emit.words import over_ads, packed, seconds
from controlplane.mesh.telemetry import Logs
from protos.frozen import frozen


@frozen
class Place:
    """A port of a workload. port: where connections come, and numbers: by which policies may know
    it. shown: its number in the name of the virtual host. grpc: it is said to speak that."""

    cluster: str
    stat_prefix: str
    port: int
    numbers: tuple[int, ...]
    shown: int
    grpc: bool = False


def over_http(
    place: Place, guards: Guards, denied: tuple[str, ...] | None, logs: Logs
) -> list[Filter]:
    """denied: revoked identities for a plain Envoy to refuse, whose routes come over RDS (`table`);
    None for a proxy that knows them by itself."""
    steps = http_filters(guards, place.port, place.numbers)
    if denied is not None:
        steps.insert(0, revoked.http_filter())
    counting = metering.inbound(logs.metered.server, place.grpc)
    manager = managers.manager(place.stat_prefix, guards, steps, logs.server, counting)
    tracing.of_server(manager, logs)
    if denied is None:
        manager.route_config.CopyFrom(_routes(place))
    else:
        rds = hcm_pb2.Rds(route_config_name=place.cluster, config_source=over_ads())
        manager.rds.CopyFrom(rds)
    manager.forward_client_cert_details = HttpConnectionManager.APPEND_FORWARD
    manager.set_current_client_cert_details.subject.value = True
    manager.set_current_client_cert_details.uri = True
    return [managers.as_filter(manager)]


def as_bytes(
    place: Place, guards: Guards, denied: tuple[str, ...] | None, logs: Logs
) -> list[Filter]:
    proxy = TcpProxy(stat_prefix=place.stat_prefix, cluster=place.cluster)
    if guards.access or logs.server != DEFAULT.server:
        proxy.access_log.extend(managers.access_logs(logs.server, guards))
    relay = Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))
    guarding = network_filters(guards, place.port, place.numbers)
    counted = metering.relayed(logs.metered, logs.metered.server, relay)
    return [*revoked.network_filters(denied or ()), *guarding, *counted]


def table(place: Place, denied: tuple[str, ...]) -> RouteConfiguration:
    """For a plain Envoy: the routes, which refuse these identities."""
    routes = _routes(place)
    revoked.refuse(routes, denied)
    return routes


def _routes(place: Place) -> RouteConfiguration:
    route = Route(name="default")
    route.match.prefix = "/"
    route.route.cluster = place.cluster
    route.route.timeout.CopyFrom(seconds(0))
    host = VirtualHost(name=f"inbound|http|{place.shown}", domains=["*"], routes=[route])
    return RouteConfiguration(name=place.cluster, virtual_hosts=[host])
