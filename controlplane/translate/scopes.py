"""For which workloads a policy of the security API is: by label, by gateway, by namespace.

Istio's rules: without a choice it is for its whole namespace, and from the root namespace for
every one. Targets are gateways, known by the label of Gateway API; a sidecar ignores such a policy.
Services, ServiceEntries and the GatewayClass `istio-waypoint` are enforced by waypoints, which Weft
does not have: nothing enforces such a policy, and that is an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any

from controlplane.kinds.apps import Deployment
from controlplane.kinds.gateway_api.gateway import Gateway
from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.kinds.objects import Object
from controlplane.kinds.selectors import Targeting, TargetRef, targets_of
from controlplane.mesh.model import InboundPort, Workload
from controlplane.mesh.scopes import GATEWAY_NAME, Label, Scope
from controlplane.translate.differences import differences
from controlplane.translate.questions import Index, asked
from controlplane.translate.report import Report


def scope_of(policy: Object, spec: Targeting, report: Report) -> Scope:
    namespace = "" if policy.namespace == ROOT_NAMESPACE else policy.namespace
    targets = targets_of(spec)
    if not targets:
        labels = spec.selector.match_labels if spec.selector is not None else {}
        return Scope(namespace, labels)
    return Scope(policy.namespace, gateways=_gateways(policy, targets, report))


def _gateways(policy: Object, targets: tuple[TargetRef, ...], report: Report) -> tuple[str, ...]:
    for target in targets:
        if target.kind != "Gateway":
            message = f"{_named(target)} {_why_not(policy, target)}"
            report.error(policy, target.at("kind"), "NotSupported", message)
    return tuple(target.name for target in targets if target.kind == "Gateway")


def _named(target: TargetRef) -> str:
    return f"the target {target.kind} {target.name!r}:"


def _why_not(policy: Object, target: TargetRef) -> str:
    """What is enforced nowhere, and what to do about it."""
    if target.kind != "GatewayClass":
        return (
            "policies of a service are enforced by its waypoint, of which there are none here; "
            "sidecars pass them over, as in Istio, and nothing enforces this one; choose the "
            "service's workloads by a selector"
        )
    if policy.namespace != ROOT_NAMESPACE:
        return f"only policies in {ROOT_NAMESPACE} may target it, and nothing enforces this one"
    return (
        "policies of a GatewayClass are for waypoints, of which there are none here, and nothing "
        f"enforces this one; name each Gateway, or leave the targets out: then a policy in "
        f"{ROOT_NAMESPACE} is for every workload"
    )


Planned = tuple[str, Mapping[str, str]]


class Population(Index):
    """Whom policies may mean: workloads that are there, and namespace and labels of those that
    shall be (`planned`); gateways by namespace and name. Indexed, as there may be as many policies
    as workloads."""

    def __init__(
        self,
        workloads: tuple[Workload, ...],
        pods: tuple[Planned, ...] = (),
        deployments: Iterable[Deployment] = (),
        gateways: Iterable[Gateway] = (),
    ) -> None:
        """pods: of those that there are."""
        self._gateways = frozenset((one.namespace, one.name) for one in gateways)
        self._workloads = workloads
        shall_be = ((one.namespace, one.spec.template.metadata.labels) for one in deployments)
        self._planned = (*pods, *shall_be)
        self._by_label: dict[Label, list[Workload]] = defaultdict(list)
        for workload in self._workloads:
            for label in workload.labels.items():
                self._by_label[label].append(workload)

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """The scope's namespace with each of its marks."""
        scope: Scope = args[0] if isinstance(args[0], Scope) else _of_gateway(*args)
        return ((scope.namespace, mark) for mark in scope.marks)

    def changed_since(self, before: Population) -> Collection[Hashable]:
        came_and_went = differences(before._workloads, self._workloads)
        found = {mark for some in came_and_went for one in some for mark in _marks_of(one)}
        if self._planned != before._planned:
            for namespace, labels in _kins(before._planned) ^ _kins(self._planned):
                found.update(_marks(namespace, dict(labels)))
        for namespace, name in self._gateways ^ before._gateways:
            found.add((namespace, (GATEWAY_NAME, name)))
        return found

    def _meant(self, scope: Scope) -> Iterator[Workload]:
        for mark in scope.marks:
            among = self._workloads if mark is None else self._by_label.get(mark, ())
            yield from (w for w in among if scope.takes(w.namespace, w.labels))

    @asked
    def ports(self, scope: Scope) -> tuple[InboundPort, ...]:
        """Of the workloads of a scope, all that listen."""
        return tuple(port for workload in self._meant(scope) for port in workload.inbound)

    @asked
    def has_gateway(self, namespace: str, name: str) -> bool:
        """By its object, or by a proxy that says that it is one."""
        return (namespace, name) in self._gateways or self._has(_of_gateway(namespace, name))

    @asked
    def has(self, scope: Scope) -> bool:
        return self._has(scope)

    def _has(self, scope: Scope) -> bool:
        there = next(self._meant(scope), None) is not None
        return there or any(scope.takes(*one) for one in self._planned)


def _of_gateway(namespace: str, name: str) -> Scope:
    return Scope(namespace, gateways=(name,))


def _marks_of(workload: Workload) -> Iterator[tuple[str, Label | None]]:
    return _marks(workload.namespace, workload.labels)


def _kins(planned: Iterable[Planned]) -> set[tuple[str, frozenset[Label]]]:
    return {(namespace, frozenset(labels.items())) for namespace, labels in planned}


def _marks(namespace: str, labels: Mapping[str, str]) -> Iterator[tuple[str, Label | None]]:
    """Of the scopes that may take it."""
    for where in ("", namespace):
        yield from ((where, label) for label in (None, *labels.items()))


def tell_unused(
    policy: Object, spec: Targeting, scope: Scope, population: Population, report: Report
) -> None:
    """A selector that chooses no workload is most often a misspelled one, and so is a gateway's
    name."""
    if scope.labels and not population.has(scope):
        where = f"the namespace {scope.namespace!r}" if scope.namespace else "the mesh"
        message = f"spec.selector: no workload of {where} has these labels"
        report.warning(policy, spec.at("selector"), "SelectsNothing", message)
    for target in targets_of(spec):
        if target.kind == "Gateway" and not population.has_gateway(policy.namespace, target.name):
            where = f"the namespace {policy.namespace!r}"
            message = f"{_named(target)} there is no such Gateway in {where}, the policy's own"
            report.warning(policy, target.at("name"), "SelectsNothing", message)
