"""Which endpoints a client at one place is given, in which order and with what share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from controlplane.emit.clients import client_of, is_common, labels_of, seen_by
from controlplane.emit.localities import arranged
from controlplane.mesh.model import (
    ClientPolicy,
    ConnectionPool,
    Endpoint,
    Localities,
    OutlierDetection,
    TrafficPolicy,
    Viewpoint,
)
from controlplane.mesh.scopes import Scope
from tests.support.mesh import endpoint, node, service

OUTLIER = OutlierDetection(consecutive_5xx=1)
HERE = ("eu", "a", "1")
PLACES = {
    9001: HERE,
    9002: ("eu", "a", "2"),
    9003: ("eu", "b", "1"),
    9004: ("us", "a", "1"),
    9005: ("asia", "a", "1"),
}


def at(port: int, place: tuple[str, str, str], **facts: object) -> Endpoint:
    return replace(endpoint(port, mesh=False), locality=place, **facts)  # type: ignore[arg-type]


EVERYWHERE = tuple(at(port, place) for port, place in PLACES.items())


def given(
    settings: Localities,
    here: tuple[str, str, str] = HERE,
    outlier: OutlierDetection | None = OUTLIER,
    endpoints: tuple[Endpoint, ...] = EVERYWHERE,
    labels: Mapping[str, str] | None = None,
) -> dict[int, tuple[int, int]]:
    """Endpoint's port -> (priority, weight of its group)."""
    policy = TrafficPolicy(outlier=outlier, localities=settings)
    return {
        one.ports[8080]: (group.priority, group.weight)
        for group in arranged(endpoints, policy, Viewpoint(here, labels or {}))
        for one in group.endpoints
    }


def priorities(found: dict[int, tuple[int, int]]) -> dict[int, int]:
    return {port: priority for port, (priority, _) in found.items()}


def test_the_nearest_come_first() -> None:
    found = priorities(given(Localities()))
    assert found == {9001: 0, 9002: 1, 9003: 2, 9004: 3, 9005: 3}


def test_priorities_have_no_gaps() -> None:
    found = priorities(given(Localities(), endpoints=(EVERYWHERE[0], EVERYWHERE[3])))
    assert found == {9001: 0, 9004: 1}
    assert set(priorities(given(Localities(), here=("moon", "", ""))).values()) == {0}


def test_a_region_fails_over_to_another_one() -> None:
    found = priorities(given(Localities(failover=(("eu", "asia"),))))
    assert found == {9001: 0, 9002: 1, 9003: 2, 9005: 3, 9004: 4}


@pytest.mark.parametrize(
    ("settings", "outlier"), [(Localities(), None), (Localities(enabled=False), OUTLIER)]
)
def test_nobody_fails_over_without_outlier_detection_or_when_it_is_off(
    settings: Localities, outlier: OutlierDetection | None
) -> None:
    assert set(priorities(given(settings, outlier=outlier)).values()) == {0}


def test_shares_go_to_places_and_are_divided_there() -> None:
    shares = (("eu/*", (("eu/a/*", 80), ("us", 20))),)
    endpoints = (*EVERYWHERE, at(9006, ("eu", "a", "2"), weight=2))
    found = given(Localities(distribute=shares), outlier=None, endpoints=endpoints)
    assert found == {9001: (0, 20), 9002: (0, 60), 9006: (0, 60), 9004: (0, 20)}


def test_shares_of_other_places_do_not_count() -> None:
    shares = (("us", (("us", 100),)),)
    assert len(given(Localities(distribute=shares))) == len(EVERYWHERE)


def test_labels_order_endpoints() -> None:
    wanted = Localities(priority=("tier", "topology.kubernetes.io/region", "fixed=yes"))
    endpoints = (
        at(9001, HERE, labels={"tier": "gold"}),
        at(9002, ("us", "", ""), labels={"tier": "gold"}),
        at(9003, HERE, labels={"tier": "lead", "fixed": "yes"}),
        at(9004, HERE, labels={"tier": "gold", "fixed": "yes"}),
    )
    found = priorities(given(wanted, endpoints=endpoints, labels={"tier": "gold"}))
    assert found == {9004: 0, 9001: 1, 9002: 2, 9003: 3}


# --------------------------------------------------------------------------- who sees what


def test_a_service_that_is_the_same_everywhere_is_common() -> None:
    policy = TrafficPolicy(outlier=OUTLIER)
    assert is_common(service("a", *EVERYWHERE))
    assert is_common(service("a", EVERYWHERE[0], policy=policy))
    assert not is_common(service("a", *EVERYWHERE, policy=policy))
    assert not is_common(service("a", visible_in=("shop",)))


def test_a_client_sees_its_own_policy_from_its_own_place() -> None:
    limited = TrafficPolicy(pool=ConnectionPool(max_connections=3), outlier=OUTLIER)
    chosen = ClientPolicy(Scope("default", {"track": "canary"}), limited)
    shared = service("a", *EVERYWHERE, for_clients=(chosen,))
    caller = node(labels={"track": "canary", "pod": "1"}, locality=HERE)
    client = client_of(caller, frozenset(labels_of(shared)))
    assert client.labels == {"track": "canary"}
    seen = seen_by(shared, client)
    assert seen is not None
    assert seen.policy == limited
    assert seen.seen_from == Viewpoint(HERE)
    other = seen_by(shared, client_of(node(labels={"track": "stable"}), ("track",)))
    assert other is not None
    assert other.policy == TrafficPolicy()


def test_what_is_not_exported_is_not_seen() -> None:
    hidden = service("a", visible_in=("shop",))
    assert seen_by(hidden, node(namespace="default")) is None
    assert seen_by(hidden, node(namespace="shop")) is not None
