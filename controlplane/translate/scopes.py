"""For which workloads a policy of the security API is: by label, by gateway, by namespace.

Istio's rules: without a choice it is for its whole namespace, and from the root namespace for
every one. Targets are gateways, known by the label of Gateway API; a sidecar ignores such a policy.
Services, ServiceEntries and the GatewayClass `istio-waypoint` are enforced by waypoints, which Weft
does not have: nothing enforces such a policy, and that is an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.kinds.objects import Object
from controlplane.kinds.selectors import Targeting, TargetRef, targets_of
from controlplane.mesh.model import Workload
from controlplane.mesh.scopes import Label, Scope
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


class Population:
    """Whom policies may mean: workloads that are there, and namespace and labels of those that
    shall be; gateways by namespace and name. Indexed, as there may be as many policies as
    workloads."""

    __slots__ = ("_by_label", "_gateways", "_planned", "_workloads")

    def __init__(
        self,
        workloads: Iterable[Workload],
        planned: Iterable[Planned],
        gateways: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._gateways = frozenset(gateways)
        self._workloads = tuple(workloads)
        self._planned = tuple(planned)
        self._by_label: dict[Label, list[Workload]] = defaultdict(list)
        for workload in self._workloads:
            for label in workload.labels.items():
                self._by_label[label].append(workload)

    def meant(self, scope: Scope) -> Iterator[Workload]:
        """The workloads of a scope."""
        for mark in scope.marks:
            among = self._workloads if mark is None else self._by_label.get(mark, ())
            yield from (w for w in among if scope.takes(w.namespace, w.labels))

    def has_gateway(self, namespace: str, name: str) -> bool:
        """By its object, or by a proxy that says that it is one."""
        return (namespace, name) in self._gateways or self.has(Scope(namespace, gateways=(name,)))

    def has(self, scope: Scope) -> bool:
        there = next(self.meant(scope), None) is not None
        return there or any(scope.takes(*one) for one in self._planned)


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
