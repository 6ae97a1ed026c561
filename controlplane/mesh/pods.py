"""Workloads that are made when somebody asks for them, as there may be tens of thousands."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.mesh.services import Workload


class Pods:
    """None at all; what has some is made of it. Equal if all of them are, and what did not change
    is the same object in the next mesh.

    stamp: of what their inbound side depends on, but for services and the pods themselves."""

    __slots__ = ()

    @property
    def stamp(self) -> str:
        return ""

    def get(self, namespace: str, name: str) -> Workload | None:
        return None

    def __iter__(self) -> Iterator[Workload]:
        """Sorted by namespace and name."""
        return iter(())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pods):
            return NotImplemented
        return self is other or (self.stamp == other.stamp and tuple(self) == tuple(other))

    __hash__ = None  # type: ignore[assignment]
