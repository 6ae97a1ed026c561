"""What proxies have like others, with users' patches: the same as emission, and only for those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.resources import assemble
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, RDS, VHDS
from tests.support.histories import GOLDEN
from tests.support.mesh import TRUST_DOMAIN, node

PATCHED = node(labels={"app": "me"}, weft_agent=True)
OTHER = node("other-1", labels={"app": "other"}, weft_agent=True)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    path = Path(GOLDEN / "envoy_filters.in.yaml")
    parsed = parse(path.read_text("utf-8"), path.name)
    return build(Snapshot(parsed.objects), TRUST_DOMAIN)[0]


def cache_of(mesh: Mesh) -> SnapshotCache:
    return SnapshotCache(mesh, lambda _: ())


@pytest.mark.parametrize("who", [PATCHED, OTHER], ids=["patched", "other"])
def test_the_cache_has_what_emission_makes(mesh: Mesh, who: Node) -> None:
    found = cache_of(mesh).snapshot(who)
    whole = assemble(emit(mesh, who).encode())
    for kind in (CDS, RDS):
        assert dict(found.of(kind)) == dict(whole.of(kind))


def test_patches_are_for_those_that_they_choose(mesh: Mesh) -> None:
    cache = cache_of(mesh)
    gone = "outbound|81|v1|web.default.svc.cluster.local"
    assert gone not in cache.snapshot(PATCHED).of(CDS)
    assert gone in cache.snapshot(OTHER).of(CDS)


def test_virtual_hosts_on_demand_are_patched_too(mesh: Mesh) -> None:
    who = node(labels={"app": "me"}, weft_agent=True, on_demand=True)
    cache = cache_of(mesh)
    found = cache.snapshot(who)
    hosts = found.of(VHDS)
    added = VirtualHost.FromString(Any.FromString(hosts["http_proxy/legacy.test"].body).value)
    assert added.routes[0].direct_response.status == 410
    assert "http_proxy/web" in hosts
    assert b"x-internal" in found.of(RDS)["http_proxy"].body
    cache.set_mesh(mesh)
    assert cache.snapshot(who).version == found.version


@pytest.mark.parametrize("first", [True, False])
def test_who_holds_the_whole_table_beside_who_fetches_it(mesh: Mesh, first: bool) -> None:
    lazy = node(labels={"app": "me"}, weft_agent=True, on_demand=True)
    whole = replace(lazy, on_demand=False)
    cache = cache_of(mesh)
    for who in (lazy, whole) if first else (whole, lazy):
        body = cache.snapshot(who).of(RDS)["http_proxy"].body
        table = RouteConfiguration.FromString(Any.FromString(body).value)
        assert table.HasField("vhds") is bool(not table.virtual_hosts) is who.on_demand
