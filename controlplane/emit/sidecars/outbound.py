"""The outbound side of the intercepting sidecars of some clients, with a memory: what is as it was
stays the same message. Whole is made from nothing by the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import dynamic, limits, originals, routes
from controlplane.emit.clients import Caller
from controlplane.emit.sidecars import listeners, tables
from controlplane.emit.sidecars.capture import BLACK_HOLE, LOOKED_UP, PASSTHROUGH, Capture
from controlplane.emit.sidecars.claims import Claim, Context, claims
from controlplane.emit.sidecars.rules import Seen
from controlplane.emit.targets import Targets
from controlplane.mesh.model import ConnectionPool, Service
from controlplane.mesh.published import Published
from controlplane.snapshot import Draft

Report = Callable[[str, Exception], None]
HTTP = 80
"""The port at which hosts are known that are no service's (Istio's)."""


class _Place(NamedTuple):
    """A table of routes at a port, of these services. domains: by their host names."""

    name: str
    port: int
    services: tuple[Service, ...]
    domains: Mapping[str, list[str]]
    context: Context


def _raised(name: str, error: Exception) -> None:
    raise error


class Outbound:
    """Of one client and capture, for one state of the services after the other."""

    __slots__ = (
        *("_claims", "_contexts", "_domains", "_hosts"),
        *("_listeners", "_report", "_seen", "_tables"),
    )

    def __init__(self, client: Caller, capture: Capture, report: Report = _raised) -> None:
        """report: what can't be made of a service, which is our own mistake."""
        self._contexts = tuple(Context(client, capture, one) for one in capture.egress)
        self._report = report
        self._seen = tuple(Seen(context) for context in self._contexts)
        self._claims: dict[tuple[int, str], tuple[Service, tuple[Claim, ...]]] = {}
        self._listeners: dict[tuple[str, int], tuple[list[Claim], Listener]] = {}
        self._domains: dict[str, tuple[list[Service], Mapping[str, list[str]]]] = {}
        self._hosts: dict[tuple[str, str], tuple[Service, list[str], VirtualHost]] = {}
        self._tables: dict[str, tuple[tuple[object, ...], RouteConfiguration]] = {}

    @property
    def _capture(self) -> Capture:
        return self._contexts[0].capture

    def draft(
        self,
        services: tuple[Service, ...],
        targets: Targets,
        published: tuple[Published, ...] = (),
    ) -> Draft:
        """services: all that the client may know, sorted. targets notes what is not there."""
        capture = self._capture
        known = [seen.update(services, published) for seen in self._seen]
        groups = self._groups(self._parts(known, targets))
        made = {group[0].key: self._listener(group, targets) for group in groups}
        found = dict(self._tables_of(groups, known, targets))
        self._forget(made.keys(), found.keys())
        return Draft(
            clusters=tuple(_clusters(capture)),
            listeners=(listeners.virtual_outbound(capture, targets), *made.values()),
            routes=tuple(found.values()),
            unresolved=targets.missing,
        )

    def prepare(
        self,
        services: tuple[Service, ...],
        targets: Targets,
        published: tuple[Published, ...] = (),
    ) -> Iterator[None]:
        """Makes, a little at a time, most of what `draft` remembers."""
        known = [seen.update(services, published) for seen in self._seen]
        for index, service in ((at, one) for at, of in enumerate(known) for one in of):
            last = self._claims.get((index, service.hostname))
            if last is None or last[0] is not service:
                wanted = self._wanted(index, service, targets, last)
                self._claims[index, service.hostname] = (service, wanted)
            yield
        groups = self._groups(self._parts(known, targets))
        for group in groups:
            self._listener(group, targets)
            yield
        for place in self._places(groups, known):
            if not place.context.egress.http_proxy:
                for _ in self._made(place, targets):
                    yield

    def _groups(self, parts: list[list[Claim]]) -> tuple[list[Claim], ...]:
        settings = self._capture.settings
        return listeners.grouped(parts, (settings.outbound_port, settings.inbound_port))

    # ------------------------------------------------------------------ listeners

    def _parts(self, known: list[tuple[Service, ...]], targets: Targets) -> list[list[Claim]]:
        before, self._claims = self._claims, {}
        parts: list[list[Claim]] = []
        for index, services in enumerate(known):
            part: list[Claim] = []
            for service in services:
                key = (index, service.hostname)
                last = before.get(key)
                if last is None or last[0] is not service:
                    last = (service, self._wanted(index, service, targets, last))
                self._claims[key] = last
                part += last[1]
            parts.append(part)
        return parts

    def _wanted(
        self,
        index: int,
        service: Service,
        targets: Targets,
        last: tuple[Service, tuple[Claim, ...]] | None,
    ) -> tuple[Claim, ...]:
        try:
            return claims(service, self._contexts[index], targets)
        except Exception as error:
            # Whatever it is, proxies must keep what they have and others get what is new.
            self._report(service.hostname, error)
            return last[1] if last is not None else ()

    def _listener(self, group: list[Claim], targets: Targets) -> Listener:
        key = group[0].key
        last = self._listeners.get(key)
        if last is None or last[0] != group:
            last = (group, listeners.listener(group, self._capture, targets))
            self._listeners[key] = last
        return last[1]

    # ------------------------------------------------------------------ routes

    def _tables_of(
        self,
        groups: Iterable[list[Claim]],
        known: list[tuple[Service, ...]],
        targets: Targets,
    ) -> Iterator[tuple[str, RouteConfiguration]]:
        for place in self._places(groups, known):
            name, context = place.name, place.context
            if context.egress.http_proxy:
                yield name, self._proxy(name, place.services, context)
                continue
            hosts = tuple(self._made(place, targets))
            if tables.is_shared(name):
                hosts = (*hosts, tables.everything_else(context.capture, targets))
            yield name, self._table(name, hosts)

    def _places(
        self, groups: Iterable[list[Claim]], known: list[tuple[Service, ...]]
    ) -> Iterator[_Place]:
        """The tables that listeners name, and of what they are."""
        by_port = [tables.by_port(services) for services in known]
        by_name = [_by_name(found) for found in by_port]
        indexes = {id(context.egress): index for index, context in enumerate(self._contexts)}
        wanted = {c.routes: c for group in groups for c in reversed(group) if c.routes}
        for name in sorted(wanted):
            claim = wanted[name]
            index = indexes[id(claim.egress)]
            context = self._contexts[index]
            if context.egress.http_proxy:
                yield _Place(name, claim.port, known[index], {}, context)
            elif tables.is_shared(name):
                services = list(by_port[index].get(claim.port, ()))
                if context.egress.port is not None:
                    services = [one for one in known[index] if _is_at(one, claim.port)]
                if claim.port == HTTP:
                    services += self._seen[index].only_ruled(services)
                own = self._names(name, services, context)
                yield _Place(name, claim.port, tuple(services), own, context)
            else:
                hostname = name.rpartition(":")[0]
                alone = tuple(by_name[index].get((claim.port, hostname), ()))
                yield _Place(name, claim.port, alone, {hostname: ["*"]}, context)

    def _names(
        self, name: str, services: list[Service], context: Context
    ) -> Mapping[str, list[str]]:
        last = self._domains.get(name)
        if last is None or not tables.named_alike(last[0], services):
            last = (services, tables.domains(services, context.client.namespace))
        self._domains[name] = (services, last[1])
        return last[1]

    def _made(self, place: _Place, targets: Targets) -> Iterator[VirtualHost]:
        name, context = place.name, place.context
        for service in place.services:
            own = place.domains.get(service.hostname)
            if not own:
                continue
            key = (name, service.hostname)
            last = self._hosts.get(key)
            if last is None or last[0] is not service or last[1] != own:
                try:
                    host = tables.virtual_host(service, place.port, own, context, targets)
                except Exception as error:
                    # As above.
                    self._report(service.hostname, error)
                    continue
                last = self._hosts[key] = (service, own, host)
            yield last[2]

    def _table(self, name: str, hosts: tuple[VirtualHost, ...]) -> RouteConfiguration:
        last = self._tables.get(name)
        if last is None or last[0] != hosts:
            last = self._tables[name] = (hosts, tables.configuration(name, hosts))
        return last[1]

    def _proxy(
        self, name: str, services: tuple[Service, ...], context: Context
    ) -> RouteConfiguration:
        """Of an HTTP proxy, which has every port of the services."""
        last = self._tables.get(name)
        if last is None or last[0] != services:
            made = RouteConfiguration()
            made.CopyFrom(routes.http_proxy(services, context.client).configuration)
            made.name = name
            last = self._tables[name] = (services, made)
        return last[1]

    def _forget(self, keys: Iterable[tuple[str, int]], names: Iterable[str]) -> None:
        places, known = frozenset(keys), frozenset(names)
        hostnames = {hostname for _, hostname in self._claims}
        hostnames.update(name for seen in self._seen for name in seen.ruled)
        self._listeners = {k: v for k, v in self._listeners.items() if k in places}
        self._tables = {k: v for k, v in self._tables.items() if k in known}
        self._domains = {k: v for k, v in self._domains.items() if k in known}
        self._hosts = {k: v for k, v in self._hosts.items() if k[0] in known and k[1] in hostnames}


