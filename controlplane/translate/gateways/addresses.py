"""Where clients come in: at the Services before a gateway's proxies, else at the proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds import core
from controlplane.kinds.mesh_config import ROOT_NAMESPACE as ROOT
from controlplane.mesh.model import Workload
from controlplane.mesh.scopes import Scope
from controlplane.translate.index import selects


class Addresses:
    __slots__ = ("_proxies", "_services")

    def __init__(self, services: Iterable[core.Service], proxies: Iterable[Workload]) -> None:
        """proxies: workloads that are gateways."""
        self._services = tuple(one for one in services if one.spec.selector)
        self._proxies = tuple(proxies)

    def of(self, scope: Scope) -> tuple[str, ...]:
        """Of the gateways of this scope, sorted, each once."""
        there = [one for one in self._proxies if scope.takes(one.namespace, one.labels)]
        before = [one for one in self._services if _is_before(one, scope, there)]
        found = {address for one in before for address in _addresses(one)}
        if not before:
            found = {one.address for one in there if one.address}
        return tuple(sorted(found))

    def of_service(self, name: str) -> tuple[str, ...]:
        """Of that Service of the root namespace (Istio's ingressService), sorted."""
        found = [one for one in self._services if (one.namespace, one.name) == (ROOT, name)]
        return tuple(sorted({address for one in found for address in _addresses(one)}))


def _is_before(service: core.Service, scope: Scope, proxies: Iterable[Workload]) -> bool:
    """It sends what comes to these proxies; of a scope by labels it says so itself."""
    selector = service.spec.selector
    named = bool(scope.labels) and scope.labels.items() <= selector.items()
    if named and scope.namespace in ("", service.namespace):
        return True
    mine = (one for one in proxies if one.namespace == service.namespace)
    return any(selects(selector, one.labels) for one in mine)


def _addresses(service: core.Service) -> Iterator[str]:
    """Of the load balancer and outside of the cluster; where there is none, inside of it."""
    spec, ingress = service.spec, service.status.load_balancer.ingress
    outside = [*(one.ip or one.hostname for one in ingress), *spec.external_ips]
    if any(outside):
        yield from (one for one in outside if one)
    elif spec.type in ("ClusterIP", "NodePort"):
        yield from spec.addresses
