"""Clusters whose hosts have names: who answers, who does not, and when they are asked again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from proxy.config import model
from proxy.config.model.discovery import Dns
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster
from proxy.upstream.dns import DnsMembership, back_off_s, refresh_s
from proxy.upstream.resolver import Answer
from tests.support.fake_dns import FakeDns, to
from tests.support.wait import eventually_async

QUICK = Dns(refresh_s=0.005)


def named(*names: str, port: int = 80) -> model.ClusterLoadAssignment:
    endpoints = tuple(model.Endpoint(model.SocketAddress(name, port)) for name in names)
    return model.ClusterLoadAssignment("a", (model.LocalityEndpoints(("", "", ""), endpoints),))


@contextmanager
def resolving(
    dns: FakeDns, *names: str, kind: model.ClusterType = "STRICT_DNS", options: Dns = QUICK
) -> Iterator[tuple[Cluster, DnsMembership]]:
    config = model.Cluster("a", type=kind, dns=options)
    cluster = Cluster(config, Stats(), Random(1), lambda *_: None, lambda _: None)
    membership = DnsMembership(cluster, named(*names), dns)
    try:
        yield cluster, membership
    finally:
        membership.stop()


def texts(cluster: Cluster) -> list[str]:
    return [host.text for host in cluster.hosts]


def count(cluster: Cluster, name: str) -> int:
    value: int = cluster.all_stats.counters[f"cluster.a.{name}"].value
    return value


async def test_names_are_asked_for_all_at_once() -> None:
    dns = FakeDns(b_test=[to("10.0.0.2", "10.0.0.3")])  # a.test never answers
    with resolving(dns, "a.test", "b.test") as (cluster, membership):
        await eventually_async(lambda: len(cluster.hosts) == 2, what="the hosts of the second name")
        assert texts(cluster) == ["10.0.0.2:80", "10.0.0.3:80"] and not membership.warm
        assert [host.hostname for host in cluster.hosts] == ["b.test", "b.test"]


async def test_an_error_keeps_the_hosts_and_an_empty_answer_does_not() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2"), None, to()])
    with resolving(dns, "a.test") as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="the host")
        dns.turn("a.test")
        await eventually_async(lambda: count(cluster, "update_failure") >= 1, what="the failure")
        assert texts(cluster) == ["10.0.0.2:80"]
        dns.turn("a.test")
        await eventually_async(lambda: not cluster.hosts, what="the empty answer")


async def test_a_failure_is_an_answer_for_warming() -> None:
    with resolving(FakeDns(a_test=[None]), "a.test") as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="the first failure")
        assert cluster.hosts == []


async def test_hosts_that_stay_are_the_same() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2", "10.0.0.3"), to("10.0.0.3", "10.0.0.4")])
    with resolving(dns, "a.test") as (cluster, _):
        await eventually_async(lambda: len(cluster.hosts) == 2, what="two hosts")
        kept = cluster.hosts[1]
        dns.turn("a.test")
        await eventually_async(lambda: "10.0.0.4:80" in texts(cluster), what="the second answer")
        assert cluster.hosts[0] is kept and count(cluster, "membership_change") == 2


async def test_the_same_answer_changes_nothing() -> None:
    with resolving(FakeDns(a_test=[to("10.0.0.2")]), "a.test") as (cluster, _):
        await eventually_async(lambda: count(cluster, "update_no_rebuild") >= 2, what="refreshes")
        assert count(cluster, "membership_change") == 1


async def test_a_logical_host_moves() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2", "10.0.0.3"), to("10.0.0.4"), to()])
    with resolving(dns, "a.test", kind="LOGICAL_DNS") as (cluster, _):
        await eventually_async(lambda: bool(cluster.hosts), what="the host")
        host = cluster.hosts[0]
        assert host.others == (model.SocketAddress("10.0.0.3", 80),)
        dns.turn("a.test")
        await eventually_async(lambda: host.text == "10.0.0.4:80", what="the move")
        dns.turn("a.test")
        asked = dns.asked["a.test"]
        await eventually_async(lambda: dns.asked["a.test"] > asked + 1, what="the empty answer")
        assert cluster.hosts == [host] and host.text == "10.0.0.4:80"
        assert count(cluster, "membership_change") == 1


@pytest.mark.parametrize(
    "options, answer, wait_s",
    [
        (Dns(refresh_s=5.0), to("10.0.0.1", ttl_s=30.0), 5.0),
        (Dns(refresh_s=5.0, respect_ttl=True), to("10.0.0.1", ttl_s=30.0), 30.0),
        (Dns(refresh_s=5.0, respect_ttl=True), to("10.0.0.1", ttl_s=0.0), 5.0),
        (Dns(refresh_s=5.0, respect_ttl=True), to(), 5.0),
    ],
)
def test_when_to_ask_again(options: Dns, answer: Answer, wait_s: float) -> None:
    assert refresh_s(options, answer, Random(1)) == wait_s


def test_jitter_is_added() -> None:
    waits = {refresh_s(Dns(jitter_s=2.0), to("10.0.0.1"), Random(seed)) for seed in range(50)}
    assert min(waits) >= 5.0 and max(waits) < 7.0 and len(waits) == 50


def test_the_back_off_grows_to_its_ceiling() -> None:
    options = Dns(failure_base_s=1.0, failure_max_s=8.0)
    most = [max(back_off_s(options, n, Random(seed)) for seed in range(200)) for n in range(6)]
    for found, ceiling in zip(most, (1, 2, 4, 8, 8, 8), strict=True):
        assert 0.9 * ceiling < found <= ceiling
    assert back_off_s(Dns(refresh_s=7.0), 3, Random(1)) == 7.0


async def test_the_hosts_serve_until_all_of_the_other_names_have_answered() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2")], b_test=[to("10.0.0.3")])  # c.test never answers
    with resolving(dns, "a.test") as (cluster, before):
        await eventually_async(lambda: before.warm, what="the host")
        before.stop()
        after = DnsMembership(cluster, named("b.test", "c.test"), dns)
        await eventually_async(lambda: dns.asked["b.test"] > 1, what="an answer of one")
        after.stop()
        assert texts(cluster) == ["10.0.0.2:80"] and not after.warm


async def test_the_hosts_serve_on_if_no_other_name_has_an_answer() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2")], b_test=[None, to("10.0.0.3")])
    with resolving(dns, "a.test") as (cluster, before):
        await eventually_async(lambda: before.warm, what="the host")
        before.stop()
        after = DnsMembership(cluster, named("b.test"), dns)
        await eventually_async(lambda: after.warm, what="the failure")
        assert texts(cluster) == ["10.0.0.2:80"]
        dns.turn("b.test")
        await eventually_async(lambda: texts(cluster) == ["10.0.0.3:80"], what="the answer")
        after.stop()


async def test_names_that_take_over() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2")], b_test=[to("10.0.0.3")], c_test=[None])
    with resolving(dns, "a.test") as (cluster, before):
        await eventually_async(lambda: before.warm, what="the host")
        before.stop()
        after = DnsMembership(cluster, named("b.test", "c.test"), dns)
        await eventually_async(lambda: after.warm, what="the others")
        after.stop()
        assert texts(cluster) == ["10.0.0.3:80"]


async def test_a_logical_host_gives_way_to_that_of_another_name() -> None:
    dns = FakeDns(a_test=[to("10.0.0.2")], b_test=[to("10.0.0.3")])
    with resolving(dns, "a.test", kind="LOGICAL_DNS") as (cluster, before):
        await eventually_async(lambda: before.warm, what="the host")
        before.stop()
        after = DnsMembership(cluster, named("b.test", port=81), dns)
        await eventually_async(lambda: after.warm, what="the other")
        after.stop()
        assert [(host.text, host.hostname) for host in cluster.hosts] == [("10.0.0.3:81", "b.test")]
