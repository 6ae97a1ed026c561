"""Where requests go by locality, by real ones: a real Envoy and Weft's proxy, each started with the
bootstrap that Weft writes for a workload that stands in eu/a, do the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from tests.support.echo_backends import Backend, serving
from tests.support.echo_client import Ask, ask
from tests.support.envoy import envoy, require_envoy
from tests.support.judge import Judge
from tests.support.mesh import TRUST_DOMAIN
from tests.support.ports import free_port
from tests.support.wait import eventually_async
from tests.support.weft_proxy import weft_proxy
from weft.bootstrap import Node, bootstrap

PROXIES = {"Envoy": envoy, "Weft": weft_proxy}
PLACES = {"near": "eu/a", "far": "eu/b", "us": "us/c", "asia": "asia/d"}
RULES = {
    "plain": "",
    "close": "",
    "shares": "loadBalancer: {localityLbSetting: {distribute: [{from: eu/a, to: {us/c: 100}}]}}",
    "nearest": "outlierDetection: {consecutive5xxErrors: 9}",
    "away": "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 3600s,"
    " maxEjectionPercent: 100}",
    "sent": "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 3600s,"
    " maxEjectionPercent: 100}\n    loadBalancer: {localityLbSetting: {failover:"
    " [{from: eu, to: asia}]}}",
    "labels": "outlierDetection: {consecutive5xxErrors: 9}\n    loadBalancer:"
    " {localityLbSetting: {failoverPriority: [version=asia]}}",
    "zoned": "loadBalancer: {zoneAwareLbSetting: {minClusterSize: 1}}",
    "many": "loadBalancer: {zoneAwareLbSetting: {minClusterSize: 9}}",
    "unzoned": "loadBalancer: {zoneAwareLbSetting: {enabled: false}}",
}
REACHED = {
    "plain": {"near", "far", "us", "asia"},
    "close": {"near"},
    "shares": {"us"},
    "nearest": {"near"},
    "away": {"us", "asia"},
    "sent": {"asia"},
    "labels": {"asia"},
    "zoned": {"near"},
    "many": {"near", "far"},
    "unzoned": {"near", "far", "us", "asia"},
}
GONE = {"away": ("near", "far"), "sent": ("near", "far")}
"""Of which nobody listens."""

NOTES = {"close": "networking.istio.io/traffic-distribution: PreferSameZone"}

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %(name)s, annotations: {%(notes)s}}
spec:
  hosts: [%(name)s.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [%(endpoints)s]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %(name)s}
spec:
  host: %(name)s.test
  trafficPolicy:
    connectionPool: {http: {maxRetries: 100}}
    %(rule)s
"""
OWN = """
apiVersion: v1
kind: Service
metadata: {name: messenger}
spec: {clusterIP: 10.0.0.9, selector: {app: me}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: messenger-1, labels: {app: me}}
spec: {address: 127.0.0.1, ports: {http: 9}, serviceAccount: messenger, locality: eu/a}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: messenger-2, labels: {app: me}}
spec: {address: 127.0.0.2, ports: {http: 9}, serviceAccount: messenger, locality: eu/b}
"""
REQUESTS = 40
"""Of four endpoints that are all in use one misses them all in one of 10^5 runs."""


def mesh_of(ports: dict[str, int]) -> Mesh:
    def service(name: str) -> str:
        gone = GONE.get(name, ())
        endpoints = ", ".join(
            f"{{address: 127.0.0.1, ports: {{http: {9 if at in gone else ports[at]}}},"
            f" locality: {place}, labels: {{version: {at}}}}}"
            for at, place in PLACES.items()
        )
        notes = NOTES.get(name, "")
        said = {"name": name, "notes": notes, "endpoints": endpoints, "rule": RULES[name]}
        return SERVICE % said

    parsed = parse("---".join([OWN, *map(service, RULES)]), "m.yaml")
    mesh, statuses = build(Snapshot(parsed.objects, parsed.statuses), TRUST_DOMAIN)
    assert not [one for one in statuses if one.severity == "error"], statuses
    return mesh


def bootstrap_of(judge: Judge, proxy_port: int) -> dict[str, Any]:
    """What Weft writes, without TLS to the control plane, which is Envoy's alone to understand."""
    node = Node(
        "messenger-1",
        "default",
        "messenger",
        {"app": "me"},
        "messenger",
        proxy_port,
        locality=("eu", "a", ""),
        said={"ENABLE_SELF_DISCOVERY": "true"},
    )
    made = bootstrap(node, xds_port=judge.port, admin_port=free_port(), root_file="none")
    del made["admin"]
    del made["static_resources"]["clusters"][0]["transport_socket"]
    return made


@asynccontextmanager
async def running(directory: Path, proxy: str) -> AsyncIterator[int]:
    """The port of the sidecar's outbound HTTP proxy."""
    if proxy == "Envoy":
        require_envoy()
    backends = [Backend("tests", name) for name in PLACES]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(backends))
        judge, port = Judge(), free_port()
        judge.cache.set_mesh(mesh_of({one.service: one.port for one in backends}))
        await judge.server.start()
        stack.push_async_callback(judge.server.stop, 0)
        sidecar = PROXIES[proxy](bootstrap_of(judge, port), directory)
        await asyncio.to_thread(sidecar.start)
        stack.push_async_callback(asyncio.to_thread, sidecar.stop)
        await eventually_async(judge.has_all, 30.0, "the listeners are there")
        yield port


async def reached(port: int, name: str) -> set[str]:
    """Who answers, once those that are not there are known as such."""
    for _ in range(4 if name in GONE else 0):
        await ask(port, Ask(f"{name}.test"))
    found = [await ask(port, Ask(f"{name}.test")) for _ in range(REQUESTS)]
    assert [one.status for one in found] == [200] * REQUESTS, found
    return {str(one.told["service"]) for one in found}


@pytest.mark.parametrize("proxy", PROXIES)
async def test_requests_go_where_their_localities_say(tmp_path: Path, proxy: str) -> None:
    async with running(tmp_path, proxy) as port:
        assert {name: await reached(port, name) for name in RULES} == REACHED
