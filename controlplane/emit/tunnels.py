"""CONNECT through the outbound HTTP proxy: a tunnel to a service port by its name.

What clients with `http_proxy` set use for all that is not plain HTTP: gRPC, WebSocket, databases.
The proxy sees connections and not requests there, so of the rules only the one that takes every
request counts, by its clusters and weights; the mutual TLS is the cluster's as always.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteAction
from envoy.config.route.v3.route_components_pb2 import RouteMatch as EnvoyMatch

from controlplane.mesh.model import Destination, Headers, RouteMatch, Service

CONNECT = "CONNECT"


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


def destinations(
    service: Service, rules: Iterable[tuple[RouteMatch, tuple[Destination, ...]]]
) -> tuple[Destination, ...]:
    """Where a tunnel to `service` leads, given its rules' matches that apply to this client."""
    for condition, found in rules:
        bare = replace(condition, name="", port=None, source_namespace="", source_labels={})
        if found and bare == RouteMatch():
            return tuple(replace(destination, headers=Headers()) for destination in found)
    return (Destination(service.hostname),)
