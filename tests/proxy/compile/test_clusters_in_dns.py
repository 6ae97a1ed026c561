"""Clusters whose hosts are in DNS: who is asked after a change, and who is asked no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from random import Random

import pytest

from proxy.compile.clusters import Clusters
from proxy.config import model
from proxy.config.model.discovery import Dns, DnsCache, DnsResolver
from proxy.config.snapshot import Snapshot
from proxy.stats import Stats
from tests.support.dns_server import PATIENT, DnsServer, SilentDns
from tests.support.wait import eventually_async

ENDPOINT = model.Endpoint(model.SocketAddress("a.test", 80))
ASSIGNMENT = model.ClusterLoadAssignment("a", (model.LocalityEndpoints(("", "", ""), (ENDPOINT,)),))


@pytest.fixture
async def clusters() -> AsyncIterator[Clusters]:
    made = Clusters(Stats(), Random(1), lambda _: None)
    yield made
    made.close()


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    one = DnsServer({("a.test", "A"): ["10.0.0.1"]})
    await one.start()
    yield one
    one.stop()


@pytest.fixture
def silent() -> Iterator[SilentDns]:
    with SilentDns() as one:
        yield one


def asking(port: int) -> Dns:
    servers = (model.SocketAddress("127.0.0.1", port),)
    resolver = DnsResolver(servers=servers, no_search=True, tries=PATIENT)
    return Dns(refresh_s=60.0, family="V4_ONLY", resolver=resolver)


def strict(dns: Dns) -> Snapshot:
    one = model.Cluster("a", type="STRICT_DNS", dns=dns, load_assignment=ASSIGNMENT)
    return Snapshot(clusters={"a": one})


def made_up(dns: Dns) -> Snapshot:
    """A cluster whose names come with requests, and one that it knows from the beginning."""
    cache = DnsCache("c", dns=dns, query_timeout_s=0.0, preresolve=(("a.test", 80),))
    one = model.Cluster("a", type="DYNAMIC_FORWARD_PROXY", dns_cache=cache)
    return Snapshot(clusters={"a": one})


@pytest.mark.parametrize("of", [strict, made_up])
async def test_a_removed_cluster_asks_no_more(
    of: Callable[[Dns], Snapshot], clusters: Clusters, silent: SilentDns
) -> None:
    clusters.apply(of(asking(silent.port)))
    assert await silent.question() == "a.test"
    clusters.apply(Snapshot())
    await eventually_async(lambda: silent.gone, what="the end of who asked")


@pytest.mark.parametrize("of", [strict, made_up])
async def test_a_cluster_may_ask_somebody_else(
    of: Callable[[Dns], Snapshot], clusters: Clusters, server: DnsServer, silent: SilentDns
) -> None:
    clusters.apply(of(asking(silent.port)))
    assert await silent.question() == "a.test"
    clusters.apply(of(asking(server.port)))
    await eventually_async(lambda: silent.gone, what="the end of who asked")
    await eventually_async(lambda: server.asked, what="the new question")


async def test_the_hosts_of_who_is_asked_now(
    clusters: Clusters, server: DnsServer, silent: SilentDns
) -> None:
    clusters.apply(strict(asking(silent.port)))
    clusters.apply(strict(asking(server.port)))
    hosts = clusters.running["a"]
    await eventually_async(lambda: hosts.hosts, what="the host")
    assert [host.text for host in hosts.hosts] == ["10.0.0.1:80"]


@pytest.mark.parametrize("of", [strict, made_up])
async def test_the_end_of_all(
    of: Callable[[Dns], Snapshot], clusters: Clusters, silent: SilentDns
) -> None:
    clusters.apply(of(asking(silent.port)))
    assert await silent.question() == "a.test"
    clusters.close()
    await eventually_async(lambda: silent.gone, what="the end of who asked")
    assert not clusters.running
