"""A user's patch that would leave something dangling is left out and told; all else goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.emit.node import Node
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, LDS, RDS
from tests.support.mesh import TRUST_DOMAIN, node

OUTBOUND = "outbound|80||cart.default.svc.cluster.local"

SERVED = """
apiVersion: v1
kind: Service
metadata: {{name: cart}}
spec: {{ports: [{{name: http, port: 80, targetPort: 9001}}], selector: {{app: cart}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: cart-1
  annotations: {{weft.dev/sidecar: "true", weft.dev/app-ports: '{{"http": 9001}}'}}
spec: {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: cart}}}}
"""

FILTER = """---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: %s}
spec:
  configPatches:
%s"""

HARMLESS = """  - applyTo: CLUSTER
    match: {context: SIDECAR_INBOUND}
    patch: {operation: MERGE, value: {connect_timeout: 7s}}
"""
TIMEOUT = HARMLESS.replace("SIDECAR_INBOUND", "SIDECAR_OUTBOUND")
NETWORK = "type.googleapis.com/envoy.extensions.filters.network."
BAD = {
    "endpoints": """  - applyTo: CLUSTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: MERGE
      value: {type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}
""",
    "table": """  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": NETWORK.http_connection_manager.v3.HttpConnectionManager
          rds: {route_config_name: nowhere, config_source: {ads: {}}}
""".replace("NETWORK.", NETWORK),
    "place": """  - applyTo: LISTENER
    match: {context: SIDECAR_OUTBOUND}
    patch:
      operation: ADD
      value:
        name: mine
        address: {socket_address: {address: 127.0.0.1, port_value: 15080}}
        filter_chains:
        - filters:
          - name: envoy.filters.network.tcp_proxy
            typed_config:
              "@type": NETWORK.tcp_proxy.v3.TcpProxy
              stat_prefix: mine
              cluster: mine
""".replace("NETWORK.", NETWORK),
}

ME = node("cart-1", labels={"app": "cart"}, weft_agent=True)


def mesh_of(*filters: str, port: int = 9001) -> Mesh:
    text = SERVED.format(port=port)
    text += "".join(FILTER % (f"f{at}", one) for at, one in enumerate(filters))
    return build(Snapshot(parse(text, "a.yaml").objects), TRUST_DOMAIN)[0]


def cache_of(mesh: Mesh) -> SnapshotCache:
    return SnapshotCache(mesh, lambda _: ())


def held(cache: SnapshotCache, who: Node = ME) -> dict[str, dict[str, str]]:
    found = cache.snapshot(who)
    return {url: {name: one.version for name, one in found.of(url).items()} for url in (CDS, LDS)}


def told(cache: SnapshotCache) -> list[Status]:
    return [one for one in cache.statuses() if one.code == "PatchLeftOut"]


@pytest.mark.parametrize("bad", BAD)
def test_it_alone_is_left_out_and_the_status_says_where_and_for_whom(bad: str) -> None:
    cache = cache_of(mesh_of(HARMLESS, BAD[bad]))
    assert held(cache) == held(cache_of(mesh_of(HARMLESS)))
    (status,) = told(cache)
    assert (status.object, status.severity) == ("EnvoyFilter default/f1", "error")
    assert str(status.position).startswith("a.yaml:")
    assert status.position.line > 1
    assert "spec.configPatches[0]" in status.message
    assert "default/cart-1" in status.message


def test_the_node_goes_on_changing_and_one_way_is_the_other() -> None:
    cache = cache_of(mesh_of(HARMLESS))
    first = held(cache)
    cache.set_mesh(mesh_of(BAD["endpoints"], HARMLESS))
    assert held(cache) == first
    cache.set_mesh(changed := mesh_of(BAD["endpoints"], HARMLESS, port=9002))
    assert held(cache) == held(cache_of(changed)) != first
    assert len(told(cache)) == 1


def test_what_is_mended_is_told_no_more() -> None:
    cache = cache_of(mesh_of(BAD["table"]))
    news: list[int] = []
    cache.restate = lambda: news.append(len(told(cache)))
    held(cache)
    cache.set_mesh(mesh_of(HARMLESS))
    assert told(cache) == []
    held(cache)
    assert len(news) == 2
    cache.set_mesh(mesh_of(HARMLESS))
    held(cache)
    assert len(news) == 2


def test_patches_of_services_are_left_out_for_that_service() -> None:
    bad = BAD["endpoints"].replace("SIDECAR_INBOUND", "SIDECAR_OUTBOUND")
    bad = bad.replace("{type: EDS, eds", "{name: other, type: EDS, eds").replace(
        "eds_cluster_config: {", "eds_cluster_config: {service_name: other, "
    )
    cache = cache_of(mesh_of(bad))
    assert OUTBOUND in held(cache)[CDS]
    (status,) = told(cache)
    assert "clients of cart.default.svc.cluster.local" in status.message
    cache.set_mesh(mesh_of(HARMLESS))
    held(cache)
    assert told(cache) == []


# --------------------------------------------------------------------------- intercepting sidecars

CAPTURING = replace(ME, http_proxy_port=0, interception="REDIRECT")


def listener(name: str, port: int, cluster: str) -> str:
    mine = BAD["place"].replace("cluster: mine", f'cluster: "{cluster}"')
    return mine.replace("name: mine", f"name: {name}").replace("15080", str(port))


OUTSIDE = {
    "table": BAD["table"].replace("SIDECAR_INBOUND", "SIDECAR_OUTBOUND"),
    "place": listener("a", 15901, OUTBOUND) + listener("b", 15901, OUTBOUND),
}


@pytest.mark.parametrize("bad", OUTSIDE)
def test_what_intercepting_sidecars_share_does_without_it(bad: str) -> None:
    cache = cache_of(mesh_of(TIMEOUT, OUTSIDE[bad]))
    good = SnapshotCache(mesh_of(TIMEOUT), lambda _: ())
    found = cache.snapshot(CAPTURING)
    if bad == "table":
        wanted = good.snapshot(CAPTURING)
        assert all(dict(found.of(url)) == dict(wanted.of(url)) for url in (CDS, LDS, RDS))
    (status,) = told(cache)
    assert status.object == "EnvoyFilter default/f1"
    assert "the intercepting sidecars of 'default'" in status.message
    (shown,) = cache.left_out(CAPTURING)
    assert shown.startswith("EnvoyFilter default/f1 spec.configPatches[")
    cache.set_mesh(mesh_of(TIMEOUT))
    cache.snapshot(CAPTURING)
    assert (told(cache), cache.left_out(CAPTURING)) == ([], ())


def test_a_patch_may_name_what_they_have_besides() -> None:
    cache = cache_of(mesh_of(listener("a", 15901, OUTBOUND)))
    assert "a" in cache.snapshot(CAPTURING).of(LDS)
    assert told(cache) == []


@pytest.mark.parametrize("bad", BAD)
def test_a_proxy_is_told_of_its_own_side_too(bad: str) -> None:
    cache = cache_of(mesh_of(BAD[bad]))
    assert cache.left_out(ME) == ()  # it has asked for nothing yet
    cache.snapshot(ME)
    (shown,) = cache.left_out(ME)
    assert shown.startswith("EnvoyFilter default/f0 spec.configPatches[0]: ")
    assert cache.left_out(replace(ME, dialect="grpc")) == ()
