"""A workload may be known before it is to be called."""

from __future__ import annotations

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build

TEXT = """
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: grpc, port: 80, targetPort: grpc}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: hello-1
  annotations:
    weft.dev/sidecar: "true"
    weft.dev/app-ports: '{"grpc": 9000}'
    weft.dev/ready: "READY"
spec: {address: 127.0.0.1, ports: {grpc: 9000}, labels: {app: hello}}
"""


@pytest.mark.parametrize(("ready", "health"), [("false", "UNHEALTHY"), ("true", "HEALTHY")])
def test_it_has_its_listeners_and_nobody_calls_it(ready: str, health: str) -> None:
    parsed = parse(TEXT.replace("READY", ready), "hello.yaml")
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    (service,), (workload,) = mesh.services, mesh.workloads
    assert [one.health for one in service.endpoints] == [health]
    assert workload.inbound
