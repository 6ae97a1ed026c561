"""What one port of a service wants of the listeners of an intercepting sidecar.

HTTP of all services of a port shares one listener at every address, whose routes tell them apart by
name; TCP is told apart by address, and TLS at one address by server name (Istio).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from envoy.config.listener.v3.listener_components_pb2 import FilterChain

from controlplane.emit import http_actions, managers, metering, on_demand, tracing
from controlplane.emit.clients import Caller
from controlplane.emit.families import within
from controlplane.emit.routes import HTTP_PROTOCOLS
from controlplane.emit.sidecars import relays
from controlplane.emit.sidecars.capture import PLAIN_HTTP, Capture
from controlplane.emit.targets import Targets
from controlplane.emit.words import over_ads
from controlplane.mesh.interception import Egress
from controlplane.mesh.model import Destination, Service, ServicePort, StreamMatch
from protos.frozen import frozen

Kind = Literal["HTTP", "TCP", "AUTO"]
LOOPBACK = "127.0.0.1"
TLS = frozenset(("TLS", "HTTPS"))


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """Filter chains for the listener at an address and port, wanted by `egress`. routes: the name
    of the table that HTTP has there, '' for none. tls_port: where only TLS is known to come."""

    bind: str
    port: int
    bound: bool
    kind: Kind
    chains: tuple[FilterChain, ...]
    egress: Egress
    routes: str = ""
    tls_port: int = 0

    @property
    def key(self) -> tuple[str, int]:
        return self.bind, self.port


@frozen
class Context:
    """Whose listeners they are. egress: the part of them that is asked for."""

    client: Caller
    capture: Capture
    egress: Egress

    @property
    def bound(self) -> bool:
        return bool(self.egress.bound)

    @property
    def bind(self) -> str:
        """That is asked for, '' where services decide."""
        return self.egress.bind or (LOOPBACK if self.bound else "")


def claims(service: Service, context: Context, targets: Targets) -> tuple[Claim, ...]:
    """Of all its ports."""
    egress = context.egress
    if egress.port is None:
        wanted = [port for port in service.ports if port.protocol != "UDP"]
    else:
        wanted = [_asked_for(egress)]
    return tuple(claim for port in wanted for claim in _of_port(service, port, context, targets))


def _asked_for(egress: Egress) -> ServicePort:
    """The port of a listener that a Sidecar names."""
    protocol = "HTTP" if egress.http_proxy else egress.protocol
    return ServicePort(egress.port or 0, "", protocol or "TCP", protocol is None)


def kind_of(port: ServicePort) -> Kind:
    if port.assumed:
        return "AUTO"
    return "HTTP" if port.protocol in HTTP_PROTOCOLS else "TCP"


def _of_port(
    service: Service, port: ServicePort, context: Context, targets: Targets
) -> Iterator[Claim]:
    kind, wildcard = kind_of(port), context.capture.wildcard
    tls_port = port.number if kind == "TCP" and port.protocol in TLS else 0
    for bind, ranges in _places(service, port, context):
        chains: list[FilterChain] = []
        routes = ""
        if kind != "HTTP":
            by_name = bool(ranges) or bind == wildcard
            maker = _Streams(service, port, context, targets, ranges)
            chains += maker.chains(by_name)
        if kind != "TCP":
            alone = kind == "AUTO" and bind != wildcard and not context.egress.port
            routes = f"{service.hostname}:{port.number}" if alone else table_name(bind, port)
            looks = kind == "AUTO" or bind == wildcard
            chains.append(_http(bind, port, routes, looks, context))
        made = (bind, port.number, context.bound, kind, tuple(chains), context.egress)
        yield Claim(*made, routes, tls_port)


def table_name(bind: str, port: ServicePort) -> str:
    """Of the routes of a port, or of a unix socket."""
    return str(port.number) if port.number else bind


def _places(
    service: Service, port: ServicePort, context: Context
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(where to listen, ranges of addresses that are meant there)."""
    wildcard = context.capture.wildcard
    if context.bind:
        yield context.bind, ()
    elif kind_of(port) == "HTTP":
        yield wildcard, ()
    elif service.headless:
        there = [e for e in service.endpoints if e.address and port.number in e.ports]
        own = (_own(context, (e.address, *e.more_addresses)) for e in there)
        yield from ((one, ()) for one in sorted({one for every in own for one in every}))
    else:
        addresses = _own(context, service.addresses)
        ranges = tuple(one for one in addresses if "/" in one)
        yield from ((one, ()) for one in addresses if "/" not in one)
        if ranges or not addresses:
            yield wildcard, ranges


