"""Looks at a running mesh once a second: what the control plane says and what the proxies count.

What a proxy refuses is told to the reporter; the whole `View` goes to whoever shows it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from weft import loopback, stats
from weft.errors import UserError
from weft.mesh import EntryPoint, LaptopMesh
from weft.report import Reporter
from weft.sidecar import Sidecar
from weft.view import MeshFacts, ProxyFacts

LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class ProxyRow:
    """One sidecar. app: state of the process beside it ('' for the gateway); facts None: the
    control plane does not see it."""

    name: str
    app: str
    restarts: int
    facts: ProxyFacts | None
    rates: stats.Rates
    p50_ms: float | None


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the live status shows. control_plane: '' or why it does not answer."""

    now: float
    directory: str
    entry_points: tuple[EntryPoint, ...]
    facts: MeshFacts
    proxies: tuple[ProxyRow, ...]
    control_plane: str = ""


class Watch:
    """Remembers the last look, for rates and for what is new."""

    def __init__(self, mesh: LaptopMesh, reporter: Reporter) -> None:
        self._mesh = mesh
        self._reporter = reporter
        self._facts = MeshFacts()
        self._problem = ""
        self._told: set[str] = set()
        self._counted: dict[str, tuple[float, stats.Counts]] = {}

    async def run(self, show: Callable[[View], None]) -> None:
        """Until it is cancelled."""
        while True:
            show(await self.look())
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> View:
        mesh = self._mesh
        try:
            self._facts, self._problem = await mesh.facts(), ""
        except UserError as error:  # the last facts stay on the screen, with a word about it
            self._problem = str(error)
        self._tell()
        seen = {(proxy.namespace, proxy.workload): proxy for proxy in self._facts.proxies}
        rows = [await self._row(sidecar, seen) for sidecar in mesh.sidecars()]
        return View(
            now=time.time(),
            directory=str(mesh.options.directory),
            entry_points=tuple(mesh.entry_points()),
            facts=self._facts,
            proxies=tuple(rows),
            control_plane=self._problem,
        )

    def _tell(self) -> None:
        """Each refusal of a proxy once; what the configuration lacks the control plane says."""
        lines = {
            f"the proxy of {proxy.workload} refused: {nack}"
            for proxy in self._facts.proxies
            for nack in proxy.nacks
        }
        for line in sorted(lines - self._told):
            self._reporter.warn(line)
        self._told = lines

    async def _row(self, sidecar: Sidecar, seen: dict[tuple[str, str], ProxyFacts]) -> ProxyRow:
        reply = await loopback.get(sidecar.admin_port, "/stats", timeout_s=1.0)
        now, counted = time.monotonic(), stats.counts(reply.text)
        then, before = self._counted.get(sidecar.name, (now, counted))
        self._counted[sidecar.name] = (now, counted)
        app = next((one for one in self._mesh.workloads if one.sidecar is sidecar), None)
        return ProxyRow(
            name=sidecar.name,
            app="" if app is None else app.process.state,
            restarts=0 if app is None else app.process.restarts,
            facts=seen.get((sidecar.node.namespace, sidecar.node.workload)),
            rates=stats.rates(before, counted, now - then),
            p50_ms=counted.p50_ms,
        )
