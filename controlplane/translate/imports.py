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

_NO_EFFECT = {
    "ingress": "sidecars listen where services and WorkloadEntries say",
    "inboundConnectionPool": "inbound connections are not limited",
    "outboundTrafficPolicy": "hosts that are not known are refused, as REGISTRY_ONLY says",
}


def build(sidecars: Iterable[Sidecar], report: Report) -> tuple[Import, ...]:
    """The most specific first, then the oldest."""
    found: list[tuple[int, Import]] = []
    first: dict[tuple[int, str], Sidecar] = {}
    for sidecar in sorted(sidecars, key=age):
        _tell(sidecar, report)
        rank = _rank(sidecar)
        older = first.setdefault((rank, sidecar.namespace), sidecar)
        if rank and older is not sidecar:
            message = f"{older.key} at {older.position} is older and stays in force"
            report.warning(sidecar, sidecar.position, "Conflict", message)
        elif sidecar.spec.egress:
            found.append((rank, _import(sidecar)))
    return tuple(one for _, one in sorted(found, key=lambda ranked: ranked[0]))


def _rank(sidecar: Sidecar) -> int:
    """0 for some workloads, 1 for a namespace, 2 for the mesh."""
    selector = sidecar.spec.workload_selector
    if selector is not None and selector.labels:
        return 0
    return 2 if sidecar.namespace == ROOT_NAMESPACE else 1


def _import(sidecar: Sidecar) -> Import:
    selector = sidecar.spec.workload_selector
    labels = selector.labels if selector is not None else {}
    everywhere = _rank(sidecar) == 2
    written = [host for item in sidecar.spec.egress for host in item.hosts]
    return Import(
        Scope("" if everywhere else sidecar.namespace, labels),
        tuple(_hosts(written, sidecar.namespace)),
        tuple(sorted(host[1:].partition("/")[0] for host in written if _excludes(host))),
        sidecar.position,
    )


def _excludes(host: str) -> bool:
    """'~namespace/*', but not '~/*', which is no host at all."""
    return host.startswith("~") and not host.startswith("~/")


def _hosts(written: Iterable[str], own: str) -> Iterator[tuple[str, str]]:
    for host in written:
        namespace, _, name = host.partition("/")
        if not namespace.startswith("~"):
            yield own if namespace == "." else namespace, name.lower()


def _tell(sidecar: Sidecar, report: Report) -> None:
    """What of it has no effect."""
    spec = sidecar.spec
    for key, instead in _NO_EFFECT.items():
        policy = spec.outbound_traffic_policy
        refuses = key == "outboundTrafficPolicy" and policy and policy.mode == "REGISTRY_ONLY"
        if key in spec.where and not refuses:
            message = f"spec.{key} has no effect yet: {instead}"
            report.warning(sidecar, spec.at(key), "NoEffect", message)
    for index, item in enumerate(spec.egress):
        if item.port is not None or item.bind or item.capture_mode != "DEFAULT":
            message = (
                f"spec.egress[{index}]: its hosts are known at every port; port, bind and "
                "captureMode have no effect yet"
            )
            report.warning(sidecar, item.position, "NoEffect", message)