def _own(context: Context, addresses: tuple[str, ...]) -> tuple[str, ...]:
    return within(addresses, context.capture.wildcard, context.capture.second)


def _http(bind: str, port: ServicePort, routes: str, looks: bool, context: Context) -> FilterChain:
    """looks: it takes only what begins as HTTP in plain text."""
    filters = http_actions.http_filters(context.capture.rule_filters)
    manager = managers.manager(
        f"outbound_{bind}_{port.number}",
        guarding=(on_demand.http_filter(), *filters) if context.capture.on_demand else filters,
        logs=context.capture.logs.client,
        counting=metering.outbound(context.capture.logs.metered.client, port.protocol == "GRPC"),
    )
    tracing.of_client(manager, context.capture.logs)
    manager.rds.route_config_name = routes
    manager.rds.config_source.CopyFrom(over_ads())
    chain = FilterChain(filters=[managers.as_filter(manager)])
    if looks:
        chain.filter_chain_match.transport_protocol = "raw_buffer"
        chain.filter_chain_match.application_protocols.extend(PLAIN_HTTP)
    return chain


# --------------------------------------------------------------------------- streams


class _Streams:
    """The chains of a port that is not (only) HTTP: by its rules for connections, else straight
    to the service."""

    def __init__(
        self,
        service: Service,
        port: ServicePort,
        context: Context,
        targets: Targets,
        ranges: tuple[str, ...],
    ) -> None:
        self._service = service
        self._port = port
        self._context = context
        self._targets = targets
        self._ranges = ranges

    def chains(self, by_name: bool) -> Iterator[FilterChain]:
        """by_name: other services may share the address, so that TLS is told by its name."""
        taken: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
        secured, everything = self._port.protocol in TLS, False
        for rule in self._service.stream_rules:
            for match in rule.matches:
                if everything or not self._applies(match):
                    continue
                ranges = match.destination_subnets or self._ranges
                if (match.server_names, ranges) not in taken:
                    taken.add((match.server_names, ranges))
                    yield self._chain(match.server_names, ranges, rule.destinations)
                everything = not match.server_names and not match.destination_subnets
        if everything or ((), self._ranges) in taken or (secured and taken):
            return
        names = (self._service.hostname,) if secured and by_name else ()
        yield self._chain(names, self._ranges, (self._itself(),))

    def _applies(self, match: StreamMatch) -> bool:
        """Source and port are known here. Names are for ports of TLS alone, and subnets by
        themselves for all others."""
        client, secured = self._context.client, self._port.protocol in TLS
        named = bool(match.server_names)
        if (named and not secured) or (secured and match.destination_subnets and not named):
            return False
        return (
            match.port in (None, self._port.number)
            and match.source_namespace in ("", client.namespace)
            and match.source_labels.items() <= client.labels.items()
        )

    def _itself(self) -> Destination:
        """At a port that only a Sidecar knows, the service's own where it has but one."""
        ports = self._service.ports
        number = ports[0].number if len(ports) == 1 else self._port.number
        policy = self._service.port_policies.get(number, self._service.policy)
        host = self._service.hostname
        return Destination(host, port=number, hash=policy.hash, tunnel=policy.tunnel)

    def _chain(
        self, names: tuple[str, ...], ranges: tuple[str, ...], to: tuple[Destination, ...]
    ) -> FilterChain:
        number, service = self._port.number, self._service
        pool = service.port_policies.get(number, service.policy).pool
        relay = relays.relay(to, number, self._targets, self._context.capture, pool)
        chain = FilterChain(filters=relays.counted(relay, self._context.capture))
        chain.filter_chain_match.server_names.extend(names)
        chain.filter_chain_match.prefix_ranges.extend(relays.ranges(ranges))
        if not names and not ranges:
            chain.ClearField("filter_chain_match")
        return chain
