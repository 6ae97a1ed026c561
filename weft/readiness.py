"""A workload stands in the mesh while its port accepts connections: not before, not after.

One that is in the mesh by itself (gRPC's own xDS) is known from its start: it does not listen
before it has its configuration. It is called only while it listens, as all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from weft import loopback
from weft.registry import Registry, WorkloadEntry
from weft.report import Reporter
from weft.tasks import spawn

LOOK_EVERY_S, LOOK_AGAIN_EVERY_S = 0.05, 1.0
# How long the others need to hear that an endpoint has gone, before it goes.
LEAVE_S = 0.3
REGISTRY_TIMEOUT_S = 2.0


class Readiness:
    """Watches the entry's first app port between `begin` and `end`. No port: nothing to watch.

    early: it is known before it listens."""

    __slots__ = ("_accepting", "_early", "_entry", "_leaving", "_registry", "_reporter")

    def __init__(
        self, entry: WorkloadEntry, registry: Registry, reporter: Reporter, *, early: bool = False
    ) -> None:
        self._early = early
        self._entry = entry
        self._registry = registry
        self._reporter = reporter
        self._accepting = False
        self._leaving = False

    @property
    def registered(self) -> bool:
        """Whether the control plane knows that it is to be called."""
        known = self._registry.has(self._entry.namespace, self._entry.name)
        return known and (self._accepting or not self._early)

    @property
    def accepting(self) -> bool:
        """Whether the port took a connection when it was last tried."""
        return self._accepting

    def begin(self, alive: Callable[[], bool]) -> None:
        """The process has started; `alive` says whether it is still the same one."""
        self._leaving = False
        if self._entry.app_ports:
            if self._early:
                self._registry.put(replace(self._entry, ready=False))
            spawn(self._watch(alive), f"readiness of {self._entry.name}")

    async def _watch(self, alive: Callable[[], bool]) -> None:
        port = next(iter(self._entry.app_ports.values()))
        while alive() and not self._leaving:
            accepting = await loopback.accepts(port)
            if alive() and not self._leaving:
                self._set(accepting)
            await asyncio.sleep(LOOK_AGAIN_EVERY_S if accepting else LOOK_EVERY_S)

    def _set(self, accepting: bool) -> None:
        if accepting and not self._accepting:
            self._registry.put(self._entry)
        if self._accepting and not accepting:
            self._withdraw()
            self._reporter.warn(f"{self._entry.name} does not accept connections any more")
        self._accepting = accepting

    def _withdraw(self) -> None:
        if self._early:
            self._registry.put(replace(self._entry, ready=False))
        else:
            self._registry.remove(self._entry.namespace, self._entry.name)

    def end(self) -> None:
        """The process has gone."""
        self._registry.remove(self._entry.namespace, self._entry.name)
        self._accepting = False

    async def leave(self) -> None:
        """Before the process goes: unregisters, and waits until the others have heard. Though it
        still listens then, it is not registered again."""
        self._leaving = True
        if not self._accepting:
            return
        self.end()
        try:
            async with asyncio.timeout(REGISTRY_TIMEOUT_S):
                await self._registry.settled()
        except TimeoutError:
            self._reporter.warn(f"the control plane did not hear that {self._entry.name} leaves")
        else:
            await asyncio.sleep(LEAVE_S)
