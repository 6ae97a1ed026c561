"""Sidecars -> which services the proxies of some workloads know.

Istio's precedence: a Sidecar with a workloadSelector, then its namespace's, then the one of the
root namespace; of several on one level the oldest. Without `egress` it says nothing of services.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.kinds.sidecar import Sidecar
from controlplane.mesh.imports import Import
from controlplane.mesh.scopes import Scope
from controlplane.translate.index import age
from controlplane.translate.report import Report


def build(sidecars: Iterable[Sidecar], report: Report) -> tuple[Import, ...]:
    """The most specific first, then the oldest."""
    found: list[tuple[int, Import]] = []
    first: dict[tuple[int, str], Sidecar] = {}
    for sidecar in sorted(sidecars, key=age):
        rank = _rank(sidecar)
        older = first.setdefault((rank, sidecar.namespace), sidecar)
        if rank and older is not sidecar:
            message = f"{older.key} at {older.position} is older and stays in force"
            report.warning(sidecar, sidecar.position, "Conflict", message)
        elif sidecar.spec.egress:
            found.append((rank, _import(sidecar)))
    return tuple(one for _, one in sorted(found, key=lambda ranked: ranked[0]))


def first_of_each(sidecars: Iterable[Sidecar]) -> tuple[Sidecar, ...]:
    """Those that are in force for some workload, the most specific first."""
    first: dict[tuple[int, str], Sidecar] = {}
    selecting: list[Sidecar] = []
    for sidecar in sorted(sidecars, key=age):
        rank = _rank(sidecar)
        if rank:
            first.setdefault((rank, sidecar.namespace), sidecar)
        else:
            selecting.append(sidecar)
    return (*selecting, *(first[key] for key in sorted(first)))


def _rank(sidecar: Sidecar) -> int:
    """0 for some workloads, 1 for a namespace, 2 for the mesh."""
    selector = sidecar.spec.workload_selector
    if selector is not None and selector.labels:
        return 0
    return 2 if sidecar.namespace == ROOT_NAMESPACE else 1


def scope_of(sidecar: Sidecar) -> Scope:
    selector = sidecar.spec.workload_selector
    labels = selector.labels if selector is not None else {}
    return Scope("" if _rank(sidecar) == 2 else sidecar.namespace, labels)


def _import(sidecar: Sidecar) -> Import:
    written = [host for item in sidecar.spec.egress for host in item.hosts]
    hosts, excluded = names_of(written, sidecar.namespace)
    return Import(scope_of(sidecar), hosts, excluded, sidecar.position)


def names_of(
    written: Iterable[str], own: str
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The hosts that an Import takes, and the namespaces that it does not."""
    written = tuple(written)
    excluded = sorted(host[1:].partition("/")[0] for host in written if _excludes(host))
    return tuple(_hosts(written, own)), tuple(excluded)


def _excludes(host: str) -> bool:
    """'~namespace/*', but not '~/*', which is no host at all."""
    return host.startswith("~") and not host.startswith("~/")


def _hosts(written: Iterable[str], own: str) -> Iterator[tuple[str, str]]:
    for host in written:
        namespace, _, name = host.partition("/")
        if not namespace.startswith("~"):
            yield own if namespace == "." else namespace, name.lower()
