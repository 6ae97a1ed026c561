"""From the inventory to the streams: when it is rebuilt, and who waits for it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from controlplane.federation.federation import Federation
from controlplane.federation.shelf import Shelf
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.metrics import Metrics
from controlplane.openid.discovery import Discovery
from controlplane.openid.fetch import FetchError
from controlplane.openid.shelf import Shelf as KeyShelf
from controlplane.pipeline import Outlets, Pipeline
from controlplane.sources.memory import MemorySource
from controlplane.status import StatusRegistry
from controlplane.tasks import spawn
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.refusals import Refusals
from controlplane.xds.service import AdsService

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80}], selector: {app: cart}}
"""

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart}
spec: {action: %s, rules: [{}]}
"""


PATCH = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec: {configPatches: [{applyTo: LISTENER, patch: {operation: MERGE, value: %s}}]}
"""


def entry(number: int) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: cart-{number}}}
spec: {{address: 127.0.0.1, ports: {{http: {9000 + number}}}, labels: {{app: cart}}}}
"""


async def _nobody(context: object) -> Proof:
    return Proof()


async def _no_keys(issuer: str, timeout_s: float) -> tuple[str, str]:
    raise FetchError(issuer)


class Plane:
    """The pipeline with real rooms around it; `rebuilds` counts."""

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.inventory.replace(Origin.file("a.yaml"), parse(SERVICE, "a.yaml").objects)
        self.registry = StatusRegistry()
        cache = SnapshotCache(Mesh("cluster.local"), lambda node: ())
        refusals = Refusals(lambda: None)
        ads = AdsService(_nobody, cache, (), time.time)
        federation = Federation(Shelf(Path("unused")), lambda: None)
        self.rebuilds = 0
        self.broken = False
        discovery = Discovery(_no_keys, KeyShelf(Path("unused")), lambda: None)
        outlets = Outlets(
            *(cache, ads, self.registry, Metrics(tuple), lambda line: None, federation, discovery),
            refusals,
        )
        self.pipeline = Pipeline(self.inventory, "cluster.local", outlets, self._clock)
        self.memory = MemorySource(self.inventory, self.pipeline.changed)

    def _clock(self) -> float:
        """Asked once in each rebuild."""
        if self.broken:
            raise RuntimeError("broken")
        self.rebuilds += 1
        return 0.0

    async def apply(self, number: int) -> int:
        self.memory.put(parse(entry(number), "api").objects)
        await self.pipeline.settled()
        return self.registry.services[0].endpoints_total


async def test_many_who_register_together_wait_for_one_rebuild() -> None:
    plane = Plane()
    seen = await asyncio.gather(*(plane.apply(number) for number in range(50)))
    assert set(seen) == {50}
    assert plane.rebuilds == 1
    assert await plane.apply(50) == 51
    assert plane.rebuilds == 2


async def test_nobody_waits_where_nothing_changed() -> None:
    plane = Plane()
    await plane.pipeline.settled()
    await plane.apply(1)
    await plane.apply(1)
    assert plane.rebuilds == 1


async def test_a_policy_is_a_new_version_and_the_same_one_is_not() -> None:
    plane = Plane()
    versions = []
    for action in ("ALLOW", "DENY", "DENY"):
        plane.memory.put(parse(POLICY % action, "api").objects)
        plane.pipeline.rebuild()
        versions.append(plane.registry.version)
    assert versions[0] != versions[1] == versions[2]
    plane.pipeline.close()


async def test_a_patch_is_a_new_version_and_a_wrong_one_is_told() -> None:
    plane = Plane()
    said, versions = [], []
    for value in ("{name: a}", "{name: b}", "{nmae: c}"):
        plane.memory.put(parse(PATCH % value, "api").objects)
        plane.pipeline.rebuild()
        versions.append(plane.registry.version)
        said.append([status.code for status in plane.pipeline.statuses])
    assert len(set(versions)) == 3
    assert ["InvalidPatch" in codes for codes in said] == [False, False, True]
    plane.pipeline.close()


async def test_one_who_goes_away_leaves_the_others_waiting() -> None:
    plane = Plane()
    first, second = (spawn(plane.apply(number), f"apply {number}") for number in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2


async def test_a_rebuild_that_fails_is_told_to_those_who_wait() -> None:
    plane = Plane()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    plane.broken = True
    with pytest.raises(RuntimeError, match="broken"):
        await plane.apply(1)
    plane.broken = False
    assert await plane.apply(2) == 2
