"""Which of many policies are for a workload, without looking at all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Generic, Protocol, TypeVar

from protos.frozen import frozen

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""Gateway API's label of a gateway's workloads."""

Label = tuple[str, str]


@frozen
class Scope:
    """Which workloads: those of `namespace` ('' is every one) with all of the labels; where
    `gateways` is not None only the gateways of these names."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    gateways: tuple[str, ...] | None = None

    def takes(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a workload of `namespace` with `labels` is meant."""
        if self.namespace not in ("", namespace):
            return False
        if self.gateways is not None:
            return labels.get(GATEWAY_NAME, "") in self.gateways
        return all(labels.get(key) == value for key, value in self.labels.items())

    @property
    def marks(self) -> Iterator[Label | None]:
        """Labels of which a workload must have one to be meant; None: any workload may be."""
        if self.gateways is not None:
            yield from ((GATEWAY_NAME, name) for name in self.gateways)
        else:
            yield next(iter(self.labels.items()), None)


class Scoped(Protocol):
    @property
    def scope(self) -> Scope: ...


P = TypeVar("P", bound=Scoped)


class ScopeIndex(Generic[P]):
    __slots__ = ("_found",)

    def __init__(self, policies: Iterable[P]) -> None:
        self._found: dict[tuple[str, Label | None], list[tuple[int, P]]] = defaultdict(list)
        for order, policy in enumerate(policies):
            for mark in policy.scope.marks:
                self._found[policy.scope.namespace, mark].append((order, policy))

    def of(self, namespace: str, labels: Mapping[str, str]) -> tuple[P, ...]:
        """Those whose scope takes the workload, in their order."""
        found = {
            order: policy
            for where in {"", namespace}
            for mark in (None, *labels.items())
            for order, policy in self._found.get((where, mark), ())
            if policy.scope.takes(namespace, labels)
        }
        return tuple(found[order] for order in sorted(found))
