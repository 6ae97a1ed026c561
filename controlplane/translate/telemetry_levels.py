"""Which Telemetries hold for which workloads, for one of the things that they speak of.

Istio's precedence: what the root namespace says, its namespace's Telemetry over it, and over that
the one that selects the workload; of several on one level the oldest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.kinds.telemetry import Telemetry
from controlplane.mesh.scopes import Scope
from controlplane.translate.report import Report
from controlplane.translate.scopes import scope_of


@dataclass(slots=True)
class Levels:
    """Added from the oldest on; those that say nothing of the matter are not added."""

    _chosen: list[tuple[Scope, Telemetry]] = field(default_factory=list)
    _by_namespace: dict[str, Telemetry] = field(default_factory=dict)

    def add(self, item: Telemetry, report: Report) -> None:
        scope = scope_of(item, item.spec, report)
        if scope.gateways is not None:
            self._chosen.append((scope, item))
        elif scope.labels:
            self._chosen.append((replace(scope, namespace=item.namespace), item))
        elif (older := self._by_namespace.setdefault(item.namespace, item)) is not item:
            message = f"{older.key} at {older.position} is older and stays in force"
            report.warning(item, item.position, "Conflict", message)

    def all(self) -> Iterator[tuple[Scope, tuple[Telemetry, ...]]]:
        """The most specific first, each with the Telemetries of all levels, the widest first."""
        for scope, item in self._chosen:
            yield scope, (*self._wider(item.namespace), item)
        spaces = sorted(self._by_namespace, key=lambda name: (name == ROOT_NAMESPACE, name))
        for namespace in spaces:
            everywhere = namespace == ROOT_NAMESPACE
            yield Scope("" if everywhere else namespace), tuple(self._wider(namespace))

    def _wider(self, namespace: str) -> list[Telemetry]:
        places = dict.fromkeys((ROOT_NAMESPACE, namespace))
        return [self._by_namespace[name] for name in places if name in self._by_namespace]
