"""DNS clusters and a real DNS server: what it says, how long that is good for, and its absence."""

from __future__ import annotations

import asyncio
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
from tests.support.dns_server import PATIENT, DnsServer, SilentDns
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


@pytest.fixture
def silent() -> Iterator[SilentDns]:
    with SilentDns() as one:
        yield one


@pytest.fixture
def resolvers() -> Iterator[Resolvers]:
    made = Resolvers()
    yield made
    made.close()


@pytest.fixture
def resolver(server: DnsServer, resolvers: Resolvers) -> Resolver:
    return resolvers.get(config_of(server.port))


def config_of(port: int, tries: int = 1, timeout_s: float = 0.1) -> DnsResolver:
    address = model.SocketAddress("127.0.0.1", port)
    return DnsResolver(servers=(address,), no_search=True, timeout_s=timeout_s, tries=tries)


@contextmanager
def following(
    resolver: Resolver, *names: str, refresh: float = 0.005
) -> Iterator[tuple[Cluster, DnsMembership]]:
    options = Dns(refresh_s=refresh, family="V4_ONLY")
    config = model.Cluster("a", type="STRICT_DNS", dns=options)
    cluster = Cluster(config, Stats(), Random(1), lambda *_: None, lambda _: None)
    endpoints = tuple(model.Endpoint(model.SocketAddress(name, 80)) for name in names)
    group = model.LocalityEndpoints(("", "", ""), endpoints)
    assignment = model.ClusterLoadAssignment("a", (group,))
    membership = DnsMembership(cluster, assignment, resolver)
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
    server: DnsServer,
    resolver: Resolver,
    name: str,
    family: DnsFamily,
    addresses: set[str],
    asked: set[str],
) -> None:
    found = await resolver.resolve(name, family)
    assert set(found.addresses) == addresses
    assert {kind for _, kind in server.asked} == asked


async def test_the_records_tell_how_long_they_are_good_for(
    server: DnsServer, resolver: Resolver
) -> None:
    server.ttl_s = 37
    found = await resolver.resolve("both.test", "V4_ONLY")
    assert found.ttl_s == 37.0
    options = Dns(refresh_s=5.0, respect_ttl=True)
    assert refresh_s(options, found, Random(1)) == 37.0
    assert refresh_s(Dns(refresh_s=5.0), found, Random(1)) == 5.0


async def test_a_server_that_fails_is_no_answer(server: DnsServer, resolver: Resolver) -> None:
    server.failing = {"four.test"}
    with pytest.raises(ResolveFailed):
        await resolver.resolve("four.test", "V4_ONLY")


async def test_several_names_make_one_cluster(server: DnsServer, resolver: Resolver) -> None:
    with following(resolver, "both.test", "four.test", "nobody.test") as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="all names")
        assert texts(cluster) == {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.4:80"}
        assert [host.hostname for host in cluster.hosts if host.text == "10.0.0.4:80"] == [
            "four.test"
        ]


async def test_the_zone_changes(server: DnsServer, resolver: Resolver) -> None:
    with following(resolver, "four.test") as (cluster, _):
        await eventually_async(lambda: texts(cluster) == {"10.0.0.4:80"}, what="the host")
        kept = cluster.hosts[0]
        server.zone["four.test", "A"] = ["10.0.0.5", "10.0.0.4"]
        await eventually_async(lambda: len(cluster.hosts) == 2, what="the second host")
        assert kept in cluster.hosts
        del server.zone["four.test", "A"]
        await eventually_async(lambda: not cluster.hosts, what="the end of the name")


async def test_the_hosts_stay_while_the_server_is_away(
    server: DnsServer, resolver: Resolver
) -> None:
    with following(resolver, "four.test") as (cluster, _):
        await eventually_async(lambda: texts(cluster) == {"10.0.0.4:80"}, what="the host")
        server.stop()
        await eventually_async(lambda: count(cluster, "update_failure") >= 2, what="failures")
        assert texts(cluster) == {"10.0.0.4:80"}
        server.zone["four.test", "A"] = ["10.0.0.5"]
        await server.start()
        await eventually_async(lambda: texts(cluster) == {"10.0.0.5:80"}, what="the server again")


async def test_a_failing_name_takes_no_other_down(server: DnsServer, resolver: Resolver) -> None:
    server.failing = {"four.test"}
    with following(resolver, "four.test", "both.test") as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="both names")
        assert texts(cluster) == {"10.0.0.1:80", "10.0.0.2:80"}
        server.failing.clear()
        await eventually_async(lambda: "10.0.0.4:80" in texts(cluster), what="the other")


async def test_who_waits_when_it_is_closed_gets_no_answer(silent: SilentDns) -> None:
    resolvers = Resolvers()
    resolver = resolvers.get(config_of(silent.port, tries=PATIENT))
    first, second = (
        asyncio.get_running_loop().create_task(resolver.resolve("six.test", family))
        for family in ("V6_ONLY", "AUTO")
    )
    await silent.question()
    await silent.question()
    resolvers.close()
    silent.drain()  # of what was asked again
    for waiting in (first, second):
        with pytest.raises(ResolveFailed):
            await waiting
    assert silent.drain() == 0  # AUTO would have asked for A next


async def test_what_was_asked_for_a_cluster_that_has_gone_ends_with_the_resolver(
    silent: SilentDns,
) -> None:
    resolvers = Resolvers()
    resolver = resolvers.get(config_of(silent.port, tries=PATIENT))
    with following(resolver, "a.test"):
        await silent.question()
    resolvers.close()
    await eventually_async(lambda: silent.gone, what="the end of who asked")


async def test_one_resolver_asks_for_many_names_at_once(
    server: DnsServer, resolvers: Resolvers
) -> None:
    resolver = resolvers.get(config_of(server.port, timeout_s=30.0))
    names = [f"n{at}.test" for at in range(50)]
    server.zone.update({(name, "A"): [f"10.1.0.{at}"] for at, name in enumerate(names)})
    with following(resolver, *names, refresh=60.0) as (cluster, membership):
        await eventually_async(lambda: membership.warm, what="all names")
        assert len(texts(cluster)) == 50
        assert sum(server.asked.values()) == 50
