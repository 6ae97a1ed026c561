"""What checks and a change of members do to each other."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from proxy.upstream.host import Host
from tests.support.hosts import House, assignment, endpoint

CHECK = model.HealthCheck(model.TcpCheck(), 1.0, 1.0, 1, 1)


def house(**fields: Any) -> House:
    return House(endpoint(1), endpoint(2), **{"health_check": CHECK, **fields})


def without_the_first(one: House) -> Host:
    first = one.hosts[0]
    one.cluster.set_endpoints(assignment(endpoint(2)))
    return first


def test_a_host_that_is_well_stays_until_a_check_fails() -> None:
    one = house()
    first = without_the_first(one)
    assert first in one.hosts and first.leaving and not first.removed
    first.failed = True
    one.cluster.on_health(first)
    assert first not in one.hosts and first.removed
    assert one.count("membership_total") == 1


def test_it_stays_for_good_if_it_is_named_again() -> None:
    one = house()
    first = without_the_first(one)
    one.cluster.set_endpoints(assignment(endpoint(1), endpoint(2)))
    first.failed = True
    one.cluster.on_health(first)
    assert first in one.hosts and not first.leaving


@pytest.mark.parametrize(
    "fields, ill",
    [({"health_check": None}, False), ({"ignore_health_on_host_removal": True}, False), ({}, True)],
)
def test_other_hosts_go_at_once(fields: dict[str, Any], ill: bool) -> None:
    one = house(**fields)
    one.hosts[0].failed = ill
    first = without_the_first(one)
    assert first not in one.hosts and first.removed


def test_the_connections_of_a_host_that_fails_end_when_they_can() -> None:
    one = house()
    busy, idle = one.ask(), one.ask()
    connections = [one.accept(), one.accept()]
    one.answer(connections[1])
    assert idle.heard[-1].startswith(("response", "end"))
    one.hosts[0].failed = True
    one.cluster.on_health(one.hosts[0])
    assert connections[1].transport is None and connections[0].transport is not None
    one.answer(connections[0])
    assert connections[0].transport is None and busy.heard[0] == "connected"
