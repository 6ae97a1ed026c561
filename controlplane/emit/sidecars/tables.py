"""Route tables of an intercepting sidecar: one for each port that carries HTTP, with a virtual host
for each service that has it, and one for a single service where the first bytes told that it is
HTTP what came to the service's own address (Istio)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    RouteAction,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import dynamic, names, routes
from controlplane.emit.sidecars import relays
from controlplane.emit.sidecars.capture import LOOKED_UP, Capture
from controlplane.emit.sidecars.claims import Context
from controlplane.emit.targets import Targets
from controlplane.emit.words import seconds
from controlplane.mesh.model import Destination, Service

ALLOW_ANY = "allow_any"
EVERY_HOST = ("*",)


def is_shared(table: str) -> bool:
    """Whether it is of a port, and not of one service's address."""
    return ":" not in table or table.startswith("unix:")


def domains(services: Iterable[Service], namespace: str) -> Mapping[str, list[str]]:
    """Hostname -> by which names the service is known at a port, whatever port stands behind
    them. Each name is one service's: a full name before any short one."""
    taken: dict[str, str] = {}
    every = tuple(services)
    for level in range(3):
        for service in every:
            for name in routes.names_at(service, namespace, level):
                host = f"[{name}]" if ":" in name else name.lower()
                taken.setdefault(host, service.hostname)
                if service.headless and level < 2:
                    taken.setdefault(f"*.{host}", service.hostname)
    found: dict[str, list[str]] = {}
    for domain, hostname in taken.items():
        found.setdefault(hostname, []).append(domain)
    return {hostname: sorted(own) for hostname, own in found.items()}


def named_alike(one: Sequence[Service], other: Sequence[Service]) -> bool:
    """Whether `domains` of the one are those of the other."""
    return len(one) == len(other) and all(
        a is b or _names(a) == _names(b) for a, b in zip(one, other, strict=True)
    )


def _names(service: Service) -> tuple[object, ...]:
    short = (service.aliases, service.local_aliases, service.addresses)
    return (service.hostname, service.namespace, service.headless, *short)


def virtual_host(
    service: Service, port: int, own: Sequence[str], context: Context, targets: Targets
) -> VirtualHost:
    """port: of the listener. At one that only a Sidecar knows it stands for the service's own,
    where that has but one."""
    numbers = [one.number for one in service.ports]
    meant = numbers[0] if port not in numbers and len(numbers) == 1 else port
    return routes.virtual_host(service, meant, list(own), context.client, targets)


def configuration(name: str, hosts: Iterable[VirtualHost] = ()) -> RouteConfiguration:
    """Names of services count with any port, as the listener's is the one that was meant."""
    made = routes.configuration(name, hosts)
    made.ignore_port_in_host_matching = True
    return made


def everything_else(capture: Capture, targets: Targets) -> VirtualHost:
    """Requests for hosts that nobody knows."""
    policy = capture.outbound
    host = VirtualHost(domains=EVERY_HOST, include_request_attempt_count=True)
    if policy.mode == "REGISTRY_ONLY":
        host.name = names.BLOCK_ALL
        refused = Route(name=names.BLOCK_ALL, direct_response=DirectResponseAction(status=502))
        refused.match.prefix = "/"
        host.routes.append(refused)
        return host
    host.name = ALLOW_ANY
    action = RouteAction(timeout=seconds(0))
    passed = Route(name=ALLOW_ANY)
    passed.match.prefix = "/"
    if policy.mode == "ALLOW_ANY_DYNAMIC_DNS":
        action.cluster = LOOKED_UP
        dynamic.turn_on(passed, (Destination("*"),))
    else:
        action.cluster = relays.unknown_place(capture, targets)
    passed.route.CopyFrom(action)
    host.routes.append(passed)
    return host


def by_port(services: Iterable[Service]) -> dict[int, list[Service]]:
    """Those that may speak HTTP, in their order."""
    found: dict[int, list[Service]] = {}
    for service in services:
        for number in http_ports(service):
            found.setdefault(number, []).append(service)
    return found


def http_ports(service: Service) -> Iterator[int]:
    for port in service.ports:
        if port.assumed or port.protocol in routes.HTTP_PROTOCOLS:
            yield port.number
