"""In which order EnvoyFilters are applied: Istio's, wherever they were written."""

from __future__ import annotations

from itertools import permutations

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build

FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: of-%s, namespace: %s, creationTimestamp: %s}
spec:
  priority: %d
  configPatches:
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {connect_timeout: 1s}}
"""
IN_ORDER = (
    FILTER % ("z", "istio-system", "2024-01-02T00:00:00Z", 10),
    FILTER % ("y", "default", "2024-01-03T00:00:00Z", -1),
    FILTER % ("x", "default", '""', 0),
    FILTER % ("w", "default", "2024-01-01T00:00:00Z", 0),
    FILTER % ("a", "default", "2024-01-02T00:00:00Z", 0),
    FILTER % ("b", "default", "2024-01-02T00:00:00Z", 0),
)


def test_priority_then_time_then_name_and_never_the_place() -> None:
    expected = ["istio-system/of-z", *(f"default/of-{name}" for name in "yxwab")]
    for texts in list(permutations(IN_ORDER))[::97]:
        parsed = parse("\n---\n".join(texts), "m.yaml")
        assert not parsed.has_errors, parsed.statuses
        mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
        assert [one.object.removeprefix("EnvoyFilter ") for one in mesh.patches] == expected
