"""Who is picked: policies by their distribution, priorities and panic by Envoy's documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from proxy.upstream.balance import Picker, by_priority, picker
from proxy.upstream.balance.priority import priority_loads
from proxy.upstream.host import Host
from tests.support.hosts import a_host

POLICIES = ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"]


def shares(pick: Picker, times: int = 4000) -> dict[str, float]:
    """Percent by host, rounded."""
    counted = Counter(str(pick()) for _ in range(times))
    return {name: round(100 * count / times) for name, count in counted.items()}


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_and_the_only_one(policy: str) -> None:
    assert picker(policy, [], Random(1))() is None
    only = a_host(1)
    assert picker(policy, [only], Random(1))() is only


@pytest.mark.parametrize("policy", POLICIES)
def test_equal_weights(policy: str) -> None:
    hosts = [a_host(at) for at in range(4)]
    found = shares(picker(policy, hosts, Random(1)))
    assert len(found) == 4 and all(22 <= share <= 28 for share in found.values())


@pytest.mark.parametrize("policy", POLICIES)
def test_weights(policy: str) -> None:
    hosts = [a_host(1, weight=1), a_host(2, weight=2), a_host(3, weight=7)]
    found = shares(picker(policy, hosts, Random(1)))
    expected = {"Host(10.0.0.1:80)": 10, "Host(10.0.0.2:80)": 20, "Host(10.0.0.3:80)": 70}
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - share) <= 2 for name, share in expected.items())


def test_round_robin_goes_round() -> None:
    hosts = [a_host(at) for at in range(5)]
    pick = picker("ROUND_ROBIN", hosts, Random(1))
    first = [pick() for _ in range(5)]
    assert set(first) == set(hosts)
    assert [pick() for _ in range(5)] == first


def test_round_robin_begins_anywhere() -> None:
    hosts = [a_host(at) for at in range(5)]
    assert len({picker("ROUND_ROBIN", hosts, Random(seed))() for seed in range(50)}) == 5


def test_weighted_round_robin_is_smooth() -> None:
    """Never many of one in a row: with weights 3 and 1 the small one comes every fourth time."""
    small, big = a_host(1, weight=1), a_host(2, weight=3)
    pick = picker("ROUND_ROBIN", [small, big], Random(1))
    order = [pick() is small for _ in range(400)]
    gaps = [at for at, is_small in enumerate(order) if is_small]
    assert all(3 <= b - a <= 5 for a, b in pairwise(gaps))


def test_least_request_prefers_the_idle() -> None:
    busy, idle = a_host(1), a_host(2)
    busy.active = 10
    found = shares(picker("LEAST_REQUEST", [busy, idle], Random(1)))
    assert found["Host(10.0.0.2:80)"] in range(73, 78)  # unless both choices are the busy one


def test_least_request_with_more_choices() -> None:
    hosts = [a_host(at) for at in range(4)]
    for host in hosts[:3]:
        host.active = 1
    found = shares(picker("LEAST_REQUEST", hosts, Random(1), choices=8))
    assert found["Host(10.0.0.3:80)"] >= 87


def test_weighted_least_request_looks_at_the_load() -> None:
    one, other = a_host(1, weight=1), a_host(2, weight=2)
    other.active = 3  # weight 2 of 4 in flight is half of weight 1 of none
    found = shares(picker("LEAST_REQUEST", [one, other], Random(1)))
    assert 60 <= found["Host(10.0.0.1:80)"] <= 73


# Envoy's documentation, "Priority levels": percent of healthy hosts, loads.
@pytest.mark.parametrize(
    "healthy, loads",
    [
        ((100,), [100]),
        ((50,), [100]),
        ((0,), [100]),
        ((100, 100), [100, 0]),
        ((72, 72), [100, 0]),
        ((71, 71), [99, 1]),
        ((50, 50), [70, 30]),
        ((25, 100), [35, 65]),
        ((25, 25), [50, 50]),
        ((0, 100), [0, 100]),
        ((0, 0), [100, 0]),
        ((20, 20, 10), [40, 40, 20]),
        ((100, 0, 0), [100, 0, 0]),
        ((0, 0, 10), [0, 0, 100]),
        ((20, 20, 100), [28, 28, 44]),
    ],
)
def test_priority_loads(healthy: tuple[int, ...], loads: list[int]) -> None:
    assert priority_loads([(good, 100) for good in healthy], 140) == loads


def test_loads_are_all_of_the_traffic() -> None:
    for a in range(11):
        for b in range(11):
            for c in range(11):
                assert sum(priority_loads([(a, 10), (b, 10), (c, 10)], 140)) == 100


def test_an_empty_priority_carries_nothing() -> None:
    assert priority_loads([(0, 0), (5, 5)], 140) == [0, 100]
    assert priority_loads([(0, 0), (0, 5)], 140) == [0, 100]
    assert priority_loads([], 140) == []


def test_overprovisioning() -> None:
    assert priority_loads([(50, 100), (100, 100)], 100) == [50, 50]
    assert priority_loads([(50, 100), (100, 100)], 200) == [100, 0]


def group(priority: int, healthy: int, total: int = 10) -> list[Host]:
    return [
        a_host(20 * priority + at, healthy=at < healthy, priority=priority) for at in range(total)
    ]


def pick_from(hosts: Sequence[Host], panic: float = 50.0) -> Picker:
    random = Random(2)
    build = lambda some: picker("RANDOM", some, random)  # noqa: E731
    return by_priority(hosts, 140, panic, build, random)


def picked(pick: Picker, times: int = 2000) -> set[Host | None]:
    return {pick() for _ in range(times)}


class TestPanic:
    def test_only_the_healthy_serve(self) -> None:
        hosts = group(0, healthy=6)
        assert picked(pick_from(hosts)) == set(hosts[:6])

    def test_below_the_threshold_all_serve(self) -> None:
        hosts = group(0, healthy=4)
        assert picked(pick_from(hosts)) == set(hosts)

    def test_at_the_threshold_there_is_none(self) -> None:
        hosts = group(0, healthy=5)
        assert picked(pick_from(hosts)) == set(hosts[:5])

    def test_none_healthy(self) -> None:
        hosts = group(0, healthy=0)
        assert picked(pick_from(hosts)) == set(hosts)
        assert picked(pick_from(hosts, panic=0.0)) == {None}

    def test_no_panic_while_other_priorities_carry_the_load(self) -> None:
        """Envoy: a normalised total availability of 100 % disregards panic thresholds."""
        first, second = group(0, healthy=4), group(1, healthy=10)
        assert picked(pick_from(first + second)) == set(first[:4] + second)

    def test_panic_of_each_priority_when_all_together_are_too_few(self) -> None:
        first, second = group(0, healthy=1), group(1, healthy=5)
        assert picked(pick_from(first + second)) == set(first + second[:5])

    def test_loads_are_kept(self) -> None:
        pick = pick_from(group(0, healthy=5) + group(1, healthy=10))
        counted = Counter(host.priority for _ in range(4000) if (host := pick()) is not None)
        assert 2700 < counted[0] < 2900  # 70 %

    def test_priorities_may_have_gaps(self) -> None:
        hosts = group(0, healthy=0) + group(3, healthy=10)
        assert picked(pick_from(hosts)) == set(hosts[10:])
