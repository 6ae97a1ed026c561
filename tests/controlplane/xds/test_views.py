"""Clients who see the same of a service share what is made of it."""

from __future__ import annotations

from dataclasses import replace

from controlplane.emit.clients import Client, seen_by
from controlplane.mesh.networks import NetworkGateway
from controlplane.xds.views import MAX_UNLIKE, Views
from tests.support.mesh import endpoint, service

WEB = service("web", endpoint(9000), gateways=(NetworkGateway("two", "192.0.2.1", 15443),))


def test_one_object_for_all_who_see_the_same() -> None:
    views = Views()
    first = views.seen(WEB, Client("one", network="a"))
    assert first == seen_by(WEB, Client("one", network="a"))
    assert views.seen(WEB, Client("two", network="a")) is first
    other = views.seen(WEB, Client("two", network="b"))
    assert other == seen_by(WEB, Client("two", network="b")) != first
    assert list(views.views()) == [first, other]


def test_who_may_not_know_it_sees_nothing() -> None:
    views = Views()
    hidden = replace(WEB, visible_in=("one",))
    assert views.seen(hidden, Client("two")) is None
    assert views.seen(hidden, Client("one")) is not None


def test_nothing_is_kept_of_what_is_gone_and_not_without_bound() -> None:
    views = Views()
    for number in range(2 * MAX_UNLIKE):
        who = Client("one", network=f"n{number}")
        assert views.seen(WEB, who) == seen_by(WEB, who)
    assert len(list(views.views())) == MAX_UNLIKE
    views.use((WEB,))
    assert len(list(views.views())) == MAX_UNLIKE
    views.use((replace(WEB),))
    assert not list(views.views())
