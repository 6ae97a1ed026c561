"""A change on its way: inventory -> translation -> snapshots -> streams, and its report.

Everything happens in the event loop's thread and at once; the debouncer in front decides when,
also for the management API, which waits: a hundred workloads that register cost one rebuild. What
did not change is the same object from rebuild to rebuild, and is passed over here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from controlplane.announce import announcements
from controlplane.contents import Contents
from controlplane.debounce import Debouncer
from controlplane.emit.patch_values import faults as patch_faults
from controlplane.federation.federation import Federation
from controlplane.inventory import Inventory
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.model import Status
from controlplane.mesh.statuses import in_order
from controlplane.metrics import Metrics
from controlplane.openid.discovery import Discovery
from controlplane.status import StatusRegistry
from controlplane.translate import build
from controlplane.translate.memo import Memo
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.culprits import Culprits
from controlplane.xds.refusals import Refusals
from controlplane.xds.service import AdsService
from protos.frozen import frozen


@frozen
class Outlets:
    """Who is told. say: prints one line for the user."""

    cache: SnapshotCache
    ads: AdsService
    registry: StatusRegistry
    metrics: Metrics
    say: Callable[[str], None]
    federation: Federation
    discovery: Discovery
    refusals: Refusals


class Pipeline:
    def __init__(
        self, inventory: Inventory, trust_domain: str, outlets: Outlets, clock: Callable[[], float]
    ) -> None:
        self._inventory = inventory
        self._trust_domain = trust_domain
        self._outlets = outlets
        self._clock = clock
        self._memo = Memo()
        self._contents = Contents()
        self._said: tuple[tuple[Status, ...], tuple[Status, ...]] | None = None
        self._statuses: tuple[Status, ...] = ()
        self._debouncer = Debouncer(self.rebuild)
        outlets.cache.restate = self.changed
        self._culprits = Culprits()
        self.on_conditions: Callable[[tuple[ObjectConditions, ...]], None] = lambda found: None

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
        objects = self._inventory.snapshot()
        mesh, said = build(objects, self._trust_domain, self._memo)
        to = self._outlets
        asked, security = mesh.security, to.discovery.configure(mesh.security)
        if security is not asked:
            mesh = replace(mesh, security=security)
        to.cache.set_mesh(mesh)
        to.cache.judge(one.node for one in to.ads.connections)
        to.federation.configure(mesh.federated, mesh.security.trust_domain_aliases)
        others = (
            *to.federation.statuses(),
            *to.discovery.statuses(asked),
            *patch_faults(mesh.patches),
            *to.cache.proxyless.statuses(),
            *to.cache.statuses(),
            *self._culprits.statuses(to.refusals.standing(), mesh, objects),
        )
        if self._said is None or said is not self._said[0] or others != self._said[1]:
            self._said = (said, others)
            self._tell(in_order((*said, *others)))
        version = self._contents.version(mesh, to.cache.alike, to.cache.apart)
        to.registry.configured(version, mesh, self._statuses, self._clock())
        to.ads.publish()
        self.on_conditions(mesh.conditions)

    def prepare(self) -> Iterator[None]:
        """Makes what the first proxies would wait for, a little at a time."""
        return self._outlets.cache.prepare()

    def _tell(self, statuses: tuple[Status, ...]) -> None:
        for line in announcements(self._statuses, statuses):
            self._outlets.say(line)
        self._statuses = statuses
        self._outlets.metrics.configured(statuses)

    def close(self) -> None:
        self._debouncer.cancel()
