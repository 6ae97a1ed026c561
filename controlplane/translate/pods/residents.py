"""What clients of a pod must know: where it is, who it is, whether a sidecar answers and if it may
be asked now.

A sidecar is told by the label that Istio's and Weft's injection sets (security.istio.io/tlsMode:
istio) or the annotation weft.dev/sidecar. Without a policy its ports take mutual TLS and plain
text (PERMISSIVE), as in Istio.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import field
from typing import Any, Literal

from controlplane.kinds.cluster_node import Node
from controlplane.kinds.pod import Pod
from controlplane.mesh.model import Endpoint, TlsMode
from controlplane.mesh.networks import NO_NETWORKS, Networks
from controlplane.translate.peers import PeerModes
from controlplane.translate.pods.table import Name, PodTable
from controlplane.translate.questions import Index, asked
from controlplane.translate.sidecars import SIDECAR, TLS_MODE
from protos.frozen import frozen

_LOCALITY = "istio-locality"
"""Istio's label of a pod that stands elsewhere than its node: region/zone/subzone, or with dots."""

Place = tuple[str, str, str]
NOWHERE: Place = ("", "", "")


def places(nodes: Iterable[Node]) -> Mapping[str, Place]:
    """Where each node is, by its name."""
    return {node.name: node.locality for node in nodes}


@frozen
class Where:
    """nodes: where each machine is. networks: in which a pod may be."""

    nodes: Mapping[str, Place]
    networks: Networks = NO_NETWORKS


@frozen
class Resident:
    """A pod. mode: of the ports that `modes` does not name; DISABLE without a sidecar."""

    pod: Pod
    labels: Mapping[str, str]
    identity: str
    locality: Place = NOWHERE
    modes: Mapping[int, TlsMode] = field(default_factory=dict)
    mode: TlsMode = "DISABLE"
    network: str = ""

    @property
    def health(self) -> Literal["HEALTHY", "UNHEALTHY", "DRAINING"]:
        """As Kubernetes' endpoints controller has it."""
        if not self.pod.is_ready:
            return "UNHEALTHY"
        return "DRAINING" if self.pod.is_leaving else "HEALTHY"

    def takes_mtls(self, port: int) -> bool:
        return self.modes.get(port, self.mode) != "DISABLE"

    def endpoints(
        self,
        address: str,
        ports: Mapping[int, int],
        health: Literal["HEALTHY", "UNHEALTHY", "DRAINING"],
        more: tuple[str, ...] = (),
    ) -> Iterable[Endpoint]:
        """One endpoint, or two where some of the ports take mTLS and others do not."""
        for mesh in (True, False):
            mine = {port: at for port, at in ports.items() if self.takes_mtls(at) is mesh}
            if mine:
                yield Endpoint(
                    address,
                    mine,
                    self.labels,
                    self.identity,
                    mesh,
                    health,
                    locality=self.locality,
                    workload=f"{self.pod.namespace}/{self.pod.name}",
                    more_addresses=more,
                    network=self.network,
                )


class Residents(Index):
    def __init__(self, table: PodTable, where: Where, modes: PeerModes, trust_domain: str) -> None:
        self.table = table
        self.ground = (where, modes)
        self.stamp = modes.stamp
        self._where = where
        self._modes = modes
        self._trust_domain = trust_domain

    @asked
    def at(self, names: tuple[Name, ...]) -> tuple[Resident | None, ...]:
        """The pods of these names or addresses."""
        found = map(self.table.at, names)
        return tuple(None if pod is None else self.resident(pod) for pod in found)

    @asked
    def selected(self, namespace: str, selector: Mapping[str, str]) -> tuple[Resident, ...]:
        """Those that have an address."""
        pods = self.table.selected(namespace, selector)
        return tuple(self.resident(pod) for pod in pods if pod.addresses)

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """Names or addresses, or of namespace and selector the first label; what nodes say changes
        everything."""
        if len(args) == 1:
            return () if isinstance(args[0], str) else args[0]
        return ((args[0], label) for label in sorted(args[1].items())[:1])

    def changed_since(self, before: Residents) -> Collection[Hashable] | None:
        follows = self.table is before.table or self.table.follows is before.table.token
        modes = self._modes.changed_since(before._modes)
        if not follows or self._where is not before._where or modes is None:
            return None
        found = set(self.table.marks_in(modes)) if modes else set[Hashable]()
        return found if self.table is before.table else found | self.table.changed

    @asked
    def place_of(self, node: str) -> Place:
        return self._where.nodes.get(node, NOWHERE)

    @asked
    def network_of(self, address: str) -> str:
        """Of somebody there of whom nothing else is known."""
        return self._where.networks.at(address, {})

    def resident(self, pod: Pod) -> Resident:
        labels = dict(sorted(pod.metadata.labels.items()))
        mode, modes = self.modes_at(pod) if has_sidecar(pod) else ("DISABLE", {})
        account = pod.spec.service_account_name or "default"
        where, address = self._where, next(iter(pod.addresses), "")
        return Resident(
            pod,
            labels,
            f"spiffe://{self._trust_domain}/ns/{pod.namespace}/sa/{account}",
            _locality(labels.get(_LOCALITY, "")) or where.nodes.get(pod.spec.node_name, NOWHERE),
            modes,
            mode,
            where.networks.at(address, labels),
        )

    def modes_at(self, pod: Pod) -> tuple[TlsMode, Mapping[int, TlsMode]]:
        """What a sidecar demands: by default, and at some ports."""
        return self._modes.settled(pod.namespace, pod.metadata.labels)


def has_sidecar(pod: Pod) -> bool:
    """In a node's own network nothing is intercepted."""
    told = pod.metadata.annotations.get(SIDECAR) == "true"
    told = told or pod.metadata.labels.get(TLS_MODE) == "istio"
    return told and not pod.spec.host_network


def _locality(text: str) -> Place | None:
    if not text:
        return None
    region, zone, subzone = [*text.replace(".", "/").split("/", 2), "", ""][:3]
    return region, zone, subzone
