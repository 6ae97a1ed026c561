"""Which host is taken out, for how long, and how it comes back."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from proxy.config import model
from proxy.upstream.host import Host
from proxy.upstream.outlier import HostMonitor, OutlierDetector, OutlierEvent, spread
from tests.support.hosts import House, a_host, assignment, endpoint


def house(hosts: int = 10, percent: int = 100, **fields: Any) -> House:
    fields = {"max_ejection_percent": percent, **fields}
    endpoints = [endpoint(at) for at in range(1, hosts + 1)]
    return House(*endpoints, outlier=model.OutlierDetection(**fields))


def monitor(host: Host) -> HostMonitor:
    assert host.monitor is not None
    return host.monitor


def detector(one: House) -> OutlierDetector:
    assert one.cluster.outlier is not None
    return one.cluster.outlier


def status(one: House, host: Host, *statuses: int, now: float = 0.0) -> None:
    for code in statuses:
        monitor(host).on_status(code, now)


def out(one: House) -> list[Host]:
    return [host for host in one.hosts if host.ejected]


def ejections(one: House, name: str) -> int:
    return one.count(f"outlier_detection.ejections_{name}")


@pytest.mark.parametrize(
    "fields, statuses, ejected",
    [
        ({}, [500] * 4, False),
        ({}, [500] * 5, True),
        ({}, [500] * 4 + [200] + [500] * 4, False),
        ({}, [500] * 4 + [404] + [500] * 4, False),
        ({}, [500, 502, 503, 504, 599], True),
        ({}, [600] * 9, False),
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
    assert ejections(one, "active") == int(ejected)


def test_an_ejected_host_is_not_picked() -> None:
    one = house(hosts=3)
    gone = one.hosts[0]
    status(one, gone, *[500] * 5)
    assert gone not in {one.cluster.pick() for _ in range(30)}
    assert one.count("membership_healthy") == 2


def test_a_part_of_the_ejections_is_enforced() -> None:
    """`enforcing_consecutive_5xx` is percent: all are detected, so many happen."""
    one = house(hosts=400, enforcing_consecutive_5xx=30)
    for host in one.hosts:
        status(one, host, *[500] * 5)
    assert ejections(one, "detected_consecutive_5xx") == 400
    assert 80 < ejections(one, "enforced_consecutive_5xx") == len(out(one)) < 160


def test_a_row_that_ejected_nobody_begins_anew() -> None:
    one = house(enforcing_consecutive_5xx=0)
    status(one, one.hosts[0], *[500] * 14)
    assert ejections(one, "detected_consecutive_5xx") == 2


def test_the_back_off_is_bounded() -> None:
    """By the first one whose time is above `max_ejection_time`: it must fall again, too."""
    one = house(base_ejection_time_s=30.0, max_ejection_time_s=60.0)
    host = one.hosts[0]
    for at in range(9):
        status(one, host, *[500] * 5, now=100.0 * at)
        detector(one).take_back(host, 100.0 * at + 1)
    assert monitor(host).back_off == 3


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
        status(one, one.hosts[0], 500)
        assert out(one) == []
        one.cluster.on_local_error(one.hosts[0], 0.0)
        assert out(one) == [one.hosts[0]]
        assert ejections(one, "enforced_consecutive_local_origin_failure") == 1

    def test_a_connection_ends_a_row(self) -> None:
        one = house(split_external_local_origin_errors=True, consecutive_local_origin_failure=2)
        for _ in range(3):
            one.cluster.on_local_error(one.hosts[0], 0.0)
            monitor(one.hosts[0]).on_connected()
        assert out(one) == []

    def test_a_tcp_connection_is_a_success(self) -> None:
        one = house(consecutive_5xx=2)
        for _ in range(3):
            one.cluster.on_local_error(one.hosts[0], 0.0)
            monitor(one.hosts[0]).on_tcp_connected(0.0)
        assert out(one) == []


class TestMaxEjectionPercent:
    @pytest.mark.parametrize("hosts, percent, ejected", [(10, 30, 3), (10, 100, 10), (20, 10, 2)])
    def test_no_more_than_that(self, hosts: int, percent: int, ejected: int) -> None:
        one = house(hosts, percent)
        for host in one.hosts:
            status(one, host, *[500] * 5)
        assert len(out(one)) == ejected == detector(one).ejected
        assert ejections(one, "overflow") == hosts - ejected

    def test_one_host_in_any_case(self) -> None:
        one = house(hosts=2, percent=10, always_eject_one_host=True)
        for host in one.hosts:
            status(one, host, *[500] * 5)
        assert len(out(one)) == 1 and ejections(one, "overflow") == 1


class TestComingBack:
    def test_when_an_interval_ends_after_the_base_time(self) -> None:
        one = house(base_ejection_time_s=30.0)
        status(one, one.hosts[0], *[500] * 5, now=100.0)
        detector(one).on_interval(129.9)
        assert out(one) == [one.hosts[0]]
        detector(one).on_interval(130.0)
        assert out(one) == [] and ejections(one, "active") == 0
        assert one.hosts[0] in {one.cluster.pick() for _ in range(30)}

    def test_later_each_time_up_to_the_maximum(self) -> None:
        one = house(base_ejection_time_s=30.0, max_ejection_time_s=70.0, interval_s=1000.0)
        now, lasted = 100.0, []
        for _ in range(4):
            status(one, one.hosts[0], *[500] * 5, now=now)
            at = now
            while out(one):
                at += 10.0
                detector(one).on_interval(at)
            lasted.append(at - now)
            now = at
        assert lasted == [30.0, 60.0, 70.0, 70.0]

    def test_each_interval_in_service_makes_the_next_one_shorter(self) -> None:
        one = house(base_ejection_time_s=30.0, interval_s=10.0)
        host = one.hosts[0]
        for now in (0.0, 100.0):
            status(one, host, *[500] * 5, now=now)
            detector(one).on_interval(now + 60.0)
        assert monitor(host).back_off == 2
        detector(one).on_interval(169.9)
        assert monitor(host).back_off == 2
        detector(one).on_interval(170.0)
        assert monitor(host).back_off == 1

    def test_jitter_is_added(self) -> None:
        one = house(hosts=50, base_ejection_time_s=30.0, max_ejection_time_jitter_s=10.0)
        for host in one.hosts:
            status(one, host, *[500] * 5)
        detector(one).on_interval(35.0)
        assert 10 < len(out(one)) < 40
        detector(one).on_interval(40.0)
        assert out(one) == []

    def test_it_begins_anew(self) -> None:
        one = house()
        status(one, one.hosts[0], *[500] * 5)
        detector(one).on_interval(31.0)
        status(one, one.hosts[0], *[500] * 4, now=31.0)
        assert out(one) == []

    def test_errors_while_out_do_not_prolong_it(self) -> None:
        one = house()
        status(one, one.hosts[0], *[500] * 5, now=1.0)
        status(one, one.hosts[0], *[500] * 20, now=20.0)
        assert monitor(one.hosts[0]).ejected_at == 1.0
        assert ejections(one, "active") == ejections(one, "detected_consecutive_5xx") == 1


class TestSuccessRate:
    def volume(self, one: House, rates: list[int], requests: int = 100) -> None:
        for host, percent in zip(one.hosts, rates, strict=True):
            for at in range(requests):
                monitor(host).on_status(200 if at * 100 < percent * requests else 400 + 100, 0.0)

    def test_envoys_example(self) -> None:
        """Five hosts at 50, 100, 100, 100, 100: mean 90, deviation 20, threshold 90 - 1.9 * 20."""
        average = spread([50.0, 100.0, 100.0, 100.0, 100.0], 1.9)
        assert average.mean == 90.0 and average.threshold == pytest.approx(52.0)

    def test_who_is_far_below_the_others_is_out(self) -> None:
        one = house(hosts=5, consecutive_5xx=0)
        self.volume(one, [50, 100, 100, 100, 100])
        detector(one).on_interval(10.0)
        assert out(one) == [one.hosts[0]]
        assert ejections(one, "enforced_success_rate") == 1
        assert monitor(one.hosts[1]).external.percent == 100.0
        assert detector(one).average.threshold == pytest.approx(52.0)

    @pytest.mark.parametrize(
        "fields, rates, requests",
        [
            ({}, [90, 100, 100, 99, 95], 100),
            ({}, [50] * 5, 100),
            ({"success_rate_minimum_hosts": 6}, [0, 100, 100, 100, 100], 100),
            ({"success_rate_request_volume": 101}, [0, 100, 100, 100, 100], 100),
            ({"success_rate_stdev_factor": 3000}, [0, 100, 100, 100, 100], 100),
            ({"enforcing_success_rate": 0}, [0, 100, 100, 100, 100], 100),
        ],
    )
    def test_nobody_is(self, fields: dict[str, int], rates: list[int], requests: int) -> None:
        one = house(hosts=5, consecutive_5xx=0, **fields)
        self.volume(one, rates, requests)
        detector(one).on_interval(10.0)
        assert out(one) == []

    def test_only_the_last_interval_counts(self) -> None:
        one = house(hosts=5, consecutive_5xx=0, enforcing_success_rate=0)
        self.volume(one, [0, 100, 100, 100, 100])
        detector(one).on_interval(10.0)
        assert ejections(one, "detected_success_rate") == 1
        detector(one).on_interval(20.0)
        assert ejections(one, "detected_success_rate") == 1
        assert monitor(one.hosts[0]).external.percent == -1.0

    def test_of_local_origin(self) -> None:
        one = house(
            hosts=5, split_external_local_origin_errors=True, consecutive_local_origin_failure=0
        )
        for host in one.hosts:
            for _ in range(100):
                monitor(host).on_connected()
        for _ in range(100):
            monitor(one.hosts[0]).on_local_error(503, 0.0)
        detector(one).on_interval(10.0)
        assert out(one) == [one.hosts[0]]
        assert ejections(one, "enforced_local_origin_success_rate") == 1


class TestFailurePercentage:
    def fail(self, one: House, failed: list[int], of: int = 100) -> None:
        for host, count in zip(one.hosts, failed, strict=True):
            for at in range(of):
                monitor(host).on_status(500 if at < count else 200, 0.0)

    FIELDS: dict[str, int] = {  # noqa: RUF012
        "consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "enforcing_failure_percentage": 100,
    }

    def test_who_fails_too_often_is_out_even_if_all_do(self) -> None:
        one = house(hosts=5, **self.FIELDS)
        self.fail(one, [85, 84, 90, 100, 0])
        detector(one).on_interval(10.0)
        assert out(one) == [one.hosts[0], one.hosts[2], one.hosts[3]]
        assert ejections(one, "enforced_failure_percentage") == 3

    @pytest.mark.parametrize(
        "fields",
        [
            {"failure_percentage_minimum_hosts": 6},
            {"failure_percentage_request_volume": 101},
            {"enforcing_failure_percentage": 0},
        ],
    )
    def test_nobody_is(self, fields: dict[str, int]) -> None:
        one = house(hosts=5, **{**self.FIELDS, **fields})
        self.fail(one, [100] * 5)
        detector(one).on_interval(10.0)
        assert out(one) == []

    def test_it_needs_only_its_own_number_of_hosts(self) -> None:
        one = house(hosts=3, failure_percentage_minimum_hosts=3, **self.FIELDS)
        self.fail(one, [100, 0, 0])
        detector(one).on_interval(10.0)
        assert out(one) == [one.hosts[0]]

    def test_of_local_origin(self) -> None:
        one = house(
            hosts=5,
            split_external_local_origin_errors=True,
            enforcing_local_origin_success_rate=0,
            enforcing_consecutive_local_origin_failure=0,
            enforcing_failure_percentage_local_origin=100,
        )
        for host in one.hosts:
            for _ in range(50):
                monitor(host).on_local_error(503, 0.0)
        detector(one).on_interval(10.0)
        assert len(out(one)) == 5
        assert ejections(one, "enforced_local_origin_failure_percentage") == 5


class TestForgiven:
    def test_a_removed_host(self) -> None:
        one = house(hosts=2)
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.set_endpoints(assignment(endpoint(2)))
        assert ejections(one, "active") == 0 == detector(one).ejected

    def test_without_detection(self) -> None:
        one = house(hosts=2)
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.configure(model.Cluster("a"), lambda host: None)
        assert out(one) == [] and ejections(one, "active") == 0
        assert one.hosts[0].monitor is None and one.hosts[0].healthy

    def test_the_cluster_is_gone(self) -> None:
        one = house(hosts=2)
        status(one, one.hosts[0], *[500] * 5)
        one.cluster.close()
        assert ejections(one, "active") == 0

    def test_a_change_of_the_settings_keeps_who_is_out(self) -> None:
        one = house(hosts=10)
        status(one, one.hosts[0], *[500] * 5)
        changed = model.OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
        one.cluster.configure(model.Cluster("a", outlier=changed), lambda host: None)
        assert out(one) == [one.hosts[0]]
        status(one, one.hosts[1], 500)
        assert len(out(one)) == 2 == ejections(one, "active")
        detector(one).on_interval(1000.0)
        assert out(one) == [] and ejections(one, "active") == 0


def test_events_tell_what_happened_and_when() -> None:
    heard: list[OutlierEvent] = []
    one = house(hosts=2)
    config = model.OutlierDetection(max_ejection_percent=50)
    watcher = OutlierDetector(config, one.stats, "x.", Random(1), lambda _: None, heard.append)
    watcher.watch(one.hosts)
    for now in (100.0, 200.0):
        for _ in range(5):
            monitor(one.hosts[0]).on_status(500, now)
        watcher.on_interval(now + 30.0 * (1 + (now > 100.0)))
    assert [(e.kind and e.kind[0], e.enforced, e.ejections, e.since_s) for e in heard] == [
        ("CONSECUTIVE_5XX", True, 1, None),
        (None, False, 1, 30.0),
        ("CONSECUTIVE_5XX", True, 2, 70.0),
        (None, False, 2, 60.0),
    ]


def test_without_detection_nobody_is_taken_out() -> None:
    one = House()
    for _ in range(100):
        one.cluster.on_local_error(one.hosts[0], 0.0)
    assert out(one) == [] and a_host(1).healthy
