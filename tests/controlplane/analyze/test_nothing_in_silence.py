"""What users must hear of is told where it stands, and where it is the other's doing, with the
other's place."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from controlplane.analyze import analyze
from controlplane.emit.envoy import emit
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.snapshot import check
from controlplane.translate import build
from tests.support.mesh import node

CASE = Path(__file__).with_name("nothing_in_silence.yaml")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: edge-1
  labels: {istio: edge}
  annotations: {weft.dev/sidecar: "true", weft.dev/app-ports: '{"http": 8080}'}
spec: {address: 127.0.0.1, ports: {http: 9080}}
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec: {selector: {istio: edge}, ports: [{port: 9080, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 9080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec: {hosts: [a.test], gateways: [edge], http: [{directResponse: {status: 200}}]}
"""


def test_each_thing_is_told_at_its_place() -> None:
    text = CASE.read_text("utf-8")
    marked = {
        (mark[1], number)
        for number, line in enumerate(text.splitlines(), 1)
        if (mark := re.search(r" # ([A-Z]\w+)$", line)) is not None
    }
    manifests = {CASE.name: parse(text, CASE.name)}
    said = analyze(manifests, "cluster.local", NOW).statuses
    found = {(one.code, one.position.line) for one in said if not one.code.startswith("IST")}
    assert found == marked
    for one in said:
        assert one.position.column > 0
        if one.code in ("Conflict", "Shadowed", "Duplicate"):
            assert re.search(rf"{CASE.name}:\d+:\d+", one.message), one


def test_a_gateway_leaves_the_sidecar_its_place_and_that_is_told() -> None:
    parsed = parse(BOTH, "a.yaml")
    found = analyze({"a.yaml": parsed}, "cluster.local", NOW).statuses
    (status,) = [one for one in found if one.code == "Conflict"]
    assert status.object == "Workload default/edge-1"
    assert "127.0.0.1_9080 is where the sidecar listens" in status.message
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    caller = node(workload="edge-1", http_proxy_port=0)
    draft = emit(mesh, caller)
    assert [one.name for one in draft.listeners] == ["127.0.0.1_9080"]
    assert check(draft) == ()


PATCH = """\
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: %s}
spec:
  priority: 1
  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_%s
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: MERGE
      value:
        name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.\
http_connection_manager.v3.HttpConnectionManager
          rds: {route_config_name: nowhere, config_source: {ads: {}}}
"""


def test_patches_that_would_be_left_out_are_blamed_and_nothing_else() -> None:
    text = BOTH + PATCH % ("inside", "INBOUND") + PATCH % ("outside", "OUTBOUND")
    said = analyze({"a.yaml": parse(text, "a.yaml")}, "cluster.local", NOW).statuses
    found = [one for one in said if one.code in ("PatchLeftOut", "Emission")]
    assert [(one.object, one.code) for one in found] == [
        ("EnvoyFilter default/inside", "PatchLeftOut"),
        ("EnvoyFilter default/outside", "PatchLeftOut"),
    ]
    assert "Workload default/edge-1" in found[0].message
    assert "names route configuration nowhere" in found[1].message
    assert str(found[0].position).startswith("a.yaml:")
