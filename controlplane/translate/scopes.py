"""For which workloads a policy of the security API is: by label, by gateway, by namespace.

Istio's rules: without a choice it is for its whole namespace, and from the root namespace for
every one. Targets are gateways, known by the label of Gateway API; a sidecar ignores such a policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.kinds.objects import Object
from controlplane.kinds.selectors import Targeting, TargetRef, targets_of
from controlplane.mesh.model import Workload
from controlplane.mesh.policy import Scope
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
            message = (
                f"{target.kind} {target.name!r} can not be the target of a policy yet, so nothing "
                "enforces it there; choose workloads by a selector"
            )
            report.error(policy, target.position, "NotSupported", message)
    return tuple(target.name for target in targets if target.kind == "Gateway")


@dataclass(frozen=True, slots=True)
class Population:
    """workloads: those that are there. planned: namespace and labels of those that shall be."""

    workloads: tuple[Workload, ...] = ()
    planned: tuple[tuple[str, Mapping[str, str]], ...] = ()

    def has(self, scope: Scope) -> bool:
        there = any(scope.takes(w.namespace, w.labels) for w in self.workloads)
        return there or any(scope.takes(*one) for one in self.planned)


def tell_unused(policy: Object, scope: Scope, population: Population, report: Report) -> None:
    """A selector that chooses no workload is most often a misspelled one."""
    if scope.labels and not population.has(scope):
        where = f"the namespace {scope.namespace!r}" if scope.namespace else "the mesh"
        message = f"spec.selector: no workload of {where} has these labels"
        report.warning(policy, policy.position, "SelectsNothing", message)
