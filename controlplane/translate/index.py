"""Look-ups: workloads by label, services by any name that a rule may use for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from controlplane.kinds import core
from controlplane.kinds.decoders import is_ip
from controlplane.kinds.objects import Object
from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.mesh.model import Position, Service
from controlplane.translate.memo import Index, asked

DOMAIN = "cluster.local"
"""The DNS domain of Kubernetes services, Istio's default; not the trust domain."""


def age(obj: Object) -> tuple[str, Position]:
    """Sorts the oldest first, as Istio does; objects without a timestamp by their place."""
    return obj.metadata.creation_timestamp, obj.position


def labels_of(entry: WorkloadEntry) -> Mapping[str, str]:
    """Istio merges the labels of spec and metadata; spec wins."""
    return {**entry.metadata.labels, **entry.spec.labels}


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


class Workloads(Index):
    """WorkloadEntries by namespace and label."""

    def __init__(self, entries: Iterable[WorkloadEntry]) -> None:
        self._by_label: dict[tuple[str, str, str], list[WorkloadEntry]] = defaultdict(list)
        self._by_address: dict[str, list[WorkloadEntry]] = defaultdict(list)
        for entry in entries:
            self._by_address[entry.spec.address].append(entry)
            for key, value in labels_of(entry).items():
                self._by_label[entry.namespace, key, value].append(entry)

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
    has its own."""

    def __init__(
        self, endpoints: Iterable[core.Endpoints], slices: Iterable[core.EndpointSlice]
    ) -> None:
        self._lists: dict[tuple[str, str], list[EndpointList]] = defaultdict(list)
        for item in endpoints:
            self._lists[item.namespace, item.name].append(item)
        for part in slices:
            self._lists[part.namespace, part.service_name].append(part)

    def of(self, namespace: str, name: str) -> Sequence[EndpointList]:
        """Endpoints first."""
        return self._lists.get((namespace, name), ())


class Hosts(Index):
    """Services by full name, and short names as they are meant in a namespace."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = {service.hostname: service for service in services}
        self._aliases = {
            alias: service.hostname
            for service in self._services.values()
            for alias in service.aliases
        }

    @asked
    def full_name(self, host: str, namespace: str) -> str:
        """Istio's rule: a name without a dot is a service of the object's own namespace.

        Beyond it, 'name.namespace' and 'name.namespace.svc' of a known service are understood."""
        host = host.rstrip(".").lower()
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
