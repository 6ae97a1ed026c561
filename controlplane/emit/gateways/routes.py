"""Virtual hosts of gateways as route configurations.

A host belongs to one virtual host of a port only, the first that asks for it; the others are left
out, as Envoy refuses a configuration that has one twice (translation tells who that is).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit.node import Node
from controlplane.emit.routes import rule_routes
from controlplane.emit.targets import Targets
from controlplane.mesh.gateways import VirtualHost


def configuration(
    name: str, hosts: Iterable[VirtualHost], port: int, node: Node, targets: Targets
) -> RouteConfiguration:
    """port: the gateway's, for rules that ask for one. Ports in Host headers do not matter."""
    return RouteConfiguration(
        name=name,
        virtual_hosts=list(_virtual_hosts(hosts, port, node, targets)),
        ignore_port_in_host_matching=True,
    )


def _virtual_hosts(
    hosts: Iterable[VirtualHost], port: int, node: Node, targets: Targets
) -> Iterator[parts.VirtualHost]:
    taken: set[str] = set()
    for host in hosts:
        domains = [one for one in map(str.lower, host.hosts) if one not in taken]
        if not domains:
            continue
        taken.update(domains)
        made = parts.VirtualHost(name=f"{domains[0]}:{port}", domains=domains)
        made.include_request_attempt_count = True
        if host.redirect_to_https:
            made.require_tls = parts.VirtualHost.ALL
        for rule in host.rules:
            made.routes.extend(rule_routes(rule, port, node, targets))
        yield made
