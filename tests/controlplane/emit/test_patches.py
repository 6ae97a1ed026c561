"""Patches of a node's own side: where each goes, what an operation does, what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit.envoy import beside, emit, sidecar
from controlplane.emit.patch_tables import in_table
from controlplane.emit.patch_values import faults
from controlplane.mesh.model import Mesh, Subset
from controlplane.mesh.patches import EnvoyPatch, PatchMatch
from controlplane.mesh.scopes import Scope
from controlplane.snapshot import Draft, check
from tests.support.mesh import (
    TRUST_DOMAIN,
    endpoint,
    inbound,
    mesh,
    node,
    service,
    unmetered,
    workload,
)

HCM = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
MANAGER = f"type.googleapis.com/envoy.extensions.filters.network.{HCM.rpartition('.')[2]}.v3"


def patch(apply_to: str, operation: str, value: Any = None, **facts: Any) -> EnvoyPatch:
    facts.setdefault("context", "SIDECAR_INBOUND")
    text = json.dumps(value) if value is not None else ""
    return EnvoyPatch(apply_to, operation, text, **facts)


def own_side(*patches: EnvoyPatch, **facts: Any) -> Draft:
    mesh = Mesh(TRUST_DOMAIN, workloads=(workload("messenger-1", inbound()),), patches=patches)
    caller = node(labels={"app": "me"}, weft_agent=True, **facts)
    return sidecar(beside(unmetered(mesh), caller), caller)


def of_inbound(draft: Draft) -> Listener:
    return next(one for one in draft.listeners if one.name.endswith("_9101"))


def manager_of(listener: Listener) -> hcm_pb2.HttpConnectionManager:
    manager = hcm_pb2.HttpConnectionManager()
    assert listener.filter_chains[0].filters[-1].typed_config.Unpack(manager)
    return manager


def http_filters(draft: Draft) -> list[str]:
    return [one.name for one in manager_of(of_inbound(draft)).http_filters]


AT_ROUTER = PatchMatch(filter=HCM, http_filter=ROUTER)


@pytest.mark.parametrize(
    ("operation", "match", "expected"),
    [
        ("INSERT_BEFORE", AT_ROUTER, ["x", ROUTER]),
        ("INSERT_FIRST", PatchMatch(), ["x", ROUTER]),
        ("INSERT_AFTER", AT_ROUTER, [ROUTER, "x"]),
        ("ADD", PatchMatch(filter=HCM), [ROUTER, "x"]),
        ("REPLACE", AT_ROUTER, ["x"]),
        ("REMOVE", AT_ROUTER, []),
        ("INSERT_BEFORE", PatchMatch(filter=HCM, http_filter="absent"), [ROUTER]),
        ("ADD", PatchMatch(filter="envoy.filters.network.tcp_proxy"), [ROUTER]),
        ("ADD", PatchMatch(port=1), [ROUTER]),
        ("ADD", PatchMatch(chain="absent"), [ROUTER]),
    ],
)
def test_each_operation_has_its_place(
    operation: str, match: PatchMatch, expected: list[str]
) -> None:
    value = None if operation == "REMOVE" else {"name": "x"}
    draft = own_side(patch("HTTP_FILTER", operation, value, match=match))
    assert http_filters(draft) == expected


def test_contexts_tell_listeners_apart() -> None:
    draft = own_side(patch("LISTENER", "MERGE", {"stat_prefix": "x"}, context="SIDECAR_OUTBOUND"))
    assert {one.name: one.stat_prefix for one in draft.listeners} == {
        "127.0.0.1_9101": "",
        "127.0.0.1_15080": "x",
    }


def test_merging_goes_into_packed_messages_and_joins_or_replaces_lists() -> None:
    manager = {"@type": f"{MANAGER}.HttpConnectionManager", "upgrade_configs": [{}]}
    one = {"typed_config": {**manager, "server_name": "x"}}
    joined = own_side(patch("NETWORK_FILTER", "MERGE", one, match=PatchMatch(filter=HCM)))
    made = manager_of(of_inbound(joined))
    assert (made.server_name, len(made.upgrade_configs)) == ("x", 2)
    assert made.stat_prefix
    replaced = own_side(patch("NETWORK_FILTER", "MERGE_AND_REPLACE_LIST", one))
    assert len(manager_of(of_inbound(replaced)).upgrade_configs) == 1


def test_routes_hosts_and_clusters_of_the_inbound_side() -> None:
    draft = own_side(
        patch("HTTP_ROUTE", "MERGE", {"name": "r"}, match=PatchMatch(route="default")),
        patch("HTTP_ROUTE", "ADD", {"match": {"prefix": "/"}, "route": {"cluster": "own"}}),
        patch("VIRTUAL_HOST", "MERGE", {"domains": ["x"]}, match=PatchMatch(domain="*")),
        patch("ROUTE_CONFIGURATION", "MERGE", {"internal_only_headers": ["x-a"]}),
        patch("CLUSTER", "MERGE", {"connect_timeout": "3s"}, match=PatchMatch(port=9001)),
        patch("CLUSTER", "ADD", {"name": "added"}),
        patch("CLUSTER", "ADD", {"name": "added", "alt_stat_name": "last"}),
    )
    assert check(draft, routes=("http_proxy",)) == ()
    table = manager_of(of_inbound(draft)).route_config
    (host,) = table.virtual_hosts
    assert [route.name for route in host.routes] == ["r", ""]
    assert list(host.domains) == ["*", "x"]
    assert list(table.internal_only_headers) == ["x-a"]
    clusters = {one.name: one for one in draft.clusters}
    assert clusters["inbound|9001||"].connect_timeout.seconds == 3
    assert clusters["added"].alt_stat_name == "last"


def test_a_removed_cluster_takes_nothing_down() -> None:
    draft = own_side(patch("CLUSTER", "REMOVE"))
    assert draft.clusters == ()
    assert check(draft, routes=("http_proxy",)) == ()


def test_patches_are_for_the_workloads_that_they_choose() -> None:
    one = patch("HTTP_FILTER", "INSERT_FIRST", {"name": "x"}, scope=Scope("shop"))
    assert http_filters(own_side(one)) == [ROUTER]
    for scope in (Scope("default"), Scope("", {"app": "messenger-1"})):
        chosen = patch("HTTP_FILTER", "INSERT_FIRST", {"name": "x"}, scope=scope)
        assert http_filters(own_side(chosen)) == ["x", ROUTER]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"nmae": "x"}, 'no field named "nmae"'),
        ({"name": 1}, "name"),
        ({"typed_config": {"@type": 1}}, "split"),
        ({"typed_config": {"@type": "type.googleapis.com/envoy.no.such.v3.Thing"}}, "Thing"),
        ({"typed_config": {"@type": "type.googleapis.com/os.path.Thing"}}, "Thing"),
    ],
)
def test_a_wrong_value_is_told_and_left_out(value: Any, fault: str) -> None:
    wrong = patch("HTTP_FILTER", "INSERT_FIRST", value, object="EnvoyFilter a/b", path="spec.x")
    (status,) = faults((wrong,))
    assert (status.severity, status.code, status.object) == (
        "error",
        "InvalidPatch",
        "EnvoyFilter a/b",
    )
    assert status.message.startswith("spec.x.patch.value: ")
    assert fault in status.message
    right = patch("HTTP_FILTER", "INSERT_FIRST", {"name": "y"})
    assert http_filters(own_side(wrong, right)) == ["y", ROUTER]


def test_any_message_of_envoys_api_is_known_by_its_name() -> None:
    kind = f"type.googleapis.com/{LuaPerRoute.DESCRIPTOR.full_name}"
    value = {"name": "x", "typed_config": {"@type": kind, "name": "script"}}
    assert faults((patch("HTTP_FILTER", "ADD", value),)) == ()


# --------------------------------------------------------------------------- outbound


def web(*patches: EnvoyPatch) -> Mesh:
    subsets = (Subset("v1", {"version": "v1"}),)
    return replace(mesh(service("web", endpoint(9101), subsets=subsets)), patches=patches)


def names_of(found: Draft) -> set[str]:
    return {one.name for one in found.clusters if one.name.startswith("outbound|")}


V1 = "outbound|8080|v1|web.default.svc.cluster.local"
PLAIN = "outbound|8080||web.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("match", "left"),
    [
        (PatchMatch(), set()),
        (PatchMatch(service="web.default.svc.cluster.local"), set()),
        (PatchMatch(service="other"), {V1, PLAIN}),
        (PatchMatch(subset="v1"), {PLAIN}),
        (PatchMatch(port=8080, cluster=PLAIN), {V1}),
        (PatchMatch(port=81), {V1, PLAIN}),
    ],
)
def test_clusters_of_services_are_chosen_by_their_parts(match: PatchMatch, left: set[str]) -> None:
    one = patch("CLUSTER", "REMOVE", match=match, context="SIDECAR_OUTBOUND")
    assert names_of(emit(web(one), node())) == left


def test_a_duration_is_replaced_and_not_added_to() -> None:
    value = {"connect_timeout": "0.25s", "circuit_breakers": {"thresholds": []}}
    one = patch("CLUSTER", "MERGE", value, match=PatchMatch(subset="v1"), context="ANY")
    found = {cluster.name: cluster for cluster in emit(web(one), node()).clusters}
    assert found[V1].connect_timeout.ToTimedelta().total_seconds() == 0.25
    assert found[V1].circuit_breakers == found[PLAIN].circuit_breakers
    assert found[PLAIN].connect_timeout.seconds == 10


def tables(*patches: EnvoyPatch, **facts: Any) -> RouteConfiguration:
    made = emit(web(*patches), node(**facts))
    return next(one for one in made.routes if one.name == "http_proxy")


@pytest.mark.parametrize(
    ("match", "meant"),
    [
        (PatchMatch(), True),
        (PatchMatch(port=8080), True),
        (PatchMatch(port=80), False),
        (PatchMatch(route_configuration="http_proxy", domain="web.default"), True),
        (PatchMatch(virtual_host="block_all"), False),
        (PatchMatch(gateway="a/b"), False),
        (PatchMatch(server="https"), False),
    ],
)
def test_outbound_routes_are_chosen_by_port_host_and_table(match: PatchMatch, meant: bool) -> None:
    value = {"name": "first", "match": {"prefix": "/"}, "redirect": {"path_redirect": "/x"}}
    one = patch("HTTP_ROUTE", "INSERT_FIRST", value, match=match, context="SIDECAR_OUTBOUND")
    host = tables(one).virtual_hosts[0]
    assert (host.routes[0].name == "first") == meant


def test_tables_of_gateways_are_known_by_server_and_gateway() -> None:
    value = {"internal_only_headers": ["x"]}
    match = PatchMatch(port=443, server="web", gateway="shop/edge")
    one = patch("ROUTE_CONFIGURATION", "MERGE", value, match=match)
    for name, meant in (
        ("https.443.web.edge.shop", True),
        ("https.443.web.edge.other", False),
        ("https.8443.web.edge.shop", False),
        ("http.443", False),
    ):
        table = RouteConfiguration(name=name)
        in_table(table, one)
        assert bool(table.internal_only_headers) == meant, name


def test_proxies_are_chosen_by_what_they_say() -> None:
    asked = PatchMatch(proxy_version=r"^1\.2[0-9]", metadata=(("TIER", "gold"),))
    one = patch("CLUSTER", "REMOVE", match=asked, context="ANY")
    for metadata, meant in (
        ({"TIER": "gold", "ISTIO_VERSION": "1.24.1"}, True),
        ({"TIER": "gold", "ISTIO_VERSION": "1.9"}, False),
        ({"TIER": "gold"}, False),
        ({"ISTIO_VERSION": "1.24.1"}, False),
    ):
        assert bool(names_of(emit(web(one), node(metadata=metadata)))) != meant, metadata
    slow = patch("CLUSTER", "REMOVE", match=PatchMatch(proxy_version="(a+)+$"), context="ANY")
    said = {"ISTIO_VERSION": "a" * 63 + "!"}  # by a backtracking engine never answered
    assert names_of(emit(web(slow), node(metadata=said)))
    odd = patch("CLUSTER", "REMOVE", match=PatchMatch(proxy_version=r"\pL"), context="ANY")
    assert names_of(emit(web(odd), node(metadata={"ISTIO_VERSION": "1"})))


def test_a_sidecar_is_no_gateway_and_a_router_no_sidecar() -> None:
    gateways = patch("CLUSTER", "REMOVE", context="GATEWAY")
    router = replace(node(http_proxy_port=0), id="router~127.0.0.1~edge.default~x")
    assert names_of(emit(web(gateways), node())) == {V1, PLAIN}
    assert names_of(emit(web(gateways), router)) == set()
    sidecars = patch("CLUSTER", "REMOVE", context="SIDECAR_OUTBOUND")
    assert names_of(emit(web(sidecars), router)) == {V1, PLAIN}


def test_what_a_filter_would_fetch_by_name_it_has_at_once() -> None:
    discovery = {"config_source": {"ads": {}}, "type_urls": ["x"]}
    kind = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"
    config = {"@type": kind, "max_request_bytes": 9}
    draft = own_side(
        patch("HTTP_FILTER", "INSERT_FIRST", {"name": "b", "config_discovery": discovery}),
        patch("EXTENSION_CONFIG", "ADD", {"name": "b", "typed_config": config}, context="ANY"),
    )
    found = manager_of(of_inbound(draft)).http_filters[0]
    assert found.name == "b"
    assert found.typed_config.type_url == kind


def test_a_domain_stays_with_the_host_that_has_it_first() -> None:
    """Envoy refuses the whole table otherwise, and with it what all others have changed."""
    table = RouteConfiguration(name="http_proxy")
    table.virtual_hosts.add(name="first", domains=["a.test"])
    for name, domains in (("second", ["A.test", "b.test", "b.test"]), ("third", ["a.test"])):
        value = {"name": name, "domains": domains}
        in_table(table, patch("VIRTUAL_HOST", "ADD", value, context="SIDECAR_OUTBOUND"))
    found = {host.name: list(host.domains) for host in table.virtual_hosts}
    assert found == {"first": ["a.test"], "second": ["b.test"]}
