"""A change on its way: inventory -> translation -> snapshots -> streams, and its report.

Everything happens in the event loop's thread and at once; the debouncer in front decides when,
also for the management API, which waits: a hundred workloads that register cost one rebuild.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.announce import announcements
from controlplane.debounce import Debouncer
from controlplane.emit.node import Node
from controlplane.federation.federation import Federation
from controlplane.inventory import Inventory
from controlplane.mesh.model import Status
from controlplane.metrics import Metrics
from controlplane.status import StatusRegistry
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import AdsService

_ANY_SIDECAR = Node("", http_proxy_port=1, weft_agent=True)


@dataclass(frozen=True, slots=True)
class Outlets:
    """Who is told. say: prints one line for the user."""

    cache: SnapshotCache
    ads: AdsService
    registry: StatusRegistry
    metrics: Metrics
    say: Callable[[str], None]
    federation: Federation


class Pipeline:
    def __init__(
        self, inventory: Inventory, trust_domain: str, outlets: Outlets, clock: Callable[[], float]
    ) -> None:
        self._inventory = inventory
        self._trust_domain = trust_domain
        self._outlets = outlets
        self._clock = clock
        self._statuses: tuple[Status, ...] = ()
        self._debouncer = Debouncer(self.rebuild)

    @property
    def statuses(self) -> tuple[Status, ...]:
        return self._statuses

    def changed(self) -> None:
        """The inventory changed: rebuild soon."""
        self._debouncer.touch()

    async def settled(self) -> None:
        """Waits until all that changed so far is in force; raises what made it fail."""
        await self._debouncer.settled()

    def rebuild(self) -> None:
        """Makes what the inventory holds now the configuration of every proxy."""
        mesh, said = build(self._inventory.snapshot(), self._trust_domain)
        to = self._outlets
        to.cache.set_mesh(mesh)
        to.federation.configure(mesh.federated, mesh.security.trust_domain_aliases)
        statuses = tuple(sorted((*said, *to.federation.statuses())))
        for line in announcements(self._statuses, statuses):
            to.say(line)
        self._statuses = statuses
        outbound = to.cache.snapshot(_ANY_SIDECAR).version
        version = hashlib.sha256(
            f"{outbound}{mesh.workloads!r}{mesh.security!r}".encode()
        ).hexdigest()[:16]
        to.registry.configured(version, mesh, statuses, self._clock())
        to.metrics.configured(statuses)
        to.ads.publish()

    def close(self) -> None:
        self._debouncer.cancel()
