"""Pods as workloads of the mesh, which is what their sidecars ask for by name.

A workload is made when somebody asks for it, as of many pods few may have a sidecar here, and kept
while neither its pod nor what it is made of has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controlplane.kinds.pod import Pod
from controlplane.mesh.model import TlsMode, Workload
from controlplane.mesh.pods import Pods
from controlplane.translate.pods.residents import Residents, has_sidecar
from controlplane.translate.pods.serving import Serving
from controlplane.translate.pods.table import Name, PodTable
from controlplane.translate.workloads import captured


class _Kept(NamedTuple):
    pod: Pod
    ground: tuple[object, ...]
    workload: Workload


class PodWorkloads(Pods):
    __slots__ = ("_ground", "_kept", "_residents", "_serving", "_table")

    def __init__(self, residents: Residents, serving: Serving) -> None:
        self._table: PodTable = residents.table
        self._residents = residents
        self._serving = serving
        self._ground = (*residents.ground, serving)
        self._kept: dict[Name, _Kept] = {}

    @classmethod
    def of(cls, last: PodWorkloads | None, residents: Residents, serving: Serving) -> PodWorkloads:
        """last: of the mesh before, whose pods that are gone need not be kept."""
        made = cls(residents, serving)
        if last is not None:
            made._kept = last._kept
            for name in made._kept.keys() & made._table.changed:
                if made._table.get(*name) is None:
                    del made._kept[name]
        return made

    @property
    def stamp(self) -> str:
        return self._residents.stamp

    def get(self, namespace: str, name: str) -> Workload | None:
        pod = self._table.get(namespace, name)
        if pod is None or not pod.addresses:
            return None
        kept = self._kept.get((namespace, name))
        if kept is not None and kept.pod is pod and _same(kept.ground, self._ground):
            return kept.workload
        made = self._made(pod)
        if kept is not None and kept.workload == made:
            made = kept.workload
        self._kept[namespace, name] = _Kept(pod, self._ground, made)
        return made

    def __iter__(self) -> Iterator[Workload]:
        for pod in self._table.pods:
            if (made := self.get(pod.namespace, pod.name)) is not None:
                yield made

    def _made(self, pod: Pod) -> Workload:
        one = self._residents.resident(pod)
        mode, modes = self._residents.modes_at(pod)

        def of_port(numbers: tuple[int, ...]) -> TlsMode:
            return next((modes[number] for number in numbers if number in modes), mode)

        return Workload(
            name=pod.name,
            namespace=pod.namespace,
            service_account=pod.spec.service_account_name or "default",
            labels=one.labels,
            address=pod.addresses[0],
            captured=captured(self._serving.of(pod), of_port),
            mtls=mode,
            port_mtls=modes,
            pod=True,
            addresses=pod.addresses,
            has_sidecar=has_sidecar(pod),
            locality=one.locality,
            network=one.network,
            position=pod.position,
        )


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return all(mine is theirs for mine, theirs in zip(one, other, strict=True))