def _by_name(found: Mapping[int, list[Service]]) -> dict[tuple[int, str], list[Service]]:
    """By port and host name."""
    made: dict[tuple[int, str], list[Service]] = {}
    for port, services in found.items():
        for one in services:
            made.setdefault((port, one.hostname), []).append(one)
    return made


def _is_at(service: Service, port: int) -> bool:
    numbers = list(tables.http_ports(service))
    return port in numbers or (len(service.ports) == 1 and len(numbers) == 1)


def _clusters(capture: Capture) -> Iterator[Cluster]:
    """Of connections that are no service's."""
    black_hole = Cluster(name=BLACK_HOLE, type=Cluster.STATIC)
    limits.bound(black_hole, ConnectionPool())
    yield black_hole
    as_client = ConnectionPool(as_client=True)
    passed = Cluster(name=PASSTHROUGH)
    limits.bound(passed, as_client)
    limits.http_options(passed, as_client, "HTTP")
    originals.go_as_addressed(passed)
    yield passed
    if capture.outbound.mode == "ALLOW_ANY_DYNAMIC_DNS":
        looked_up = Cluster(name=LOOKED_UP)
        limits.bound(looked_up, as_client)
        limits.http_options(looked_up, as_client, "HTTP")
        dynamic.look_up(looked_up)
        yield looked_up
