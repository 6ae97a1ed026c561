"""What gRPC can't do of what a mesh says: noted where it is left out, and told by status.

It is told only of services that a gRPC client has asked for, so that nobody else is bothered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.mesh.model import NOWHERE, Position, Service, Status

CODE = "NotForGrpc"


@dataclass(slots=True)
class Losses:
    """Of one service or workload, each once. place: of who has no position of its own."""

    object: str
    place: Position = NOWHERE
    found: dict[tuple[Position, str], None] = field(default_factory=dict)

    @classmethod
    def of(cls, service: Service) -> Losses:
        return cls(f"Service {service.namespace}/{service.name}", service.position)

    def note(self, what: str, position: Position = NOWHERE) -> None:
        """what: a sentence without its end, of what gRPC clients or servers do without."""
        self.found[position if position != NOWHERE else self.place, what] = None

    def statuses(self) -> Iterable[Status]:
        for position, what in self.found:
            yield Status(position, "warning", CODE, self.object, what)
