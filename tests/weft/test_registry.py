"""The registry: the control plane ends up with what the workloads say, whatever fails between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.wait import eventually_async
from weft import registry as module
from weft.errors import UserError
from weft.registry import Registry, WorkloadEntry
from weft.tasks import spawn


class FakeControlPlane:
    """Keeps what was applied; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.known: dict[tuple[str, str], dict[str, object]] = {}
        self.calls = 0
        self.failures = failures

    async def register(self, manifest: str, source: str) -> None:
        self._call()
        document = json.loads(manifest)
        metadata = document["metadata"]
        self.known[metadata["namespace"], metadata["name"]] = document

    async def delete(self, kind: str, namespace: str, name: str) -> bool:
        self._call()
        assert kind == "WorkloadEntry"
        return self.known.pop((namespace, name), None) is not None

    def _call(self) -> None:
        self.calls += 1
        if self.failures > 0:
            self.failures -= 1
            raise UserError("away")


def entry(name: str, port: int = 1) -> WorkloadEntry:
    return WorkloadEntry(name, "default", "sa", {"app": "a"}, {"http": port}, {"http": port + 1})


@asynccontextmanager
async def running(report: Callable[[str], None] = print) -> AsyncIterator[Registry]:
    registry = Registry(report)
    task = spawn(registry.run(), "registry")
    try:
        yield registry
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)


async def test_an_entry_is_istios_workload_entry() -> None:
    assert json.loads(entry("a").manifest()) == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": "a",
            "namespace": "default",
            "annotations": {"weft.dev/app-ports": '{"http": 2}', "weft.dev/sidecar": "true"},
        },
        "spec": {
            "address": "127.0.0.1",
            "ports": {"http": 1},
            "labels": {"app": "a"},
            "serviceAccount": "sa",
        },
    }


async def test_put_and_remove() -> None:
    plane = FakeControlPlane()
    async with running() as registry:
        registry.connect(plane)
        registry.put(entry("a"))
        registry.put(entry("b"))
        await registry.settled()
        assert set(plane.known) == {("default", "a"), ("default", "b")}
        assert registry.has("default", "a")
        registry.remove("default", "a")
        await registry.settled()
        assert set(plane.known) == {("default", "b")}
        assert not registry.has("default", "a")


async def test_a_changed_entry_is_applied_again_and_the_same_one_is_not() -> None:
    plane = FakeControlPlane()
    async with running() as registry:
        registry.connect(plane)
        registry.put(entry("a"))
        await registry.settled()
        registry.put(entry("a"))
        await registry.settled()
        assert plane.calls == 1
        registry.put(entry("a", port=7))
        await registry.settled()
        assert plane.known["default", "a"]["spec"] != {}
        assert plane.calls == 2


async def test_what_fails_is_tried_again_and_said_once() -> None:
    said: list[str] = []
    plane = FakeControlPlane(failures=3)
    async with running(said.append) as registry:
        registry.connect(plane)
        registry.put(entry("a"))
        await eventually_async(lambda: registry.has("default", "a"))
    assert said == ["could not register: away"]


async def test_a_new_control_plane_is_told_everything() -> None:
    async with running() as registry:
        registry.connect(FakeControlPlane())
        registry.put(entry("a"))
        await registry.settled()
        second = FakeControlPlane()
        registry.connect(second)
        await registry.settled()
        assert set(second.known) == {("default", "a")}


async def test_what_came_before_the_control_plane_waits_for_it() -> None:
    async with running() as registry:
        registry.put(entry("a"))
        plane = FakeControlPlane()
        registry.connect(plane)
        await registry.settled()
        assert set(plane.known) == {("default", "a")}
