"""CONNECT through the outbound HTTP proxy: a tunnel to a service port by its name.

What clients with `http_proxy` set use for all that is not plain HTTP: gRPC, WebSocket, databases.
The proxy sees connections and not requests there, so of the rules for HTTP only the one that takes
every request counts, by its clusters and weights; other ports have rules for connections. The
mutual TLS is the cluster's as always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteAction
from envoy.config.route.v3.route_components_pb2 import RouteMatch as EnvoyMatch
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.emit.words import seconds
from controlplane.mesh.model import ConnectionPool, Destination, Headers, RouteMatch, Service
from protos.frozen import replace

CONNECT = "CONNECT"
_EVERYTHING = RouteMatch()


def bound_relay(proxy: TcpProxy, pool: ConnectionPool) -> None:
    """How long connections may be silent, and how long they may last, where a policy says so."""
    if pool.idle_timeout_s is not None:
        proxy.idle_timeout.CopyFrom(seconds(pool.idle_timeout_s))
    if pool.max_connection_duration_s is not None:
        longest = seconds(pool.max_connection_duration_s)
        proxy.max_downstream_connection_duration.CopyFrom(longest)


def relay_by_source(proxy: TcpProxy, destinations: Iterable[Destination]) -> None:
    """Connections of one client go to one endpoint, where a policy says so; of the keys that it
    may name a connection has the address only."""
    if any(one.hash is not None and one.hash.source_ip for one in destinations):
        proxy.hash_policy.add().source_ip.SetInParent()


def relay_within(proxy: TcpProxy, to: Destination) -> None:
    """The way of connections to a lone destination whose policy says that they go within HTTP."""
    if (tunnel := to.tunnel) is not None:
        host = f"[{tunnel.host}]" if ":" in tunnel.host else tunnel.host
        proxy.tunneling_config.hostname = f"{host}:{tunnel.port}"
        proxy.tunneling_config.use_post = tunnel.post


def match() -> EnvoyMatch:
    """Takes CONNECT and nothing else, as other matches take everything but CONNECT."""
    return EnvoyMatch(connect_matcher=EnvoyMatch.ConnectMatcher())


def route(action: RouteAction) -> Route:
    """The tunnel to the clusters of `action`: the proxy ends CONNECT and relays bytes."""
    upgrade = action.upgrade_configs.add(upgrade_type=CONNECT)
    upgrade.connect_config.SetInParent()
    return Route(name="tunnel", match=match(), route=action)


def refusal(answer: DirectResponseAction, name: str) -> Route:
    return Route(name=name, match=match(), direct_response=answer)


def of_streams(
    service: Service, port: int, namespace: str, labels: Mapping[str, str]
) -> tuple[Destination, ...]:
    """Where a tunnel to a port that is not HTTP leads for clients of `namespace` with `labels`:
    by the first of the service's rules for connections. The name that a tunnel asks for stands for
    the server name that TLS will say inside."""
    for rule in service.stream_rules:
        for match in rule.matches:
            if match.destination_subnets:
                continue
            names_it = not match.server_names or any(
                _covers(name, service.hostname) for name in match.server_names
            )
            from_there = match.source_namespace in ("", namespace)
            labelled = match.source_labels.items() <= labels.items()
            if match.port in (None, port) and names_it and from_there and labelled:
                return rule.destinations
    return (Destination(service.hostname),)


def _covers(pattern: str, name: str) -> bool:
    return name == pattern or (pattern.startswith("*") and name.endswith(pattern[1:]))


def destinations(
    service: Service, rules: Iterable[tuple[RouteMatch, tuple[Destination, ...]]]
) -> tuple[Destination, ...]:
    """Where a tunnel to `service` leads, given its rules' matches that apply to this client."""
    for condition, found in rules:
        bare = replace(condition, name="", port=None, source_namespace="", source_labels={})
        if found and bare == _EVERYTHING:
            return tuple(replace(destination, headers=Headers()) for destination in found)
    return (Destination(service.hostname),)
