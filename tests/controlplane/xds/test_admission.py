"""Whose configuration a stream may have."""

from __future__ import annotations

import pytest

from certs.spiffe import SpiffeId
from controlplane.xds.admission import Seats, objection
from tests.support.mesh import node

NODE = node("w", "messenger")


def test_its_own() -> None:
    own = SpiffeId.workload("cluster.local", "default", "messenger")
    assert objection(NODE, own) == ""


@pytest.mark.parametrize(
    "identity",
    [
        SpiffeId.workload("cluster.local", "default", "greeter"),
        SpiffeId.workload("cluster.local", "other", "messenger"),
        SpiffeId("cluster.local", "/messenger"),
        SpiffeId("cluster.local"),
        None,
    ],
)
def test_nobody_elses(identity: SpiffeId | None) -> None:
    assert objection(NODE, identity)


def test_the_reason_names_both_sides_and_what_to_correct() -> None:
    reason = objection(NODE, SpiffeId.workload("cluster.local", "default", "greeter"))
    for word in ("messenger", "spiffe://cluster.local/ns/default/sa/greeter", "SERVICE_ACCOUNT"):
        assert word in reason


def test_whoever_has_a_seat_keeps_it_and_who_comes_too_late_is_told() -> None:
    cart, shop = (SpiffeId.workload("cluster.local", "shop", name) for name in ("cart", "shop"))
    seats = Seats(of_all=3, of_one=2)
    assert [seats.take(cart), seats.take(cart), seats.take(shop)] == ["", "", ""]
    assert f"{cart} has 2 streams" in seats.take(cart)
    assert "3 streams are open" in seats.take(shop)
    seats.leave(cart)
    assert seats.take(shop) == ""
    seats.leave(shop)
    seats.leave(shop)
    assert [seats.take(cart), seats.take(shop)] == ["", ""]
