"""Keeps the control plane's view of this machine's workloads the same as ours.

Workloads say what should stand there (`put`, `remove`); one task makes it so, again and again
until it is done, and all anew after the control plane has restarted: its memory went with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from weft.bootstrap import LOOPBACK
from weft.errors import UserError

SOURCE = "weft up"
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """Istio's WorkloadEntry of one process. listen_ports: port name -> its sidecar's port.

    app_ports: port name -> where the application itself listens on 127.0.0.1. ready: it is to be
    called; before, only its own configuration comes to it. locality: 'region/zone/subzone'."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    listen_ports: Mapping[str, int]
    app_ports: Mapping[str, int]
    ready: bool = True
    locality: str = ""

    def manifest(self) -> str:
        """As YAML (which JSON is)."""
        annotations = {
            "weft.dev/app-ports": json.dumps(dict(self.app_ports)),
            "weft.dev/sidecar": "true",
        }
        if not self.ready:
            annotations["weft.dev/ready"] = "false"
        metadata = {"name": self.name, "namespace": self.namespace, "annotations": annotations}
        spec: dict[str, Any] = {
            "address": LOOPBACK,
            "ports": dict(self.listen_ports),
            "labels": dict(self.labels),
            "serviceAccount": self.service_account,
        }
        if self.locality:
            spec["locality"] = self.locality
        document = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": metadata,
            "spec": spec,
        }
        return json.dumps(document)


class Api(Protocol):
    """The part of `Management` that is needed here."""

    async def register(self, manifest: str, source: str) -> object: ...
    async def delete(self, kind: str, namespace: str, name: str) -> object: ...


class Registry:
    """`run()` is the task; `settled()` waits until the control plane has heard everything."""

    __slots__ = ("_applied", "_on_error", "_problem", "_settled", "_wanted", "_woken", "api")

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self.api: Api | None = None
        self._wanted: dict[tuple[str, str], WorkloadEntry] = {}
        self._applied: dict[tuple[str, str], WorkloadEntry] = {}
        self._woken = asyncio.Event()
        self._settled = asyncio.Event()
        self._on_error = on_error
        self._problem = ""

    def put(self, entry: WorkloadEntry) -> None:
        self._wanted[entry.namespace, entry.name] = entry
        self._wake()

    def remove(self, namespace: str, name: str) -> None:
        self._wanted.pop((namespace, name), None)
        self._wake()

    def has(self, namespace: str, name: str) -> bool:
        """Whether the control plane knows the workload."""
        return (namespace, name) in self._applied

    def connect(self, api: Api) -> None:
        """A control plane that knows nothing yet."""
        self.api = api
        self._applied.clear()
        self._wake()

    async def settled(self) -> None:
        await self._settled.wait()

    def _wake(self) -> None:
        self._settled.clear()
        self._woken.set()

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            if await self._sync():
                if not self._woken.is_set():
                    self._settled.set()
            else:
                await asyncio.sleep(RETRY_S)
                self._woken.set()

    async def _sync(self) -> bool:
        """One pass; False when something is left to do."""
        if self.api is None:
            return False
        try:
            for key in [key for key in self._applied if key not in self._wanted]:
                await self.api.delete("WorkloadEntry", *key)
                self._applied.pop(key, None)
            for key, entry in list(self._wanted.items()):
                if self._applied.get(key) != entry:
                    await self.api.register(entry.manifest(), SOURCE)
                    self._applied[key] = entry
        except UserError as error:
            if self._problem != str(error):  # once for each cause, not twice a second
                self._problem = str(error)
                self._on_error(f"could not register: {error}")
            return False
        self._problem = ""
        return True
