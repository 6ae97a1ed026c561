"""TLSRoutes and TCPRoutes at listeners: which connection goes where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from controlplane.kinds.gateway_api.l4_routes import TCPRoute, TLSRoute
from controlplane.mesh.gateways import StreamRoute
from controlplane.mesh.model import Destination
from controlplane.translate.gateways.attach import Attachment
from controlplane.translate.gateways.backends import INVALID, Backends
from controlplane.translate.gateways.hosts import ANY
from controlplane.translate.gateways.precedence import seniority
from controlplane.translate.gateways.words import Fault
from protos.frozen import frozen

L4Route = TLSRoute | TCPRoute


@frozen
class Resolved:
    route: StreamRoute
    unresolved: Fault | None = None


def resolve(route: L4Route, backends: Backends, hosts: tuple[str, ...] = ()) -> Resolved:
    """A connection can't choose among rules, so the first counts. Without a backend that has a
    weight it goes nowhere."""
    rule = route.spec.rules[0]
    found = [backends.resolve(route, one, one.weight) for one in rule.backend_refs]
    made = StreamRoute(
        tuple(host for host in hosts if host != ANY),
        _live(tuple(one.destination for one in found)),
        f"{route.namespace}.{route.name}",
        rule.position,
    )
    return Resolved(made, next((one.fault for one in found if one.fault), None))


def _live(found: tuple[Destination, ...]) -> tuple[Destination, ...]:
    weighed = tuple(one for one in found if one.weight)
    return weighed or (replace(found[0], host=INVALID, weight=1, resolved=False),)


def at_listener(
    attached: Iterable[tuple[L4Route, Attachment]], backends: Backends
) -> Iterator[StreamRoute]:
    """The oldest route has a host name that several want; so it has a listener of TCP."""
    taken: set[str] = set()
    for route, attachment in sorted(attached, key=lambda one: seniority(one[0])):
        free = tuple(host for host in attachment.hosts if host not in taken)
        taken.update(free)
        if free:
            yield resolve(route, backends, free).route
