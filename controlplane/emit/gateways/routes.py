"""Virtual hosts of gateways as route configurations.

What several servers of a port say of one host is put together in their order, as Envoy refuses a
configuration that has a host twice. Hosts with the same rules share a virtual host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit.clients import Caller
from controlplane.emit.routes import MAX_BODY_BYTES, rule_routes
from controlplane.emit.targets import Targets
from controlplane.mesh.gateways import VirtualHost
from controlplane.mesh.model import HttpRule


def configuration(
    name: str, hosts: Iterable[VirtualHost], port: int, node: Caller, targets: Targets
) -> RouteConfiguration:
    """port: the gateway's, for rules that ask for one. Ports in Host headers do not matter."""
    made = RouteConfiguration(
        name=name,
        virtual_hosts=list(_virtual_hosts(hosts, port, node, targets)),
        ignore_port_in_host_matching=True,
    )
    if not made.virtual_hosts:
        made.virtual_hosts.add(name=f"blackhole:{port}", domains=["*"])
    made.max_direct_response_body_size_bytes.value = MAX_BODY_BYTES
    return made


def _virtual_hosts(
    hosts: Iterable[VirtualHost], port: int, node: Caller, targets: Targets
) -> Iterator[parts.VirtualHost]:
    for name, rules, redirects, domains in _grouped(hosts):
        made = parts.VirtualHost(name=name, domains=domains)
        made.include_request_attempt_count = True
        if redirects:
            made.require_tls = parts.VirtualHost.ALL
        for rule in rules:
            made.routes.extend(rule_routes(rule, port, node, targets))
        yield made


_Group = tuple[str, tuple[HttpRule, ...], bool, list[str]]
"""A name, rules, whether plain HTTP is redirected, and the hosts for which they are."""


def _grouped(hosts: Iterable[VirtualHost]) -> list[_Group]:
    names: dict[str, str] = {}
    rules: dict[str, tuple[HttpRule, ...]] = {}
    redirects: set[str] = set()
    for host in hosts:
        for domain in map(str.lower, host.hosts):
            names.setdefault(domain, host.name)
            rules[domain] = (*rules.get(domain, ()), *host.rules)
            if host.redirect_to_https:
                redirects.add(domain)
    groups: dict[tuple[tuple[int, ...], bool], _Group] = {}
    for domain, found in rules.items():
        key = (tuple(map(id, found)), domain in redirects)
        group = (names[domain], found, domain in redirects, list[str]())
        groups.setdefault(key, group)[3].append(domain)
    return list(groups.values())
