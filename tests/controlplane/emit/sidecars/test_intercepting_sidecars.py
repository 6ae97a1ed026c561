"""What intercepting sidecars get, kept as files (`WEFT_UPDATE_GOLDEN=1` writes them anew), read by
Weft; and a cache gives it from one mesh to the next. test_judge_intercepting asks Envoy.
"""

from __future__ import annotations

import pytest

from controlplane.emit.envoy import emit
from controlplane.mesh.model import Mesh
from controlplane.resources import assemble
from controlplane.snapshot import check
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS, PUSH_ORDER, RDS
from tests.support.golden import hold, read_by_weft, resources_of
from tests.support.intercepting import CASES, GOLDEN, intercepted
from tests.support.mesh import node

NODE = node("messenger-1", interception="REDIRECT", http_proxy_port=0)
NODES = (
    NODE,
    node("messenger-1", interception="REDIRECT", weft_agent=True),
    node("stranger", "x", namespace="shop", interception="TPROXY", labels={"app": "me"}),
)


def rendered(name: str) -> str:
    draft = emit(intercepted(name), NODE)
    assert check(draft) == ()
    return resources_of(assemble(draft.encode()))


@pytest.mark.parametrize("name", CASES)
def test_emission_is_as_kept(name: str) -> None:
    hold(GOLDEN / f"{name}.out.yaml", rendered(name))


@pytest.mark.parametrize("name", CASES)
def test_weft_reads_what_we_emit(name: str) -> None:
    read_by_weft(emit(intercepted(name), NODES[1]))


def test_a_cache_gives_what_emission_makes_whatever_came_before() -> None:
    cache = SnapshotCache(Mesh("cluster.local"), lambda _: ())
    for name in (*CASES, *reversed(CASES)):
        mesh = intercepted(name)
        cache.set_mesh(mesh)
        for one in NODES:
            snapshot, types = cache.snapshot(one), emit(mesh, one).encode()
            for url in PUSH_ORDER:
                made = {key: resource.body for key, resource in types[url].items()}
                assert {key: r.body for key, r in snapshot.of(url).items()} == made, (name, url)


def test_what_does_not_change_stays_the_same_resource() -> None:
    mesh = intercepted("ports")
    cache = SnapshotCache(mesh, lambda _: ())
    before = cache.snapshot(NODE)
    cache.set_mesh(intercepted("ports"))
    after = cache.snapshot(NODE)
    for url in (LDS, RDS):
        assert before.of(url)
        assert all(after.of(url)[name] is before.of(url)[name] for name in before.of(url))
