"""What intercepting sidecars have follows all that is said of telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.mesh.metering import Metered, MetricRule, Metrics, ScopedMetrics
from controlplane.mesh.model import Mesh
from controlplane.mesh.scopes import Scope
from controlplane.mesh.telemetry import AccessLog, Logs, ScopedLogs
from controlplane.mesh.tracing import Collector, ScopedTraces, Spans, Traces
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS
from tests.support.intercepting import CASES, intercepted
from tests.support.mesh import node

WHOLE = node("messenger-1", interception="REDIRECT", http_proxy_port=0, weft_agent=True)
LOGS = ScopedLogs(Scope(), Logs((AccessLog("/dev/null"),)))
METRICS = ScopedMetrics(Scope(), Metered(Metrics((MetricRule("requests_total", True),)), Metrics()))
TRACES = ScopedTraces(Scope(), Traces(client=Spans(Collector("col.obs", 4317))))
SAID: dict[str, Callable[[Mesh], Mesh]] = {
    "logs": lambda mesh: replace(mesh, logs=(LOGS,)),
    "metrics": lambda mesh: replace(mesh, metrics=(METRICS,)),
    "traces": lambda mesh: replace(mesh, traces=(TRACES,)),
}


@pytest.mark.parametrize("on_demand", [False, True], ids=["whole", "on demand"])
@pytest.mark.parametrize("field", sorted(SAID))
def test_a_change_reaches_who_is_there(field: str, on_demand: bool) -> None:
    before, who = intercepted(CASES[0]), replace(WHOLE, on_demand=on_demand)
    after = SAID[field](before)
    cache = SnapshotCache(before, lambda _: ())
    old = cache.snapshot(who)
    cache.set_mesh(after)
    found, wanted = cache.snapshot(who), SnapshotCache(after, lambda _: ()).snapshot(who)
    changed = found.of(LDS).changed_from(old.of(LDS))
    assert any(name.startswith("0.0.0.0_") for name in changed), changed
    assert found.version == wanted.version
