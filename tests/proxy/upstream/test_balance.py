"""Who is picked: policies by their distribution, priorities and panic by Envoy's documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from proxy.config.model.balancing import (
    HostLb,
    LeastRequestLb,
    LocalityLb,
    RandomLb,
    RoundRobinLb,
)
from proxy.config.model.health import SlowStart
from proxy.upstream.balance import Picker, Surroundings, balancer, host_sets
from proxy.upstream.balance.policies import SimpleLb, slow_factor
from proxy.upstream.balance.policies import picker as make_picker
from proxy.upstream.balance.priority import Levels, levels
from proxy.upstream.host import Host
from tests.support.hosts import a_host

POLICIES: list[SimpleLb] = [RoundRobinLb(), LeastRequestLb(), RandomLb()]
WEIGHING: list[SimpleLb] = [RoundRobinLb(), LeastRequestLb()]


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def picker(policy: SimpleLb, hosts: Sequence[Host], random: Random) -> Picker:
    return make_picker(policy, hosts, random, Clock())


class House:
    """Surroundings whose statistics can be looked at."""

    def __init__(self, panic: float = 50.0, seed: int = 2) -> None:
        self.counted: Counter[str] = Counter()
        self.gauges: dict[str, int] = {}
        self.clock = Clock()
        self.in_flight = 0
        self.around = Surroundings(
            Random(seed), self.clock, self._count, self.gauges.__setitem__,
            lambda: self.in_flight, panic,
        )  # fmt: skip

    def _count(self, name: str, more: int) -> None:
        self.counted[name] += more

    def pick(self, lb: HostLb, hosts: Sequence[Host], **sets: Any) -> Picker:
        return balancer(lb, host_sets(hosts, **sets), self.around).pick


def shares(pick: Picker, times: int = 4000) -> dict[str, float]:
    """Percent by host, rounded."""
    counted = Counter(str(pick()) for _ in range(times))
    return {name: round(100 * count / times) for name, count in counted.items()}


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_and_the_only_one(policy: SimpleLb) -> None:
    assert picker(policy, [], Random(1))() is None
    only = a_host(1)
    assert picker(policy, [only], Random(1))() is only


@pytest.mark.parametrize("policy", POLICIES)
def test_equal_weights(policy: SimpleLb) -> None:
    hosts = [a_host(at) for at in range(4)]
    found = shares(picker(policy, hosts, Random(1)))
    assert len(found) == 4 and all(22 <= share <= 28 for share in found.values())


@pytest.mark.parametrize("policy", WEIGHING)
def test_weights(policy: SimpleLb) -> None:
    hosts = [a_host(1, weight=1), a_host(2, weight=2), a_host(3, weight=7)]
    found = shares(picker(policy, hosts, Random(1)))
    expected = {"Host(10.0.0.1:80)": 10, "Host(10.0.0.2:80)": 20, "Host(10.0.0.3:80)": 70}
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - share) <= 2 for name, share in expected.items())


def test_round_robin_goes_round() -> None:
    hosts = [a_host(at) for at in range(5)]
    pick = picker(RoundRobinLb(), hosts, Random(1))
    first = [pick() for _ in range(5)]
    assert set(first) == set(hosts)
    assert [pick() for _ in range(5)] == first


def test_round_robin_begins_anywhere() -> None:
    hosts = [a_host(at) for at in range(5)]
    assert len({picker(RoundRobinLb(), hosts, Random(seed))() for seed in range(50)}) == 5


def test_weighted_round_robin_is_smooth() -> None:
    """Never many of one in a row: with weights 3 and 1 the small one comes every fourth time."""
    small, big = a_host(1, weight=1), a_host(2, weight=3)
    pick = picker(RoundRobinLb(), [small, big], Random(1))
    order = [pick() is small for _ in range(400)]
    gaps = [at for at, is_small in enumerate(order) if is_small]
    assert all(3 <= b - a <= 5 for a, b in pairwise(gaps))


def test_least_request_prefers_the_idle() -> None:
    busy, idle = a_host(1), a_host(2)
    busy.active = 10
    found = shares(picker(LeastRequestLb(), [busy, idle], Random(1)))
    assert found["Host(10.0.0.2:80)"] in range(73, 78)  # unless both choices are the busy one


def test_least_request_with_more_choices() -> None:
    hosts = [a_host(at) for at in range(4)]
    for host in hosts[:3]:
        host.active = 1
    found = shares(picker(LeastRequestLb(choice_count=8), hosts, Random(1)))
    assert found["Host(10.0.0.3:80)"] >= 87


def test_weighted_least_request_looks_at_the_load() -> None:
    one, other = a_host(1, weight=1), a_host(2, weight=2)
    other.active = 3  # weight 2 of 4 in flight is half of weight 1 of none
    found = shares(picker(LeastRequestLb(), [one, other], Random(1)))
    assert 60 <= found["Host(10.0.0.1:80)"] <= 73


def test_random_does_not_look_at_weights() -> None:
    found = shares(picker(RandomLb(), [a_host(1, weight=1), a_host(2, weight=9)], Random(1)))
    assert all(47 <= share <= 53 for share in found.values())


def test_a_full_scan_takes_one_of_the_idlest() -> None:
    hosts = [a_host(at) for at in range(6)]
    for host in hosts[:4]:
        host.active = 1
    found = shares(picker(LeastRequestLb(full_scan=True), hosts, Random(1)))
    assert found.keys() == {str(hosts[4]), str(hosts[5])}
    assert all(47 <= share <= 53 for share in found.values())


def test_the_bias_says_how_much_the_load_matters() -> None:
    one, other = a_host(1, weight=1), a_host(2, weight=2)
    other.active = 3
    by_weight = shares(picker(LeastRequestLb(active_request_bias=0.0), [one, other], Random(1)))
    assert by_weight[str(other)] in range(65, 69)
    strict = shares(picker(LeastRequestLb(active_request_bias=2.0), [one, other], Random(1)))
    assert strict[str(other)] in range(10, 13)  # 2 / 4**2 against 1


class TestSlowStart:
    SLOW = SlowStart(window_s=60.0)

    def test_the_factor_grows_with_age(self) -> None:
        assert [slow_factor(self.SLOW, age) for age in (0.0, 6.0, 30.0, 60.0, 99.0)] == [
            0.1, 0.1, 0.5, 1.0, 1.0,
        ]  # fmt: skip

    def test_aggression_bends_the_curve(self) -> None:
        assert slow_factor(SlowStart(60.0, aggression=2.0), 15.0) == 0.5
        assert slow_factor(SlowStart(60.0, aggression=0.5), 30.0) == 0.25

    def test_the_least_weight(self) -> None:
        assert slow_factor(SlowStart(60.0, min_weight_percent=35.0), 0.0) == 0.35

    @pytest.mark.parametrize("aggression", [0.5, 1.0, 2.0])
    @pytest.mark.parametrize("age_s", [3.0, 15.0, 30.0, 45.0, 59.0])
    def test_the_share_follows_envoys_formula(self, age_s: float, aggression: float) -> None:
        """weight * max(min weight, (age / window) ** (1 / aggression)), against three old ones."""
        clock = Clock()
        hosts = [a_host(1), a_host(2), a_host(3), a_host(4, weight=2)]
        hosts[3].since = clock.now_s - age_s
        lb = RoundRobinLb(SlowStart(60.0, aggression=aggression))
        found = shares(make_picker(lb, hosts, Random(1), clock))
        weight = 2 * max(0.1, (age_s / 60.0) ** (1 / aggression))
        assert abs(found[str(hosts[3])] - 100 * weight / (3 + weight)) <= 1

    @pytest.mark.parametrize("lb", [RoundRobinLb(SLOW), LeastRequestLb(slow_start=SLOW)])
    def test_a_new_host_takes_less_until_it_is_old(self, lb: SimpleLb) -> None:
        clock, old, new = Clock(), a_host(1), a_host(2)
        new.since = clock.now_s - 15.0
        pick = make_picker(lb, [old, new], Random(1), clock)
        assert shares(pick)[str(new)] in range(19, 22)  # a quarter of the other's
        clock.now_s += 100.0
        shares(pick, 20)  # those that were in the queue already
        assert shares(pick)[str(new)] in range(49, 52)


def healthy_loads(found: Levels, count: int) -> list[int]:
    loads = [0] * count
    for load, priority, _ in found.shares:
        loads[priority] += load
    return loads


def a_level(priority: int, healthy: int, total: int = 100, degraded: int = 0) -> list[Host]:
    hosts = [a_host(at, healthy=at < healthy, priority=priority) for at in range(total)]
    for host in hosts[healthy : healthy + degraded]:
        host.health = "DEGRADED"
    return hosts


# Envoy's documentation, "Priority levels": percent of healthy hosts, loads.
@pytest.mark.parametrize(
    "healthy, loads",
    [
        ((100,), [100]),
        ((50,), [100]),
        ((100, 100), [100, 0]),
        ((72, 72), [100, 0]),
        ((71, 71), [99, 1]),
        ((50, 50), [70, 30]),
        ((25, 100), [35, 65]),
        ((25, 25), [50, 50]),
        ((0, 100), [0, 100]),
        ((20, 20, 10), [40, 40, 20]),
        ((100, 0, 0), [100, 0, 0]),
        ((0, 0, 10), [0, 0, 100]),
        ((20, 20, 100), [28, 28, 44]),
    ],
)
def test_priority_loads(healthy: tuple[int, ...], loads: list[int]) -> None:
    hosts = [host for at, good in enumerate(healthy) for host in a_level(at, good)]
    assert healthy_loads(levels(host_sets(hosts), 0.0), len(healthy)) == loads


# Envoy's documentation, "Degraded endpoints": (healthy, degraded) of each priority.
@pytest.mark.parametrize(
    "health, shares_",
    [
        (((100, 0),), [(100, 0, "healthy")]),
        (((50, 50),), [(70, 0, "healthy"), (30, 0, "degraded")]),
        (((0, 100),), [(100, 0, "degraded")]),
        (((5, 0), (5, 0), (0, 5)), [(34, 0, "healthy"), (33, 1, "healthy"), (33, 2, "degraded")]),
        (
            ((5, 0), (0, 5), (100, 0)),
            [(7, 0, "healthy"), (93, 2, "healthy")],
        ),
    ],
)
def test_degraded_hosts_take_what_is_left(
    health: tuple[tuple[int, int], ...], shares_: list[tuple[int, int, str]]
) -> None:
    hosts = [
        host for at, (good, fair) in enumerate(health) for host in a_level(at, good, degraded=fair)
    ]
    assert list(levels(host_sets(hosts), 0.0).shares) == shares_


def test_loads_are_all_of_the_traffic() -> None:
    for a in range(0, 11, 2):
        for b in range(0, 11, 3):
            for c in range(0, 11, 2):
                hosts = a_level(0, a, 10) + a_level(1, b, 10) + a_level(2, c, 10, degraded=b % 2)
                assert sum(healthy_loads(levels(host_sets(hosts), 50.0), 3)) == 100


def test_an_empty_priority_carries_nothing() -> None:
    assert healthy_loads(levels(host_sets(a_level(1, 5, 5)), 50.0), 2) == [0, 100]
    assert healthy_loads(levels(host_sets(a_level(1, 0, 5)), 50.0), 2) == [0, 100]
    assert levels(host_sets([]), 0.0).shares == ((100, 0, "healthy"),)
    assert levels(host_sets([]), 50.0).shares == ((100, 0, "all"),)


def test_overprovisioning() -> None:
    hosts = a_level(0, 50) + a_level(1, 100)
    assert healthy_loads(levels(host_sets(hosts, overprovisioning=100), 0.0), 2) == [50, 50]
    assert healthy_loads(levels(host_sets(hosts, overprovisioning=200), 0.0), 2) == [100, 0]


def test_weighted_priority_health() -> None:
    hosts = a_level(0, 1, 2) + a_level(1, 1, 1)
    hosts[1].weight = 9  # the ill one
    found = levels(host_sets(hosts, overprovisioning=100, weighted_health=True), 0.0)
    assert healthy_loads(found, 2) == [10, 90]


def test_hosts_that_drain_count_for_no_ratio() -> None:
    hosts = a_level(0, 2, 10) + a_level(1, 5, 5)
    for host in hosts[2:10]:
        host.health = "DRAINING"
    assert healthy_loads(levels(host_sets(hosts), 50.0), 2) == [100, 0]


def test_hosts_that_drain_count_for_no_panic() -> None:
    hosts = a_level(0, 2, 10)
    for host in hosts[4:]:
        host.health = "DRAINING"
    assert [part for *_, part in levels(host_sets(hosts), 50.0).shares] == ["healthy"]
    hosts[4].health = "UNHEALTHY"
    assert [part for *_, part in levels(host_sets(hosts), 50.0).shares] == ["all"]


def test_besides_those_that_were_tried() -> None:
    found = levels(host_sets(a_level(0, 100) + a_level(1, 50) + a_level(2, 50)), 50.0)
    assert healthy_loads(found.besides(frozenset({0})), 3) == [0, 70, 30]
    assert found.besides(frozenset({0, 1, 2})) is found


def group(priority: int, healthy: int, total: int = 10) -> list[Host]:
    return [
        a_host(20 * priority + at, healthy=at < healthy, priority=priority) for at in range(total)
    ]


def pick_from(hosts: Sequence[Host], panic: float = 50.0) -> Picker:
    return House(panic).pick(RandomLb(), hosts)


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

    def test_all_panic_by_their_sizes(self) -> None:
        """Envoy: the number of hosts counts when every priority is in panic."""
        pick = pick_from(group(0, healthy=0, total=30) + group(1, healthy=1, total=10))
        counted = Counter(host.priority for _ in range(4000) if (host := pick()) is not None)
        assert 2900 < counted[0] < 3100  # 75 %

    def test_it_is_counted(self) -> None:
        house = House()
        pick = house.pick(RandomLb(), group(0, healthy=1))
        for _ in range(5):
            pick()
        assert house.counted["lb_healthy_panic"] == 5

    def test_traffic_may_fail_on_panic(self) -> None:
        lb = RandomLb(LocalityLb(fail_traffic_on_panic=True))
        assert picked(House().pick(lb, group(0, healthy=1))) == {None}

    def test_priorities_may_have_gaps(self) -> None:
        hosts = group(0, healthy=0) + group(3, healthy=10)
        assert picked(pick_from(hosts)) == set(hosts[10:])


def in_zones(*zones: tuple[str, int, int], first: int = 0) -> list[Host]:
    """(zone, healthy, all) each."""
    hosts = []
    for at, (zone, healthy, total) in enumerate(zones):
        for number in range(total):
            host = a_host(20 * (at + first) + number, healthy=number < healthy)
            host.locality = ("", zone, "")
            hosts.append(host)
    return hosts


def zone_shares(pick: Picker, times: int = 6000) -> dict[str, int]:
    counted = Counter(host.locality[1] for _ in range(times) if (host := pick()) is not None)
    return {zone: round(100 * count / times) for zone, count in sorted(counted.items())}


def weights(**of: int) -> dict[tuple[int, tuple[str, str, str]], int]:
    return {(0, ("", zone, "")): weight for zone, weight in of.items()}


class TestWeightedLocalities:
    LB = RoundRobinLb(locality=LocalityLb(weighted=True))

    def test_by_weight_not_by_size(self) -> None:
        hosts = in_zones(("a", 1, 1), ("b", 5, 5))
        found = zone_shares(House().pick(self.LB, hosts, weights=weights(a=3, b=1)))
        assert found == {"a": 75, "b": 25}

    def test_a_sick_locality_gets_less(self) -> None:
        hosts = in_zones(("a", 5, 10), ("b", 10, 10))  # 1.4 * 50 % of its weight
        found = zone_shares(House().pick(self.LB, hosts, weights=weights(a=1, b=1)))
        assert found == {"a": 41, "b": 59}

    def test_a_locality_without_weight_gets_nothing(self) -> None:
        hosts = in_zones(("a", 1, 1), ("b", 1, 1))
        assert zone_shares(House().pick(self.LB, hosts, weights=weights(a=1))) == {"a": 100}

    def test_no_weights_at_all(self) -> None:
        hosts = in_zones(("a", 1, 1), ("b", 3, 3))
        assert zone_shares(House().pick(self.LB, hosts)) == {"a": 25, "b": 75}

    def test_weights_without_the_policy_are_not_looked_at(self) -> None:
        hosts = in_zones(("a", 1, 1), ("b", 3, 3))
        found = zone_shares(House().pick(RoundRobinLb(), hosts, weights=weights(a=9, b=1)))
        assert found == {"a": 25, "b": 75}


class TestZoneAware:
    """Envoy's documentation, "Zone aware routing"."""

    HERE = ("", "a", "")

    def found(
        self, upstream: list[Host], local: list[Host], **config: Any
    ) -> tuple[dict[str, int], Counter[str]]:
        house = House()
        house.around.local = host_sets(local, local_zone=self.HERE)[0]
        lb = RandomLb(LocalityLb(**config))
        shares = zone_shares(house.pick(lb, upstream, local_zone=self.HERE))
        return shares, house.counted

    def test_all_stays_where_there_is_enough(self) -> None:
        upstream = in_zones(("a", 4, 4), ("b", 4, 4))
        found, counted = self.found(upstream, in_zones(("a", 2, 2), ("b", 2, 2)))
        assert found == {"a": 100} and counted["lb_zone_routing_all_directly"] == 6000

    def test_the_rest_goes_where_there_is_room(self) -> None:
        """Here are half of the proxies and a quarter of the hosts: half of it stays."""
        upstream = in_zones(("a", 2, 2), ("b", 5, 5), ("c", 1, 1))
        local = in_zones(("a", 4, 4), ("b", 2, 2), ("c", 2, 2))
        found, counted = self.found(upstream, local)
        assert found["a"] in range(48, 53) and found["b"] in range(48, 53) and "c" not in found
        assert counted["lb_zone_routing_sampled"] + counted["lb_zone_routing_cross_zone"] == 6000

    def test_a_small_cluster_is_spread(self) -> None:
        upstream = in_zones(("a", 1, 1), ("b", 3, 3))
        local = in_zones(("a", 1, 1), ("b", 1, 1))
        found, counted = self.found(upstream, local)
        assert found["b"] in range(73, 78) and counted["lb_zone_cluster_too_small"] == 1
        found, _ = self.found(upstream, local, min_cluster_size=4)
        assert found["a"] in range(48, 53)

    def test_nobody_of_us_here(self) -> None:
        upstream = in_zones(("a", 4, 4), ("b", 4, 4))
        _, counted = self.found(upstream, in_zones(("b", 1, 1), ("c", 1, 1)))
        assert counted["lb_local_cluster_not_ok"] == 1

    def test_routing_enabled_is_a_share(self) -> None:
        upstream = in_zones(("a", 4, 4), ("b", 4, 4))
        local = in_zones(("a", 2, 2), ("b", 2, 2))
        found, _ = self.found(upstream, local, routing_enabled=50.0)
        assert found["a"] in range(73, 78)

    def test_the_proxies_panic(self) -> None:
        upstream = in_zones(("a", 4, 4), ("b", 4, 4))
        local = in_zones(("a", 1, 4), ("b", 1, 4))
        found, counted = self.found(upstream, local)
        assert found["a"] in range(47, 54) and counted["lb_local_cluster_not_ok"] == 6000
        nobody, _ = self.found(upstream, local, fail_traffic_on_panic=True)
        assert nobody == {}

    def test_direct_by_force(self) -> None:
        upstream = in_zones(("a", 1, 1), ("b", 9, 9))
        found, _ = self.found(upstream, in_zones(("a", 1, 1)), force_direct=True)
        assert found == {"a": 100}

    def test_by_weight(self) -> None:
        upstream = in_zones(("a", 2, 2), ("b", 6, 6))
        for host in upstream[:2]:
            host.weight = 3
        local = in_zones(("a", 1, 1), ("b", 1, 1))
        assert self.found(upstream, local, by_weight=True)[0] == {"a": 100}
