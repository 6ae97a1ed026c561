"""DestinationRule's PASSTHROUGH, by who calls."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from tests.support.emit_cases import CASES
from tests.support.mesh import node

HOST = "db.default.svc.cluster.local"


def clusters(who: Node) -> dict[str, Cluster]:
    return {one.name: one for one in emit(CASES["of_passthrough"](), who).clusters}


def test_connections_that_are_intercepted_go_where_they_were_sent() -> None:
    found = clusters(node(interception="REDIRECT", http_proxy_port=0))
    for name in (f"outbound|5432||{HOST}", f"outbound|80|there|{HOST}"):
        assert found[name].type == Cluster.ORIGINAL_DST
        assert found[name].lb_policy == Cluster.CLUSTER_PROVIDED
    assert found[f"outbound|80||{HOST}"].type == Cluster.EDS


def test_others_choose_among_the_endpoints() -> None:
    found = clusters(node())
    assert {one.type for one in found.values() if HOST in one.name} == {Cluster.EDS}
    assert found[f"outbound|5432||{HOST}"].lb_policy == Cluster.LEAST_REQUEST
