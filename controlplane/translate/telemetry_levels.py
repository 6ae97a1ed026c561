"""Which Telemetries hold for which workloads, for one of the things that they speak of.

Istio's precedence: what the root namespace says, its namespace's Telemetry over it, and over that
the one that selects the workload; of several on one level the oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import TypeVar

from controlplane.inventory import Snapshot
from controlplane.kinds.mesh_config import ROOT_NAMESPACE, MeshConfigMap
from controlplane.kinds.telemetry import Telemetry, TelemetrySpec
from controlplane.mesh.scopes import Scope
from controlplane.translate.index import age
from controlplane.translate.report import Report
from controlplane.translate.scopes import scope_of

KINDS = (MeshConfigMap, Telemetry)
"""What of a snapshot decides."""

Level = tuple[Scope, tuple[Telemetry, ...]]
"""A scope, and all Telemetries that hold for it, the widest first."""

S = TypeVar("S")
T = TypeVar("T")


def settings_of(snapshot: Snapshot) -> MeshConfigMap | None:
    return next(iter(snapshot.of(MeshConfigMap)), None)


def saying(snapshot: Snapshot, said: Callable[[TelemetrySpec], Sized]) -> tuple[Telemetry, ...]:
    """Those that say something of the matter, the oldest first."""
    return tuple(one for one in sorted(snapshot.of(Telemetry), key=age) if said(one.spec))


def levels(items: Iterable[Telemetry], report: Report) -> tuple[Level, ...]:
    """The most specific first. items: the oldest first."""
    found = _Levels()
    for item in items:
        found.add(item, report)
    return tuple(found.all())


def scoped(
    found: tuple[Level, ...],
    merged: Callable[[tuple[Telemetry, ...]], T],
    implied: T,
    make: Callable[[Scope, T], S],
) -> tuple[S, ...]:
    """What the levels come to; the first whose scope takes a workload holds for it. implied: what
    holds where there is none, so that it needn't be said for everybody."""
    made = [make(scope, merged(items)) for scope, items in found]
    rest = merged(())
    if rest != implied and (not found or found[-1][0] != Scope()):
        made.append(make(Scope(), rest))
    return tuple(made)


@dataclass(slots=True)
class _Levels:
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

    def all(self) -> Iterator[Level]:
        for scope, item in self._chosen:
            yield scope, (*self._wider(item.namespace), item)
        spaces = sorted(self._by_namespace, key=lambda name: (name == ROOT_NAMESPACE, name))
        for namespace in spaces:
            everywhere = namespace == ROOT_NAMESPACE
            yield Scope("" if everywhere else namespace), tuple(self._wider(namespace))

    def _wider(self, namespace: str) -> list[Telemetry]:
        places = dict.fromkeys((ROOT_NAMESPACE, namespace))
        return [self._by_namespace[name] for name in places if name in self._by_namespace]
