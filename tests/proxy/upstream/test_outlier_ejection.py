"""Which host is taken out, for how long, and how it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from proxy.upstream.host import Host
from tests.support.hosts import House, a_host, assignment, endpoint


def house(hosts: int = 10, percent: int = 100, **fields: Any) -> House:
    fields = {"max_ejection_percent": percent, **fields}
    endpoints = [endpoint(at) for at in range(1, hosts + 1)]
    return House(*endpoints, outlier=model.OutlierDetection(**fields))


def status(one: House, host: Host, *statuses: int, now: float = 0.0) -> None:
    for code in statuses:
        one.cluster.on_status(host, code, now)


def out(one: House) -> list[Host]:
    return [host for host in one.hosts if host.ejected_until]


@pytest.mark.parametrize(
    "fields, statuses, ejected",
    [
        ({}, [500] * 4, False),
        ({}, [500] * 5, True),
        ({}, [500] * 4 + [200] + [500] * 4, False),
        ({}, [500] * 4 + [404] + [500] * 4, False),
        ({}, [500, 502, 503, 504, 599], True),
        ({"consecutive_5xx": 2}, [500, 500], True),
        ({"consecutive_5xx": 2}, [500, 200, 500], False),
        ({"consecutive_5xx": 0}, [500] * 50, False),
        ({"enforcing_consecutive_5xx": 0}, [500] * 50, False),
        ({"consecutive_5xx": 0, "consecutive_gateway_failure": 3}, [503] * 9, False),
        (
            {"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100},
            [502, 503, 504],
            True,
        ),
        (
            {"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100},
            [502, 503, 500, 504],
            False,
        ),
    ],
)
def test_statuses(fields: dict[str, int], statuses: list[int], ejected: bool) -> None:
    one = house(**fields)
    status(one, one.hosts[0], *statuses)
    assert out(one) == ([one.hosts[0]] if ejected else [])
    assert one.hosts[0].healthy is not ejected
    assert one.count("outlier_detection.ejections_active") == int(ejected)


def test_an_ejected_host_is_not_picked() -> None:
    one = house(hosts=3)
    gone = one.hosts[0]
    status(one, gone, *[500] * 5)
    assert gone not in {one.cluster.pick() for _ in range(30)}
    assert one.count("membership_healthy") == 2


class TestLocalErrors:
    """Connect failures, resets and timeouts."""

    def test_they_count_as_gateway_errors(self) -> None:
        one = house(consecutive_gateway_failure=2, enforcing_consecutive_gateway_failure=100)
        for _ in range(2):
            one.cluster.on_local_error(one.hosts[0], 0.0)
        assert out(one) == [one.hosts[0]]

    def test_split(self) -> None:
        one = house(
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=2,
            consecutive_5xx=2,
        )
        one.cluster.on_local_error(one.hosts[0], 0.0)
        status(one, one.hosts[0], 500)  # an answer: the host can be reached
        one.cluster.on_local_error(one.hosts[0], 0.0)
        assert out(one) == []
        one.cluster.on_local_error(one.hosts[0], 0.0)
        assert out(one) == [one.hosts[0]]

    def test_split_successes_reset(self) -> None:
        one = house(split_external_local_origin_errors=True, consecutive_local_origin_failure=2)
        for _ in range(3):
            one.cluster.on_local_error(one.hosts[0], 0.0)
            status(one, one.hosts[0], 200)
        assert out(one) == []


@pytest.mark.parametrize("hosts, percent, ejected", [(10, 30, 3), (10, 100, 10), (20, 10, 2)])
def test_max_ejection_percent(hosts: int, percent: int, ejected: int) -> None:
    one = house(hosts, percent)
    for host in one.hosts:
        status(one, host, *[500] * 5)
    assert len(out(one)) == ejected
    overflow = hosts - ejected
    assert not overflow or one.count("outlier_detection.ejections_overflow") == overflow


class TestComingBack:
    def test_after_the_base_time(self) -> None:
        one = house(base_ejection_time_s=30.0)
        status(one, one.hosts[0], *[500] * 5, now=100.0)
        one.cluster.sweep(129.9)
        assert out(one) == [one.hosts[0]]
        one.cluster.sweep(130.0)
        assert out(one) == [] and one.count("outlier_detection.ejections_active") == 0
        assert one.hosts[0] in {one.cluster.pick() for _ in range(30)}

    def test_later_each_time_up_to_the_maximum(self) -> None:
        one = house(base_ejection_time_s=30.0, max_ejection_time_s=70.0)
        now, lasted = 100.0, []
        for _ in range(4):
            status(one, one.hosts[0], *[500] * 5, now=now)
            lasted.append(one.hosts[0].ejected_until - now)
            now = one.hosts[0].ejected_until
            one.cluster.sweep(now)
        assert lasted == [30.0, 60.0, 70.0, 70.0]

    def test_it_begins_anew(self) -> None:
        one = house()
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.sweep(31.0)
        status(one, one.hosts[0], *[500] * 4, now=31.0)
        assert out(one) == []

    def test_errors_while_out_do_not_prolong_it(self) -> None:
        one = house()
        status(one, one.hosts[0], *[500] * 5, now=1.0)
        until = one.hosts[0].ejected_until
        status(one, one.hosts[0], *[500] * 20, now=20.0)
        assert one.hosts[0].ejected_until == until
        assert one.count("outlier_detection.ejections_active") == 1


class TestForgiven:
    def test_a_removed_host(self) -> None:
        one = house(hosts=2)
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.set_endpoints(assignment(endpoint(2)))
        assert one.count("outlier_detection.ejections_active") == 0

    def test_without_detection(self) -> None:
        one = house(hosts=2)
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.configure(model.Cluster("a"), lambda host: None)
        assert out(one) == [] and one.count("outlier_detection.ejections_active") == 0

    def test_the_cluster_is_gone(self) -> None:
        one = house(hosts=2)
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.close()
        assert one.count("outlier_detection.ejections_active") == 0

    def test_a_change_of_the_settings_keeps_who_is_out(self) -> None:
        one = house(hosts=10)
        status(one, one.hosts[0], *[500] * 5)
        changed = model.OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
        one.cluster.configure(model.Cluster("a", outlier=changed), lambda host: None)
        assert out(one) == [one.hosts[0]]
        assert one.count("outlier_detection.ejections_active") == 1
        one.cluster.sweep(1000.0)
        assert out(one) == [] and one.count("outlier_detection.ejections_active") == 0


def test_without_detection_nobody_is_taken_out() -> None:
    one = House()
    for _ in range(100):
        one.cluster.on_status(one.hosts[0], 500, 0.0)
        one.cluster.on_local_error(one.hosts[0], 0.0)
    assert out(one) == [] and a_host(1).healthy
