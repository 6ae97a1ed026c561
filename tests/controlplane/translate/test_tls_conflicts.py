"""A DestinationRule's TLS that the service's workloads refuse is told at its place."""

from __future__ import annotations

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build

MESH = """\
apiVersion: v1
kind: Service
metadata: {{name: a}}
spec: {{selector: {{app: a}}, ports: [{{port: 80, name: http}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: a-1, annotations: {{weft.dev/sidecar: "{sidecar}"}}}}
spec: {{address: 127.0.0.1, ports: {{http: 8080}}, labels: {{app: a}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: {peers}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a}}
spec: {{host: {host}, trafficPolicy: {{tls: {{mode: {mode}}}}}}}
"""


def told(sidecar: str, peers: str, mode: str, host: str = "a") -> list[str]:
    text = MESH.format(sidecar=sidecar, peers=peers, mode=mode, host=host)
    parsed = parse(text, "a.yaml")
    assert len(parsed.objects) == 4, parsed.statuses
    _, statuses = build(Snapshot(parsed.objects), "cluster.local")
    return [f"{one.position} {one.message}" for one in statuses if one.code == "TlsConflict"]


@pytest.mark.parametrize("host", ["a", "a.default.svc.cluster.local", "'*.cluster.local'"])
@pytest.mark.parametrize(
    ("sidecar", "peers", "mode", "why"),
    [
        ("true", "STRICT", "DISABLE", "takes mTLS of the mesh only (STRICT)"),
        ("true", "STRICT", "SIMPLE", "takes mTLS of the mesh only (STRICT)"),
        ("true", "DISABLE", "ISTIO_MUTUAL", "has no sidecar that speaks mTLS of the mesh"),
        ("false", "PERMISSIVE", "ISTIO_MUTUAL", "has no sidecar that speaks mTLS of the mesh"),
    ],
)
def test_what_would_be_refused_is_told(
    sidecar: str, peers: str, mode: str, why: str, host: str
) -> None:
    (found,) = told(sidecar, peers, mode, host)
    assert found.startswith(f"a.yaml:19:{37 + len(host)} tls.mode {mode}: a.default.svc.cluster")
    assert why in found


@pytest.mark.parametrize(
    ("sidecar", "peers", "mode"),
    [
        ("true", "PERMISSIVE", "DISABLE"),
        ("true", "STRICT", "ISTIO_MUTUAL"),
        ("false", "PERMISSIVE", "DISABLE"),
        ("false", "STRICT", "SIMPLE"),
    ],
)
def test_what_is_taken_is_not(sidecar: str, peers: str, mode: str) -> None:
    assert told(sidecar, peers, mode) == []


def test_another_services_rule_is_not_told() -> None:
    assert told("true", "STRICT", "DISABLE", "b") == []
