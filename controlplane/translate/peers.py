"""PeerAuthentication -> the mTLS mode of each port of a workload.

Istio's precedence: a port of the workload's policy, the workload's, the namespace's, the mesh's
(without selector, in the root namespace istio-system). UNSET asks the next one. Of several at the
same level the oldest counts. Where none says anything Weft takes STRICT for a workload with a
sidecar of its own (annotation weft.dev/sidecar) and PERMISSIVE, as Istio, for any other.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

from controlplane.kinds.peer_authentication import Mode, PeerAuthentication
from controlplane.mesh.model import TlsMode
from controlplane.translate.differences import differences
from controlplane.translate.index import age, selects
from controlplane.translate.questions import Index, asked
from controlplane.translate.report import Report

ROOT_NAMESPACE = "istio-system"


class PeerModes(Index):
    def __init__(self, policies: tuple[PeerAuthentication, ...], report: Report) -> None:
        self._policies = policies
        self._report = report
        self._by_namespace: dict[str, PeerAuthentication] = {}
        self._selecting: dict[str, list[PeerAuthentication]] = {}
        self.stamp = ""
        for policy in sorted(policies, key=age):
            self.stamp += f"{policy.key} {policy.spec}\n"
            self._add(policy)

    def _add(self, policy: PeerAuthentication) -> None:
        if not policy.spec.selector.match_labels:
            first = self._by_namespace.setdefault(policy.namespace, policy)
            if first is not policy:
                self._conflict(policy, first)
        elif policy.namespace == ROOT_NAMESPACE:
            message = f"a policy with a selector has no effect in {ROOT_NAMESPACE}"
            self._report.warning(policy, policy.spec.at("selector"), "SelectsNothing", message)
        else:
            self._selecting.setdefault(policy.namespace, []).append(policy)

    def _conflict(self, policy: PeerAuthentication, first: PeerAuthentication) -> None:
        message = f"{first.key} at {first.position} is older and stays in force"
        self._report.warning(policy, policy.position, "Conflict", message)

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        """The namespace, which may be any where policies of the root's change."""
        return (args[0],)

    def changed_since(self, before: PeerModes) -> Collection[str] | None:
        gone, new = differences(before._policies, self._policies)
        found = {policy.namespace for policy in (*gone, *new)}
        return None if ROOT_NAMESPACE in found else found

    @asked
    def mode(
        self, namespace: str, labels: Mapping[str, str], ports: Iterable[int], default: TlsMode
    ) -> TlsMode:
        """The mode of one port. `ports`: the numbers by which a policy may name it."""
        return self._mode(namespace, labels, ports, default)

    def _mode(
        self, namespace: str, labels: Mapping[str, str], ports: Iterable[int], default: TlsMode
    ) -> TlsMode:
        chain: list[Mode] = []
        if (policy := self._of_workload(namespace, labels)) is not None:
            named = policy.spec.port_level_mtls
            chain += [named[str(port)].mode for port in ports if str(port) in named]
            chain.append(policy.spec.mtls.mode)
        for level in (namespace, ROOT_NAMESPACE):
            if (wide := self._by_namespace.get(level)) is not None:
                chain.append(wide.spec.mtls.mode)
        for mode in chain:
            if mode != "UNSET":
                return mode
        return default

    @asked
    def ports(self, namespace: str, labels: Mapping[str, str]) -> Mapping[int, TlsMode]:
        """Of the ports that the workload's own policy names."""
        return self._ports(namespace, labels)

    def _ports(self, namespace: str, labels: Mapping[str, str]) -> Mapping[int, TlsMode]:
        policy = self._of_workload(namespace, labels)
        named = policy.spec.port_level_mtls if policy is not None else {}
        return {
            int(port): self._mode(namespace, labels, (int(port),), "PERMISSIVE")
            for port in sorted(named, key=int)
        }

    def settled(
        self, namespace: str, labels: Mapping[str, str]
    ) -> tuple[TlsMode, Mapping[int, TlsMode]]:
        """Of a workload's ports, and of those that its own policy names; no question, as for
        indexes that are made of this one."""
        return self._mode(namespace, labels, (), "PERMISSIVE"), self._ports(namespace, labels)

    def _of_workload(self, namespace: str, labels: Mapping[str, str]) -> PeerAuthentication | None:
        found = [
            policy
            for policy in self._selecting.get(namespace, ())
            if selects(policy.spec.selector.match_labels, labels)
        ]
        for policy in found[1:]:
            self._conflict(policy, found[0])
        return found[0] if found else None
