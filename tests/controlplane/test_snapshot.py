"""Versions by content, and what dangles."""

from __future__ import annotations

from dataclasses import replace

from controlplane.emit.envoy import emit
from controlplane.resources import assemble
from controlplane.snapshot import Draft, check, encode
from protos.types import CDS, EDS
from tests.support.emit_cases import CASES
from tests.support.mesh import node

DRAFT = emit(CASES["strict"](), node(weft_agent=True))
CLUSTER = "outbound|8080||messenger.default.svc.cluster.local"


def test_a_version_is_the_content_and_nothing_else() -> None:
    one = encode(CDS, "a", b"1")
    assert encode(CDS, "b", b"1").version == one.version
    assert encode(CDS, "a", b"2").version != one.version


def test_a_snapshots_version_does_not_depend_on_order_but_on_names_and_types() -> None:
    a, b = encode(CDS, "a", b"1"), encode(CDS, "b", b"2")
    first = assemble({CDS: {"a": a, "b": b}}).version
    assert assemble({CDS: {"b": b, "a": a}}).version == first
    assert assemble({CDS: {"a": b, "b": a}}).version != first
    assert assemble({EDS: {"a": a, "b": b}}).version != first


def test_a_whole_draft_has_nothing_to_object_to() -> None:
    assert check(DRAFT) == ()


def test_a_cluster_without_endpoints_is_named() -> None:
    (problem,) = check(replace(DRAFT, endpoints=()))
    assert problem == f"cluster {CLUSTER} has no endpoints resource"


def test_a_route_to_a_cluster_that_is_not_there_is_named() -> None:
    without = replace(DRAFT, clusters=tuple(c for c in DRAFT.clusters if c.name != CLUSTER))
    assert any(f"names cluster {CLUSTER}, which is not there" in p for p in check(without))
    assert check(replace(without, unresolved=frozenset((CLUSTER,)))) == ()
    assert check(without, clusters=(CLUSTER,)) == ()


def test_a_listener_without_its_routes_or_inline_cluster_is_named() -> None:
    problems = check(Draft(listeners=DRAFT.listeners))
    text = "\n".join(problems)
    assert "listener 127.0.0.1_15080 names route configuration http_proxy" in text
    assert "listener 127.0.0.1_9101, virtual host inbound|http|9001 names cluster" in text


def test_a_tcp_listener_without_its_cluster_is_named() -> None:
    draft = emit(CASES["tcp_and_udp"](), node())
    problems = check(Draft(listeners=draft.listeners, routes=draft.routes))
    redis = "redis.default.svc.cluster.local"
    assert problems == (
        "listener 127.0.0.1_9101 names cluster inbound|9001||, which is not there",
        f"route configuration http_proxy, virtual host {redis}:6379 names cluster "
        f"outbound|6379||{redis}, which is not there",
    )


def test_duplicates_are_named() -> None:
    twice = replace(DRAFT, listeners=(*DRAFT.listeners, DRAFT.listeners[0]))
    assert check(twice) == (f"listener {DRAFT.listeners[0].name} exists twice",)
