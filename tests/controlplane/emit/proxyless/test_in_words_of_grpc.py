"""How a mesh reads in gRPC's words, and what is said of what it has no words for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_components_pb2 import Route

from controlplane.emit.proxyless import unpatched, whole
from controlplane.emit.routes import Domains
from controlplane.mesh.model import (
    ClientTls,
    ConnectionPool,
    ConsistentHash,
    Cookie,
    Destination,
    Endpoint,
    HttpRule,
    OutlierDetection,
    Retry,
    RouteMatch,
    Service,
    StringMatch,
    TrafficPolicy,
)
from controlplane.mesh.patches import Context, EnvoyPatch, PatchMatch
from controlplane.mesh.policy import AccessPolicy, Clause, Fact, Match, Rule, Security, Value
from controlplane.mesh.scopes import Scope
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS
from tests.support.mesh import endpoint, inbound, mesh, node, service, workload

HOST = "messenger.default.svc.cluster.local"
DOMAINS = ("cluster.local",)
CLIENT = node(dialect="grpc")


def made_of(one: Service) -> tuple[list[Cluster], list[ClusterLoadAssignment], list[str]]:
    made = whole.of_service(one, DOMAINS)
    told = [status.message for status in made.statuses]
    return list(made.draft.clusters), list(made.draft.endpoints), told


def routes_of(rule: HttpRule) -> tuple[list[Route], list[str]]:
    one = service("messenger", endpoint(9101), rules=(rule,))
    made = whole.ways_to(one, Domains((one,), "default").of, CLIENT)
    (table,) = made.draft.routes
    return list(table.virtual_hosts[0].routes), [status.message for status in made.statuses]


def rule(match: RouteMatch | None = None, **facts: Any) -> HttpRule:
    return HttpRule((match,) if match is not None else (), (Destination(HOST),), **facts)


# --------------------------------------------------------------------------- clusters


def test_where_some_have_no_sidecar_those_that_have_are_used() -> None:
    pair = (endpoint(9101), endpoint(9102, mesh=False))
    (cluster,), (assignment,), told = made_of(service("messenger", *pair))
    assert cluster.HasField("transport_socket")
    (group,) = assignment.endpoints
    ports = [e.endpoint.address.socket_address.port_value for e in group.lb_endpoints]
    assert ports == [9101]
    assert told == [
        "gRPC clients use only those endpoints that have a sidecar, as others have none"
    ]


def test_tls_that_grpc_can_not_speak_leaves_no_endpoints_rather_than_plain_text() -> None:
    policy = TrafficPolicy(tls=ClientTls("SIMPLE"))
    one = service("messenger", endpoint(9101, mesh=False), policy=policy)
    (cluster,), (assignment,), told = made_of(one)
    assert not cluster.HasField("transport_socket")
    assert not assignment.endpoints
    assert told == ["gRPC clients can't speak TLS of mode SIMPLE: they get no endpoints"]


def test_an_address_stands_once() -> None:
    (_,), (assignment,), _ = made_of(service("messenger", endpoint(9101), endpoint(9101)))
    assert len(assignment.endpoints[0].lb_endpoints) == 1


def test_a_name_is_looked_up_and_of_several_the_first() -> None:
    def named(*names: str) -> Service:
        places = [Endpoint(name, {8080: 80}) for name in names]
        return service("messenger", *places, resolution="DNS", external=True)

    (one,), nothing, told = made_of(named("a.example.org"))
    assert one.type == Cluster.LOGICAL_DNS
    assert not (nothing or told)
    (several,), nothing, told = made_of(named("a.example.org", "b.example.org"))
    assert several == one
    assert told == ["gRPC clients use one name of DNS for a service, the first one"]


def test_beside_addresses_names_are_not_used() -> None:
    both = endpoint(9101, mesh=False), endpoint(9102, mesh=False, address="a.example.org")
    (cluster,), (assignment,), told = made_of(service("messenger", *both))
    assert cluster.type == Cluster.EDS
    (group,) = assignment.endpoints
    assert [e.endpoint.address.socket_address.port_value for e in group.lb_endpoints] == [9101]
    assert "not names of DNS" in told[0]


def test_errors_that_follow_each_other_become_a_share_of_failures() -> None:
    outlier = OutlierDetection(consecutive_5xx=7, interval_s=3.0, max_ejection_percent=50)
    policy = TrafficPolicy(outlier=outlier, pool=ConnectionPool(max_requests=9, max_connections=1))
    (cluster,), _, told = made_of(service("messenger", endpoint(9101), policy=policy))
    found = cluster.outlier_detection
    assert found.enforcing_success_rate.value == 0
    assert found.failure_percentage_request_volume.value == 7
    assert found.enforcing_failure_percentage.value == 100
    assert found.interval.seconds == 3
    assert cluster.circuit_breakers.thresholds[0].max_requests.value == 9
    assert len(told) == 2


@pytest.mark.parametrize(
    ("policy", "lb_policy", "says"),
    [
        (TrafficPolicy(), Cluster.ROUND_ROBIN, 0),
        (TrafficPolicy(load_balancer="RANDOM"), Cluster.ROUND_ROBIN, 1),
        (TrafficPolicy(hash=ConsistentHash(header="x-user")), Cluster.RING_HASH, 0),
        (TrafficPolicy(hash=ConsistentHash(header="x", algorithm="MAGLEV")), Cluster.RING_HASH, 1),
    ],
)
def test_load_balancing(policy: TrafficPolicy, lb_policy: Cluster.LbPolicy, says: int) -> None:
    (cluster,), _, told = made_of(service("messenger", endpoint(9101), policy=policy))
    assert cluster.lb_policy == lb_policy
    assert len(told) == says


# --------------------------------------------------------------------------- routes


def test_a_prefix_of_whole_segments_is_an_expression() -> None:
    match = RouteMatch(uri=StringMatch("prefix", "/a.B"), whole_segments=True)
    (route,), told = routes_of(rule(match))
    assert route.match.safe_regex.regex == r"/a\.B(/.*)?"
    assert not told


@pytest.mark.parametrize(
    ("match", "stays", "says"),
    [
        (RouteMatch(method=StringMatch("exact", "POST")), True, 0),
        (RouteMatch(method=StringMatch("exact", "GET")), False, 0),
        (RouteMatch(query_params={"a": None}), False, 1),
        (RouteMatch(authority=StringMatch("exact", "a")), False, 1),
        (RouteMatch(headers={"a": StringMatch("exact", "b")}), True, 0),
    ],
)
def test_what_can_not_be_matched_is_left_out(match: RouteMatch, stays: bool, says: int) -> None:
    routes, told = routes_of(rule(match))
    assert (len(routes), len(told)) == (int(stays), says)


def test_the_timeout_is_the_deadline_and_retries_are_those_that_grpc_knows() -> None:
    retry = Retry(9, retry_on=("unavailable", "5xx"), per_try_timeout_s=1.0, backoff_s=0.5)
    (route,), told = routes_of(rule(timeout_s=3.0, retry=retry))
    action = route.route
    assert action.max_stream_duration.grpc_timeout_header_max.seconds == 3
    assert action.retry_policy.retry_on == "unavailable"
    assert action.retry_policy.num_retries.value == 4
    assert told == [
        "gRPC clients know no retryOn of 5xx",
        "gRPC clients know no perTryTimeout",
        "gRPC clients try a call 5 times at most",
    ]


def test_hashing_is_by_header_or_by_client() -> None:
    def keyed(key: ConsistentHash) -> HttpRule:
        return HttpRule((), (Destination(HOST, hash=key),))

    (route,), told = routes_of(keyed(ConsistentHash(header="x-user")))
    assert route.route.hash_policy[0].header.header_name == "x-user"
    assert not told
    (route,), told = routes_of(keyed(ConsistentHash(cookie=Cookie("id"))))
    assert route.route.hash_policy[0].filter_state.key == "io.grpc.channel_id"
    assert len(told) == 1


# --------------------------------------------------------------------------- servers


def asking_for_a_token(action: str) -> Security:
    value = Value("*", (Fact("token", Match("present"), ("sub",)),))
    clause = Clause("requestPrincipals", "token", (value,))
    policy = AccessPolicy("default", "p", action, (Rule(0, sources=((clause,),)),))  # type: ignore[arg-type]
    return Security(access=(policy,))


@pytest.mark.parametrize(
    ("action", "effect"), [("ALLOW", "lets nobody in"), ("DENY", "refuses, whatever they are")]
)
def test_a_rule_that_asks_for_tokens_lets_nobody_by(action: str, effect: str) -> None:
    there = workload("messenger-1", replace(inbound(protocol="GRPC"), mtls="PERMISSIVE"))
    candidate = replace(mesh(workloads=(there,)), security=asking_for_a_token(action))
    cache = SnapshotCache(candidate, lambda node: ())
    cache.proxyless.note(CLIENT, ["grpc/server?xds.resource.listening_address=127.0.0.1:9101"])
    told = [status.message for status in cache.proxyless.statuses()]
    assert any(effect in message for message in told)
    assert "gRPC servers can't take both TLS and plain text: port 9101 is STRICT" in told
    names = sorted(cache.snapshot(CLIENT).of(LDS))
    assert names[0] == "grpc/server?xds.resource.listening_address=0.0.0.0:9101"


# --------------------------------------------------------------------------- patches, absence


def patch(context: Context, service: str = "") -> EnvoyPatch:
    match = PatchMatch(service=service)
    return EnvoyPatch("CLUSTER", "MERGE", "{}", context, match, object="EnvoyFilter a/b", path="p")


@pytest.mark.parametrize(
    ("context", "service", "called", "serves", "is_told"),
    [
        ("ANY", "", (), False, False),
        ("ANY", "", (HOST,), False, True),
        ("ANY", "", (), True, True),
        ("SIDECAR_OUTBOUND", "", (HOST,), False, True),
        ("SIDECAR_OUTBOUND", HOST, (HOST,), False, True),
        ("SIDECAR_OUTBOUND", "other.host", (HOST,), False, False),
        ("SIDECAR_OUTBOUND", "", (), True, False),
        ("SIDECAR_INBOUND", "", (HOST,), False, False),
        ("SIDECAR_INBOUND", "", (), True, True),
        ("GATEWAY", "", (HOST,), True, False),
    ],
)
def test_patches_that_would_be_for_a_client_or_server_are_told(
    context: Context, service: str, called: tuple[str, ...], serves: bool, is_told: bool
) -> None:
    patched = replace(mesh(), patches=(patch(context, service),))
    found = list(unpatched.statuses(patched, CLIENT, called, serves))
    assert [one.object for one in found] == ["EnvoyFilter a/b"] * is_told


def test_patches_for_others_are_not_told() -> None:
    of_others = replace(patch("ANY"), scope=Scope("default", {"app": "other"}))
    patched = replace(mesh(), patches=(of_others,))
    assert list(unpatched.statuses(patched, CLIENT, (HOST,), True)) == []


def headers_of(without: dict[str, StringMatch | None]) -> list[list[tuple[str, bool]]]:
    """Of each route the headers that it asks about, and whether for being there."""
    routes, told = routes_of(rule(RouteMatch(without_headers=without)))
    assert told == []
    assert all(h.invert_match for route in routes for h in route.match.headers)
    return [[(h.name, h.present_match) for h in route.match.headers] for route in routes]


def test_without_a_value_is_without_the_header_or_with_another() -> None:
    one = StringMatch("exact", "1")
    assert headers_of({"a": None}) == [[("a", True)]]
    assert headers_of({"a": one}) == [[("a", True)], [("a", False)]]
    assert len(headers_of({"a": one, "b": StringMatch("regex", "x+")})) == 4


@pytest.mark.parametrize("match", [StringMatch("prefix", ""), StringMatch("regex", ".*")])
def test_what_takes_the_empty_value_takes_a_header_that_is_not_there(match: StringMatch) -> None:
    assert headers_of({"a": match}) == [[("a", False)]]


def test_too_many_values_leave_the_route_out() -> None:
    many: dict[str, StringMatch | None] = {name: StringMatch("exact", "1") for name in "abcde"}
    routes, told = routes_of(rule(RouteMatch(without_headers=many)))
    assert routes == []
    assert "at most 4 values of withoutHeaders" in told[0]
