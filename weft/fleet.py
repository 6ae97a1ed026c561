"""All workloads of a mesh, and how they become what the directory says.

A process whose Deployment did not change lives on; one that is no longer wanted leaves the mesh
before it is stopped; a changed one is stopped and started anew.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from weft.deployment import Deployment
from weft.directory import Contents
from weft.ports import PortBook
from weft.registry import Registry
from weft.report import Reporter
from weft.sidecar import SidecarSetup
from weft.workload import Workload, make_plan, names

Key = tuple[str, str]


class Fleet:
    """`build` makes the first workloads, `start` starts them, `change` follows the directory."""

    def __init__(
        self,
        directory: Path,
        setup: SidecarSetup,
        registry: Registry,
        ports: PortBook,
    ) -> None:
        self.workloads: list[Workload] = []
        self._directory = directory
        self._setup = setup
        self._registry = registry
        self._ports = ports
        self._reporter: Reporter = setup.reporter

    def build(self, contents: Contents) -> None:
        """Makes every workload and starts none: what cannot run is a UserError at once."""
        wanted = _wanted(contents)
        self.workloads = [self._make(key, deployment) for key, deployment in wanted.items()]

    def _make(self, key: Key, deployment: Deployment) -> Workload:
        plan = make_plan(key[1], deployment, self._ports, self._setup.state)
        return Workload(plan, self._directory, self._setup, self._registry)

    def start(self) -> None:
        for workload in self.workloads:
            self._start(workload)

    def _start(self, workload: Workload) -> None:
        self._reporter.note(f"{workload.name} and its sidecar are starting")
        workload.start()

    async def change(self, contents: Contents) -> None:
        """UserError, and nothing is changed, when something new cannot run."""
        wanted = _wanted(contents)
        staying = [one for one in self.workloads if wanted.get(one.key) == one.plan.deployment]
        going = [one for one in self.workloads if one not in staying]
        known = {one.key for one in staying}
        coming = [self._make(key, one) for key, one in wanted.items() if key not in known]
        for workload in going:
            self._reporter.note(f"{workload.name} is stopping")
        await asyncio.gather(*(workload.leave() for workload in going))
        order = list(wanted)
        self.workloads = sorted([*staying, *coming], key=lambda one: order.index(one.key))
        for workload in coming:
            self._start(workload)

    async def stop(self) -> None:
        """All apps, then all sidecars: an app's last requests still find its sidecar."""
        await asyncio.gather(*(one.process.stop() for one in self.workloads))
        await asyncio.gather(*(one.sidecar.process.stop() for one in self.workloads))


def _wanted(contents: Contents) -> dict[Key, Deployment]:
    return {
        (deployment.namespace, name): deployment
        for deployment in contents.deployments
        for name in names(deployment)
    }
