"""Services whose clients are to keep to their zone (trafficDistribution), and what comes before."""

from __future__ import annotations

import pytest

from controlplane.emit.envoy import emit
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import build
from tests.support.mesh import node

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {%s}}
spec: {clusterIP: 10.0.0.9, selector: {app: web}, ports: [{name: http, port: 80}]%s}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, labels: {app: web}}
spec: {address: 10.1.0.1, locality: eu/a/1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: b, labels: {app: web}}
spec: {address: 10.1.0.2, locality: eu/a/2}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: c, labels: {app: web}}
spec: {address: 10.1.0.3, locality: eu/b}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: d, labels: {app: web}}
spec: {address: 10.1.0.4, locality: us/a}
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: RANDOM%s}}}
"""
NEAREST = {"eu/a/1": 0, "eu/a/2": 0, "eu/b/": 1, "us/a/": 2}
ALIKE = dict.fromkeys(NEAREST, 0)
NOTE = "networking.istio.io/traffic-distribution: "
SYSTEM = """
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: here}}
"""


def built(text: str) -> tuple[Mesh, tuple[Status, ...]]:
    parsed = parse(text, "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects, parsed.statuses), "cluster.local")


def priorities(mesh: Mesh, network: str = "") -> dict[str, int]:
    who = node(locality=("eu", "a", "1"), network=network)
    (found,) = emit(mesh, who).endpoints
    return {
        "/".join((at.region, at.zone, at.sub_zone)): one.priority
        for one in found.endpoints
        for at in (one.locality,)
    }


@pytest.mark.parametrize(
    ("note", "said", "wanted"),
    [
        ("", "", ALIKE),
        ("", ", trafficDistribution: PreferClose", NEAREST),
        ("", ", trafficDistribution: PreferSameZone", NEAREST),
        (NOTE + "PreferClose", "", NEAREST),
        (NOTE + "Elsewhere", ", trafficDistribution: PreferSameZone", NEAREST),
    ],
)
def test_the_zone_comes_first_where_a_service_says_so(
    note: str, said: str, wanted: dict[str, int]
) -> None:
    mesh, statuses = built(MESH % (note, said))
    assert priorities(mesh) == wanted
    assert [one for one in statuses if one.object == "Service default/web"] == []


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("", NEAREST),
        (", localityLbSetting: {enabled: false}", ALIKE),
        (", localityLbSetting: {distribute: [{from: eu, to: {us: 100}}]}", {"us/a/": 0}),
    ],
)
def test_what_a_rule_says_comes_before_it(setting: str, wanted: dict[str, int]) -> None:
    close = ", trafficDistribution: PreferClose"
    assert priorities(built(MESH % ("", close) + RULE % setting)[0]) == wanted


def test_the_network_counts_first() -> None:
    mesh, _ = built(MESH % ("", ", trafficDistribution: PreferClose") + SYSTEM)
    assert priorities(mesh, "here") == NEAREST
    assert priorities(mesh, "elsewhere") == ALIKE


@pytest.mark.parametrize(
    ("word", "severity", "wanted"),
    [("PreferSameNode", "info", NEAREST), ("PreferNobody", "warning", ALIKE)],
)
def test_what_is_not_done_is_told(word: str, severity: str, wanted: dict[str, int]) -> None:
    mesh, statuses = built(MESH % ("", f", trafficDistribution: {word}"))
    assert priorities(mesh) == wanted
    (told,) = [one for one in statuses if one.object == "Service default/web"]
    assert (told.severity, told.code) == (severity, "NoEffect")
    assert word in told.message
