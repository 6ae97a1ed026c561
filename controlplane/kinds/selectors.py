"""What the policies of Istio's security API have in common: which workloads they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from controlplane.kinds.decoders import NAME, map_of, text
from controlplane.kinds.schema import Place, Record, names, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Node
from controlplane.mesh.position import Position

SECURITY = names("security.istio.io/v1 security.istio.io/v1beta1")
_KINDS: Mapping[str, frozenset[str]] = {
    "gateway.networking.k8s.io": names("Gateway GatewayClass"),
    "networking.istio.io": names("ServiceEntry"),
    "": names("Service"),
    "core": names("Service"),
}


def named(node: Node, place: Place) -> str:
    """A string that is not empty."""
    if value := text(node, place):
        return value
    raise place.refuse(node, "a string that is not empty")


@record
class WorkloadSelector(Record):
    match_labels: Mapping[str, str] = optional(map_of(text), {})

    def check(self) -> Iterator[tuple[str, str]]:
        for name, value in self.match_labels.items():
            if not name:
                yield "matchLabels", "a label needs a name"
            if "*" in name + value:
                yield f"matchLabels.{name}", "'*' does not stand for anything in a selector"


@record
class TargetRef(Record):
    """Istio's PolicyTargetReference."""

    UNSUPPORTED = names("sectionName")
    group: str = optional(text, "")
    kind: str = required(named)
    name: str = required(NAME)
    namespace: str = optional(text, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.kind not in _KINDS.get(self.group, ()):
            known = "Gateway, GatewayClass, Service or ServiceEntry with their groups"
            yield "kind", f"expected {known}, got {self.kind!r} of group {self.group!r}"
        if self.namespace:
            yield "namespace", "a target must be in the policy's own namespace; leave it out"


SELECTOR = obj(WorkloadSelector)
TARGET_REF = obj(TargetRef)


class Targeting(Protocol):
    """The specs that choose by a selector or by targets."""

    def at(self, key: str, /) -> Position: ...
    @property
    def selector(self) -> WorkloadSelector | None: ...
    @property
    def target_ref(self) -> TargetRef | None: ...
    @property
    def target_refs(self) -> tuple[TargetRef, ...]: ...


def targets_of(spec: Targeting) -> tuple[TargetRef, ...]:
    return spec.target_refs or ((spec.target_ref,) if spec.target_ref is not None else ())


def one_way_of_choosing(spec: Targeting) -> Iterator[tuple[str, str]]:
    """For `check`: selector, targetRef and targetRefs exclude each other."""
    given = {
        "selector": spec.selector is not None,
        "targetRef": spec.target_ref is not None,
        "targetRefs": bool(spec.target_refs),
    }
    found = [key for key, there in given.items() if there]
    if len(found) > 1:
        yield found[1], f"expected only one of {', '.join(given)}, got {' and '.join(found)}"
