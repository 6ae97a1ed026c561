"""By which domains clients call the ports of services: those of a service alone, made once for all
namespaces, and by the whole mesh only where several services want the same.

`routes.Domains` says whose a domain is then. What nobody else wants has nothing to do with other
services, so that a change of one leaves the others' alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain

from controlplane.emit import routes
from controlplane.mesh.model import Service
from controlplane.translate.differences import differences
from controlplane.xds.kept import Column

Ports = Mapping[int, tuple[str, ...]]
"""Port -> domains, sorted."""
Shape = tuple[object, ...]
_NONE: frozenset[str] = frozenset()


def shape_of(service: Service) -> Shape:
    """What the domains of a service depend on."""
    return (
        *(service.hostname, service.namespace, service.ports),
        *(service.aliases, service.local_aliases, service.addresses),
    )


class _Names:
    """Of one service while its shape is this one. near: for clients of its own namespace, far: for
    the others."""

    __slots__ = ("far", "hostname", "local", "namespace", "near", "shape", "wide")

    def __init__(self, service: Service, shape: Shape) -> None:
        self.shape = shape
        self.hostname, self.namespace = service.hostname, service.namespace
        wide = [name for level in (0, 2) for name in routes.names_at(service, "", level)]
        local = routes.names_at(service, service.namespace, 1)
        self.far = _ports(service, wide)
        self.near = _ports(service, (*wide, *local)) if local else self.far
        self.wide = frozenset(chain.from_iterable(self.far.values()))
        self.local = frozenset(chain.from_iterable(self.near.values())) - self.wide


def _names(service: Service, last: _Names | None) -> _Names:
    shape = shape_of(service)
    return last if last is not None and last.shape == shape else _Names(service, shape)


def _ports(service: Service, names: Iterable[str]) -> Ports:
    hosts = {routes.as_host(name) for name in names}
    found: dict[int, set[str]] = {}
    for port, suffix in routes.suffixes(service):
        found.setdefault(port, set()).update([host + suffix for host in hosts])
    return {port: tuple(sorted(domains)) for port, domains in found.items()}


class Called:
    """The domains of services as some clients know them; another object where one that was
    disputed is another's. disputed: host names of services -> their ports."""

    __slots__ = ("_directory", "_disputed", "_namespace", "made_of")

    def __init__(
        self,
        directory: Directory,
        namespace: str,
        made_of: tuple[_Names, ...],
        disputed: Mapping[str, Ports],
    ) -> None:
        self._directory = directory
        self._namespace = namespace
        self.made_of = made_of
        self._disputed = disputed

    def of(self, service: Service, port: int) -> tuple[str, ...]:
        found = self._disputed.get(service.hostname)
        if found is None:
            found = self._directory.alone(service, self._namespace)
        return found.get(port, ())


class Directory:
    """Of all services that there are now."""

    def __init__(self) -> None:
        self._services: tuple[Service, ...] = ()
        self._is_due = False
        self._names: Column[_Names] = Column()
        self._known: dict[str, _Names] = {}
        self._wide: Counter[str] = Counter()
        self._local: dict[str, Counter[str]] = defaultdict(Counter)
        self._several: frozenset[str] = frozenset()
        self._disputes: dict[str, frozenset[str]] = {}

    def use(self, services: tuple[Service, ...]) -> None:
        """These are there now; they are looked at when somebody asks."""
        self._services, self._is_due = services, True

    def look(self) -> None:
        """At those that are there now."""
        before, due = self._names.values, self._is_due
        self._is_due = False
        if not due or not self._names.update(self._services, (), _names):
            return
        gone, new = differences(before, self._names.values)
        for one in gone:
            _forget(self._wide, one.wide)
            _forget(self._local[one.namespace], one.local)
        for one in new:
            self._wide.update(one.wide)
            self._local[one.namespace].update(one.local)
        self._local = defaultdict(Counter, {k: found for k, found in self._local.items() if found})
        self._known = {one.hostname: one for one in self._names.values}
        self._several = frozenset(domain for domain, count in self._wide.items() if count > 1)
        self._disputes = {}

    def alone(self, service: Service, namespace: str) -> Ports:
        """As if there were no other service."""
        names = self._known[service.hostname]
        return names.near if names.namespace == namespace else names.far

    def called(self, services: Iterable[Service], namespace: str, last: Called | None) -> Called:
        """services: all that the clients in `namespace` may call, in their order."""
        self.look()
        disputes = self._disputes.get(namespace)
        if disputes is None:
            disputes = self._disputes[namespace] = self._disputed(namespace)
        about = [one for one in services if one.hostname in disputes] if disputes else []
        made_of = tuple([self._known[one.hostname] for one in about])
        if last is not None and last.made_of == made_of:
            return last
        whole = routes.Domains(about, namespace)
        disputed = {
            one.hostname: {port: tuple(whole.of(one, port)) for port in routes.tcp_ports(one)}
            for one in about
        }
        return Called(self, namespace, made_of, disputed)

    def _disputed(self, namespace: str) -> frozenset[str]:
        """The host names of services that want a domain which another one wants, too."""
        wide, local = self._wide, self._local.get(namespace, Counter())
        several = {domain for domain, count in local.items() if count + wide.get(domain, 0) > 1}
        several |= self._several
        if not several:
            return _NONE
        return frozenset(
            one.hostname
            for one in self._names.values
            if not several.isdisjoint(one.wide)
            or (one.namespace == namespace and not several.isdisjoint(one.local))
        )


def _forget(counter: Counter[str], found: Iterable[str]) -> None:
    counter.subtract(found)
    for one in found:
        if not counter[one]:
            del counter[one]
