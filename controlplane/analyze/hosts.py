"""Which host names there are, and for whom: of Services and ServiceEntries."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.analyze.fields import Field
from controlplane.analyze.items import Item, Items
from controlplane.analyze.names import DOMAIN, EVERYWHERE, full_host, scopes
from protos.frozen import frozen

_EXPORT_TO = "networking.istio.io/exportTo"


@frozen
class Host:
    item: Item
    ports: tuple[int, ...]
    selector: Mapping[str, str]


class Hosts:
    __slots__ = ("_aliases", "_by_scope")

    def __init__(self, items: Items) -> None:
        self._aliases: dict[str, str] = {}
        self._by_scope: dict[tuple[str, str], Host] = {}
        for entry in items.of("ServiceEntry", "istio.io"):
            host = Host(entry, _numbers(entry, "number"), _selector(entry))
            for scope in scopes(entry.spec["exportTo"], entry.namespace):
                for name in entry.spec["hosts"].texts:
                    self._by_scope[scope, name] = host
        for service in items.of("Service"):
            host = Host(service, _numbers(service, "port"), service.spec["selector"].labels)
            short = f"{service.name}.{service.namespace}"
            self._aliases |= {short: f"{short}.{DOMAIN}", f"{short}.svc": f"{short}.{DOMAIN}"}
            for scope in _annotated(service):
                self._by_scope[scope, f"{short}.{DOMAIN}"] = host

    def full_name(self, name: str, namespace: str) -> str:
        """Beyond Istio's rule 'name.namespace' and 'name.namespace.svc' of a service are known."""
        full = full_host(name, namespace)
        return self._aliases.get(full, full)

    def find(self, name: str, namespace: str, export_to: Field) -> Host | None:
        """What `name` means to those who see an object of `namespace` with this exportTo."""
        full = self.full_name(name, namespace)
        seen = {EVERYWHERE, *(scopes(export_to, namespace) - {EVERYWHERE} or {namespace})}
        for scope in (EVERYWHERE, *sorted(seen)):
            if (found := self._by_scope.get((scope, full))) is not None:
                return found
        return next(
            (
                host
                for (scope, pattern), host in self._by_scope.items()
                if pattern.startswith("*")
                and scope in (EVERYWHERE, namespace)
                and full.removeprefix("*").endswith(pattern[1:])
            ),
            None,
        )

    def some(self, pattern: str) -> bool:
        """Whether a pattern with a leading '*' has any host."""
        return any(name.endswith(pattern[1:]) for _, name in self._by_scope)


def _numbers(item: Item, key: str) -> tuple[int, ...]:
    found = (port[key].number for port in item.spec["ports"].items)
    return tuple(number for number in found if number is not None)


def _selector(entry: Item) -> Mapping[str, str]:
    return entry.spec["workloadSelector"]["labels"].labels


def _annotated(service: Item) -> list[str]:
    said = service.annotations.get(_EXPORT_TO, "")
    if not said:
        return [EVERYWHERE]
    return [service.namespace if one.strip() == "." else one.strip() for one in said.split(",")]
