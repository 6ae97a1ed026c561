"""DNS clusters and a real DNS server: what it says, how long that is good for, and its absence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from proxy.config import model
from proxy.config.model.discovery import Dns, DnsFamily, DnsResolver
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster
from proxy.upstream.dns import DnsMembership, refresh_s
from proxy.upstream.resolver import ResolveFailed, Resolver, Resolvers
from tests.support.dns_server import DnsServer
from tests.support.wait import eventually_async

ZONE = {
    ("both.test", "A"): ["10.0.0.1", "10.0.0.2"],
    ("both.test", "AAAA"): ["fd00::1"],
    ("four.test", "A"): ["10.0.0.4"],
    ("six.test", "AAAA"): ["fd00::6"],
}


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    one = DnsServer(dict(ZONE))
    await one.start()
    yield one
    one.stop()


def config_of(server: DnsServer) -> DnsResolver:
    address = model.SocketAddress("127.0.0.1", server.port)
    return DnsResolver(servers=(address,), no_search=True, timeout_s=0.1, tries=1)


def resolver_of(server: DnsServer) -> Resolver:
    return Resolvers().get(config_of(server))


@contextmanager
def following(
    server: DnsServer, *names: str, family: DnsFamily = "V4_ONLY", refresh: float = 0.005
) -> Iterator[tuple[Cluster, DnsMembership]]:
    options = Dns(refresh_s=refresh, family=family, resolver=config_of(server))
    config = model.Cluster("a", type="STRICT_DNS", dns=options)
    cluster = Cluster(config, Stats(), Random(1), lambda *_: None, lambda _: None)
    endpoints = tuple(model.Endpoint(model.SocketAddress(name, 80)) for name in names)
    group = model.LocalityEndpoints(("", "", ""), endpoints)
    assignment = model.ClusterLoadAssignment("a", (group,))
    membership = DnsMembership(cluster, assignment, resolver_of(server))
    try:
        yield cluster, membership
    finally:
        membership.stop()


def texts(cluster: Cluster) -> set[str]:
    return {host.text for host in cluster.hosts}


def count(cluster: Cluster, name: str) -> int:
    value: int = cluster.all_stats.counters[f"cluster.a.{name}"].value
    return value


@pytest.mark.parametrize(
    "name, family, addresses, asked",
    [
        ("both.test", "V4_ONLY", {"10.0.0.1", "10.0.0.2"}, {"A"}),
        ("both.test", "V6_ONLY", {"fd00::1"}, {"AAAA"}),
        ("both.test", "AUTO", {"fd00::1"}, {"AAAA"}),
        ("four.test", "AUTO", {"10.0.0.4"}, {"A", "AAAA"}),
        ("both.test", "V4_PREFERRED", {"10.0.0.1", "10.0.0.2"}, {"A"}),
        ("six.test", "V4_PREFERRED", {"fd00::6"}, {"A", "AAAA"}),
        ("both.test", "ALL", {"10.0.0.1", "10.0.0.2", "fd00::1"}, {"A", "AAAA"}),
        ("six.test", "V4_ONLY", set(), {"A"}),
        ("nobody.test", "AUTO", set(), {"A", "AAAA"}),
    ],
)
async def test_families_of_a_server(
    server: DnsServer, name: str, family: DnsFamily, addresses: set[str], asked: set[str]
) -> None:
    found = await resolver_of(server).resolve(name, family)
    assert set(found.addresses) == addresses
    assert {kind for _, kind in server.asked} == asked


async def test_the_records_tell_how_long_they_are_good_for(server: DnsServer) -> None:
    server.ttl_s = 37
    found = await resolver_of(server).resolve("both.test", "V4_ONLY")
    assert found.ttl_s == 37.0
    options = Dns(refresh_s=5.0, respect_ttl=True)
    assert refresh_s(options, found, Random(1)) == 37.0
    assert refresh_s(Dns(refresh_s=5.0), found, Random(1)) == 5.0


async def test_a_server_that_fails_is_no_answer(server: DnsServer) -> None:
    server.failing = {"four.test"}
    with pytest.raises(ResolveFailed):
        await resolver_of(server).resolve("four.test", "V4_ONLY")


async def test_several_names_make_one_cluster(server: DnsServer) -> None:
    with following(server, "both.test", "four.test", "nobody.test") as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="all names")
        assert texts(cluster) == {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.4:80"}
        assert [host.hostname for host in cluster.hosts if host.text == "10.0.0.4:80"] == [
            "four.test"
        ]


async def test_the_zone_changes(server: DnsServer) -> None:
    with following(server, "four.test") as (cluster, _):
        await eventually_async(lambda: texts(cluster) == {"10.0.0.4:80"}, what="the host")
        kept = cluster.hosts[0]
        server.zone["four.test", "A"] = ["10.0.0.5", "10.0.0.4"]
        await eventually_async(lambda: len(cluster.hosts) == 2, what="the second host")
        assert kept in cluster.hosts
        del server.zone["four.test", "A"]
        await eventually_async(lambda: not cluster.hosts, what="the end of the name")


async def test_the_hosts_stay_while_the_server_is_away(server: DnsServer) -> None:
    with following(server, "four.test") as (cluster, _):
        await eventually_async(lambda: texts(cluster) == {"10.0.0.4:80"}, what="the host")
        server.stop()
        await eventually_async(lambda: count(cluster, "update_failure") >= 2, what="failures")
        assert texts(cluster) == {"10.0.0.4:80"}
        server.zone["four.test", "A"] = ["10.0.0.5"]
        await server.start()
        await eventually_async(lambda: texts(cluster) == {"10.0.0.5:80"}, what="the server again")


async def test_a_failing_name_takes_no_other_down(server: DnsServer) -> None:
    server.failing = {"four.test"}
    with following(server, "four.test", "both.test") as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="both names")
        assert texts(cluster) == {"10.0.0.1:80", "10.0.0.2:80"}
        server.failing.clear()
        await eventually_async(lambda: "10.0.0.4:80" in texts(cluster), what="the other")


async def test_one_resolver_asks_for_many_names_at_once(server: DnsServer) -> None:
    names = [f"n{at}.test" for at in range(50)]
    server.zone.update({(name, "A"): [f"10.1.0.{at}"] for at, name in enumerate(names)})
    with following(server, *names, refresh=60.0) as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="all names")
        assert len(texts(cluster)) == 50
        assert sum(server.asked.values()) == 50
