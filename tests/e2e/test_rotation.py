"""The authority is replaced while everything crosses the mesh, and nothing fails.

Weft's sidecars and a real Envoy, requests, gRPC streams and TCP, on connections old and new. Leaves
live for 10 s and are renewed about every 5 s meanwhile. Long: `python -m benchmarks.rotation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.rotating import Rotating

pytestmark = pytest.mark.timeout(300)
TTL_S = 10


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotating]:
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("rotation")
        yield Rotating(directory, stack, "weft", ("weft", "envoy"), TTL_S)


def test_nothing_fails_while_root_intermediate_and_leaves_are_replaced(mesh: Rotating) -> None:
    before = mesh.plane.root_pem
    outcome = mesh.run(200, ("root", "intermediate"))
    assert outcome.failed == {}
    assert set(outcome.kinds) == {"kept", "new", "fresh", "unary", "streams", "tcp", "tunnels"}
    assert all(one["done"] > 10 for one in outcome.kinds.values()), outcome.kinds
    after = mesh.plane.root_pem
    assert before not in after and after.count(b"BEGIN CERTIFICATE") == 1
    # Both sidecars of the backend had their part of it, on both sides of each step.
    for sidecar in mesh.sidecars[1:]:
        assert sum(n for name, n in sidecar.stats().items() if name.endswith("downstream_rq_2xx"))
    assert mesh.renewals() >= 4  # two proxies, two rotations
    for log in (mesh.plane.log, mesh.sidecars[0].log, mesh.sidecars[1].log):
        assert "Traceback" not in log
