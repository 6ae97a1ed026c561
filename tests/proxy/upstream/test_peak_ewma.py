"""Peak-EWMA beside its formula: average, cost, and who is picked for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp
from random import Random
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2

from protos.gen.contrib import peak_ewma_pb2
from proxy.config.decode_lb import load_balancing
from proxy.config.model.balancing import PeakEwmaLb, RoundRobinLb
from proxy.filters.peak_ewma import build
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.upstream.balance.peak_ewma import Latency
from proxy.upstream.balance.policies import picker
from proxy.upstream.host import Host
from tests.support.filters import FakeStream, context
from tests.support.hosts import a_host

LB = PeakEwmaLb()
NOW_S = 1000.0


def decoded(**fields: Any) -> Any:
    message = cluster_pb2.Cluster(name="a")
    packed = message.load_balancing_policy.policies.add().typed_extension_config.typed_config
    packed.Pack(peak_ewma_pb2.PeakEwma(**fields))
    return load_balancing(message, "")


def measured(*took_ms: float, lb: PeakEwmaLb = LB) -> Latency:
    """All at the beginning of an interval of 100 ms, which is over now."""
    latency = Latency(lb)
    for one in took_ms:
        latency.record(one / 1000, NOW_S)
    return latency


def test_what_is_not_set_is_as_in_envoy() -> None:
    assert decoded() == PeakEwmaLb(10.0, 0.1, 1000, 0.01, 1_000_000.0)


def test_what_is_set_is_taken() -> None:
    wanted = PeakEwmaLb(3.0, 0.5, 7, 0.2, 9.5)
    found = decoded(
        decay_time={"seconds": 3},
        aggregation_interval={"nanos": 500_000_000},
        max_samples_per_host={"value": 7},
        default_rtt={"nanos": 200_000_000},
        penalty_value={"value": 9.5},
    )
    assert found == wanted


@pytest.mark.parametrize(
    "took_ms, active, cost",
    [
        ((), 0, 10.0),  # nothing is known: default_rtt
        ((), 3, 1_000_003.0),  # asked, never answered: penalty_value + active
        ((20,), 0, 20.0),
        ((20,), 4, 100.0),
    ],
)
def test_costs(took_ms: Sequence[float], active: int, cost: float) -> None:
    assert measured(*took_ms).cost(active, NOW_S + 0.1) == pytest.approx(cost)


def test_later_samples_count_by_their_age_at_the_end_of_the_interval() -> None:
    latency = measured(20)
    latency.settle(NOW_S + 0.1)
    latency.record(0.040, NOW_S + 0.13)
    share = 1 - exp(-0.07 / 10)
    assert latency.cost(0, NOW_S + 0.21) == pytest.approx(share * 40 + (1 - share) * 20)


def test_a_sample_waits_for_the_end_of_its_interval_and_counts_once() -> None:
    latency = measured(20)
    assert latency.cost(0, NOW_S + 0.05) == 10.0
    assert latency.cost(0, NOW_S + 0.1) == pytest.approx(20)
    assert latency.cost(0, NOW_S + 60) == pytest.approx(20)


def test_more_samples_than_are_kept_push_the_oldest_out() -> None:
    latency = measured(500, 20, 20, lb=PeakEwmaLb(max_samples=2))
    assert latency.cost(0, NOW_S + 0.1) == pytest.approx(20)


def test_without_decay_only_the_last_sample_counts() -> None:
    latency = measured(500, 20, lb=PeakEwmaLb(decay_s=0.0))
    assert latency.cost(0, NOW_S + 0.1) == pytest.approx(20)


def hosts_that_took(*took_ms: float) -> list[Host]:
    hosts = [a_host(at) for at in range(len(took_ms))]
    for host, one in zip(hosts, took_ms, strict=True):
        host.latency = measured(one)
    return hosts


def shares(hosts: Sequence[Host], times: int = 6000) -> list[float]:
    pick = picker(LB, hosts, Random(1), lambda: NOW_S + 1)
    counted = Counter(pick() for _ in range(times))
    return [round(counted[host] / times, 2) for host in hosts]


def test_of_two_the_faster() -> None:
    """Two of three, each pair as likely: the slowest never, the fastest in two pairs of three."""
    fast, middle, slow = shares(hosts_that_took(5, 10, 20))
    assert slow == 0 and 0.65 <= fast <= 0.69 and 0.31 <= middle <= 0.35


def test_the_faster_until_it_has_too_much_to_do() -> None:
    hosts = hosts_that_took(10, 30)
    hosts[0].active = 1
    assert shares(hosts) == [1, 0]
    hosts[0].active = 3
    assert shares(hosts) == [0, 1]


def test_the_load_settles_where_the_costs_are_equal() -> None:
    """Requests that never end pile up 1 : 2 : 4 where the answers take 4 : 2 : 1."""
    hosts = hosts_that_took(40, 20, 10)
    pick = picker(LB, hosts, Random(3), lambda: NOW_S + 1)
    for _ in range(700):
        found = pick()
        assert found is not None
        found.active += 1
    slow, middle, fast = (host.active for host in hosts)
    assert 95 <= slow <= 105 and 190 <= middle <= 210 and 390 <= fast <= 410


def test_a_new_build_keeps_what_is_known_of_a_host() -> None:
    hosts = hosts_that_took(5, 10)
    known = hosts[0].latency
    picker(LB, [*hosts, a_host(9)], Random(1), lambda: NOW_S)
    assert hosts[0].latency is known
    picker(PeakEwmaLb(decay_s=1.0), hosts, Random(1), lambda: NOW_S)
    assert hosts[0].latency is not known


def test_nobody_measures_for_other_policies() -> None:
    hosts = [a_host(1), a_host(2)]
    picker(RoundRobinLb(), hosts, Random(1), lambda: NOW_S)
    assert hosts[0].latency is None


# --------------------------------------------------------------------------- the filter


def answered(host: Host | None, **times: Any) -> None:
    hooks = build(None, context()).for_route(())
    assert hooks is not None and hooks.on_response is not None
    hooks.on_response(FakeStream(host=host, **times), Response(200, Headers()))


@pytest.mark.parametrize(
    "times, took_ms",
    [
        ({"sent_at": NOW_S - 0.03, "answered_at": NOW_S}, 30.0),
        ({"sent_at": NOW_S - 9, "tried_at": NOW_S - 0.03, "answered_at": NOW_S}, 30.0),
        ({"sent_at": NOW_S - 9}, 10.0),  # our own answer
        ({"answered_at": NOW_S}, 10.0),  # before the request was whole
        ({"sent_at": NOW_S - 9, "tried_at": NOW_S, "answered_at": NOW_S - 1}, 10.0),  # of another
    ],
)
def test_the_filter_measures_the_attempt_that_was_answered(
    times: dict[str, float], took_ms: float
) -> None:
    host = a_host(1)
    host.latency = Latency(LB)
    answered(host, **times)
    assert host.latency.cost(0, NOW_S + 0.1) == pytest.approx(took_ms)


def test_the_filter_lets_other_clusters_be() -> None:
    host = a_host(1)
    answered(host, sent_at=1.0, answered_at=2.0)
    answered(None)
    assert host.latency is None
