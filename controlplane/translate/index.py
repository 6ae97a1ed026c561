"""Look-ups: workloads by label, services by any name that a rule may use for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from controlplane.kinds import core
from controlplane.kinds.objects import Object
from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import Service
from controlplane.translate.differences import differences
from controlplane.translate.questions import Index, asked, unlike

DOMAIN = "cluster.local"
"""The DNS domain of Kubernetes services, Istio's default; not the trust domain."""


def age(obj: Object) -> tuple[str, str, int, int, str]:
    """Sorts the oldest first, as Istio does; objects without a timestamp by their place (in words
    and numbers, as comparing Positions takes ten times as long)."""
    at = obj.position
    return obj.metadata.creation_timestamp, at.source, at.line, at.column, at.path


def key_of(obj: Object) -> tuple[str, str]:
    """Among objects of one kind."""
    return obj.metadata.namespace, obj.metadata.name


def labels_of(entry: WorkloadEntry) -> Mapping[str, str]:
    """Istio merges the labels of spec and metadata; spec wins."""
    return {**entry.metadata.labels, **entry.spec.labels}


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def hostname_of(service: Service) -> str:
    return service.hostname


class Workloads(Index):
    """WorkloadEntries by namespace and label."""

    def __init__(self, entries: tuple[WorkloadEntry, ...]) -> None:
        self._entries = entries
        self._by_label: dict[tuple[str, str, str], list[WorkloadEntry]] = defaultdict(list)
        self._by_address: dict[str, list[WorkloadEntry]] = defaultdict(list)
        for entry in entries:
            self._by_address[entry.spec.address].append(entry)
            for key, value in labels_of(entry).items():
                self._by_label[entry.namespace, key, value].append(entry)

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """By namespace and selector the first label; by address that."""
        if len(args) == 1:
            return args
        return ((args[0], label) for label in sorted(args[1].items())[:1])

    def changed_since(self, before: Workloads) -> Collection[Hashable]:
        found: set[Hashable] = set()
        for entries in differences(before._entries, self._entries):
            for entry in entries:
                found.add(entry.spec.address)
                found |= {(entry.namespace, label) for label in labels_of(entry).items()}
        return found

    @asked
    def selected(self, namespace: str, selector: Mapping[str, str]) -> tuple[WorkloadEntry, ...]:
        """Those that have every label of `selector`; none for an empty one."""
        lists = [self._by_label.get((namespace, k, v), []) for k, v in selector.items()]
        fewest = min(lists, key=len, default=[])
        return tuple(entry for entry in fewest if selects(selector, labels_of(entry)))

    @asked
    def at(self, address: str) -> tuple[WorkloadEntry, ...]:
        """Those that have this address alone, as on a laptop all have the loopback's."""
        alone = is_ip(address) and not ip_address(address).is_loopback
        return tuple(self._by_address.get(address, ())) if alone else ()


EndpointList = core.Endpoints | core.EndpointSlice


class Listed:
    """What Kubernetes lists as the endpoints of a Service: inputs, and not answers, as each Service
    has its own. Made of the one before, as one of very many changes all the time."""

    __slots__ = ("_endpoints", "_lists", "_slices")

    def __init__(self) -> None:
        self._endpoints: tuple[core.Endpoints, ...] = ()
        self._slices: tuple[core.EndpointSlice, ...] = ()
        self._lists: dict[tuple[str, str], tuple[EndpointList, ...]] = {}

    @classmethod
    def following(
        cls,
        last: Listed | None,
        endpoints: tuple[core.Endpoints, ...],
        slices: tuple[core.EndpointSlice, ...],
    ) -> Listed:
        """Both sorted by namespace and name."""
        last, made = last or cls(), cls()
        made._endpoints, made._slices = endpoints, slices
        made._lists = dict(last._lists)
        for gone, new in (
            differences(last._endpoints, endpoints),
            differences(last._slices, slices),
        ):
            made._exchange(gone, new)
        return made

    def _exchange(self, gone: Sequence[EndpointList], new: Sequence[EndpointList]) -> None:
        went = {id(one) for one in gone}
        for place in {_service_of(one) for one in gone}:
            stay = tuple([one for one in self._lists.pop(place) if id(one) not in went])
            if stay:
                self._lists[place] = stay
        for one in new:
            place = _service_of(one)
            self._lists[place] = tuple(sorted((*self._lists.get(place, ()), one), key=_rank))

    def of(self, namespace: str, name: str) -> tuple[EndpointList, ...]:
        """Endpoints first."""
        return self._lists.get((namespace, name), ())

    def of_all(self, objects: Iterable[Object]) -> list[tuple[EndpointList, ...]]:
        find, places = self._lists.get, [one.metadata for one in objects]
        return [find((place.namespace, place.name), ()) for place in places]


def _service_of(item: EndpointList) -> tuple[str, str]:
    name = item.service_name if isinstance(item, core.EndpointSlice) else item.name
    return item.namespace, name


def _rank(item: EndpointList) -> tuple[bool, str]:
    return isinstance(item, core.EndpointSlice), item.name


class Hosts(Index):
    """Services by full name, and short names as they are meant in a namespace."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = {service.hostname: service for service in services}
        self._aliases = {
            alias: service.hostname
            for service in self._services.values()
            for alias in service.aliases
        }

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """The host that is asked for; all that is below a wildcard."""
        host: str = args[0]
        return ("*" if host.startswith("*") else _spelled(host),)

    def changed_since(self, before: Hosts) -> Collection[Hashable]:
        found = unlike(before._services, self._services)
        if before._aliases != self._aliases:
            found |= {name for name, _ in before._aliases.items() ^ self._aliases.items()}
        return found | {"*"}

    @asked
    def full_name(self, host: str, namespace: str) -> str:
        """Istio's rule: a name without a dot is a service of the object's own namespace.

        Beyond it, 'name.namespace' and 'name.namespace.svc' of a known service are understood."""
        host = _spelled(host)
        if host in self._services or host == "*":
            return host
        if "." not in host:
            return f"{host}.{namespace}.svc.{DOMAIN}"
        return self._aliases.get(host, host)

    @asked
    def get(self, hostname: str) -> Service | None:
        return self._services.get(hostname)

    @asked
    def matching(self, hostname: str) -> tuple[Service, ...]:
        """The services that a host of a rule means: one, or those below a wildcard, sorted."""
        if not hostname.startswith("*"):
            found = self._services.get(hostname)
            return (found,) if found else ()
        suffix = hostname[1:]
        names = sorted(n for n in self._services if n.endswith(suffix) and n != hostname)
        exact = [hostname] if hostname in self._services else []
        return tuple(self._services[name] for name in (*exact, *names))


def _spelled(host: str) -> str:
    return host.rstrip(".").lower()
