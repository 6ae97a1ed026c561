"""Clusters that find their hosts by request: original destination, host header, other clusters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from proxy.config import model
from proxy.config.model.balancing import ProvidedLb
from proxy.config.model.discovery import DnsCache as DnsCacheConfig
from proxy.config.model.discovery import OriginalDst
from proxy.connection import ConnectionInfo
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.stats import Stats
from proxy.upstream.aggregate import AggregateCluster
from proxy.upstream.cluster import Cluster
from proxy.upstream.dns_cache import DnsCache, split_authority
from proxy.upstream.dynamic_forward import DynamicForwardCluster
from proxy.upstream.host import Host
from proxy.upstream.original_dst import OriginalDstCluster, parse_address
from tests.support.fake_dns import FakeDns, to
from tests.support.hosts import assignment, endpoint
from tests.support.wait import eventually_async

HERE = ("127.0.0.1", 15001)


@dataclass
class Asking:
    """A request as policies see it."""

    info: ConnectionInfo
    request: Request
    route: None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def asking(
    destination: tuple[str, int] = HERE, authority: bytes = b"a", **headers: bytes
) -> Asking:
    found = Headers()
    for name, value in headers.items():
        found.add(name.replace("_", "-").encode(), value)
    info = ConnectionInfo(("10.0.0.9", 1), destination, HERE)
    return Asking(info, Request(b"GET", b"/", authority, found))


def made(kind: type[Cluster], config: model.Cluster, *more: Any) -> Any:
    return kind(config, Stats(), Random(1), lambda *_: None, lambda _: None, *more)


def text(host: Host | None) -> str:
    return "-" if host is None else host.text


class TestOriginalDst:
    def cluster(self, **options: Any) -> Any:
        config = model.Cluster(
            "o", type="ORIGINAL_DST", lb=ProvidedLb(), original_dst=OriginalDst(**options)
        )
        return made(OriginalDstCluster, config)

    def test_where_the_client_meant_to_go(self) -> None:
        cluster = self.cluster()
        host = cluster.pick_for(asking(("10.1.1.1", 80)))
        assert text(host) == "10.1.1.1:80" and cluster.hosts == [host]
        assert cluster.pick_for(asking(("10.1.1.1", 80))) is host

    def test_who_was_not_redirected_goes_nowhere(self) -> None:
        assert self.cluster().pick_for(asking()) is None
        assert self.cluster().pick() is None

    def test_a_header_wins(self) -> None:
        cluster = self.cluster(header=b"x-to")
        assert text(cluster.pick_for(asking(x_to=b"10.2.2.2:8080"))) == "10.2.2.2:8080"

    def test_a_bad_header_is_counted(self) -> None:
        cluster = self.cluster(header=b"x-to")
        assert text(cluster.pick_for(asking(("10.1.1.1", 80), x_to=b"nonsense"))) == "10.1.1.1:80"
        assert cluster.all_stats.counters["cluster.o.original_dst_host_invalid"].value == 1

    def test_metadata_and_port(self) -> None:
        cluster = self.cluster(metadata_key=("my", ("a", "b")), port=9)
        request = asking(("10.1.1.1", 80))
        request.metadata = {"my": {"a": {"b": "10.3.3.3:80"}}}
        assert text(cluster.pick_for(request)) == "10.3.3.3:9"

    def test_unused_hosts_go(self) -> None:
        cluster = self.cluster()
        began = cluster._cleaned_at
        busy = cluster.pick_for(asking(("10.1.1.1", 80)))
        cluster.pick_for(asking(("10.1.1.2", 80)))
        busy.active = 1
        cluster.sweep(began + 6)
        assert len(cluster.hosts) == 2  # used since the last time
        cluster.sweep(began + 12)
        assert cluster.hosts == [busy]

    @pytest.mark.parametrize(
        "given, found",
        [
            ("1.2.3.4:80", "1.2.3.4:80"),
            ("[::1]:80", "[::1]:80"),
            ("1.2.3.4", "None"),
            ("::1:80", "None"),
            ("name:80", "None"),
            ("1.2.3.4:99999", "None"),
            ("1.2.3.4:", "None"),
        ],
    )
    def test_addresses(self, given: str, found: str) -> None:
        assert str(parse_address(given)) == found


class TestAggregate:
    def house(self, *members: tuple[str, list[model.Endpoint]]) -> tuple[Any, dict[str, Cluster]]:
        running: dict[str, Cluster] = {}
        for name, endpoints in members:
            running[name] = made(Cluster, model.Cluster(name))
            running[name].set_endpoints(assignment(*endpoints))
        names = tuple(name for name, _ in members)
        config = model.Cluster("all", type="AGGREGATE", lb=ProvidedLb(), clusters=names)
        return made(AggregateCluster, config, running), running

    def shares(self, cluster: Any, times: int = 2000) -> dict[str, int]:
        picked = Counter(
            cluster.serving(host).name if (host := cluster.pick_for(None)) else "-"
            for _ in range(times)
        )
        return {name: round(100 * seen / times) for name, seen in picked.items()}

    def test_the_first_that_can(self) -> None:
        cluster, _ = self.house(("a", [endpoint(1)]), ("b", [endpoint(2)]))
        assert self.shares(cluster) == {"a": 100}

    def test_it_spills_over(self) -> None:
        ill = endpoint(2, health="UNHEALTHY")
        cluster, _ = self.house(("a", [endpoint(1), ill]), ("b", [endpoint(3)]))
        found = self.shares(cluster)
        assert found["a"] in range(67, 74) and found["a"] + found["b"] == 100

    def test_a_change_of_a_member_is_seen(self) -> None:
        cluster, running = self.house(("a", [endpoint(1)]), ("b", [endpoint(2)]))
        assert self.shares(cluster) == {"a": 100}
        running["a"].set_endpoints(assignment())
        assert self.shares(cluster) == {"b": 100}
        del running["b"]
        assert self.shares(cluster) == {"-": 100}

    def test_all_in_panic_by_their_sizes(self) -> None:
        ill = [endpoint(at, health="UNHEALTHY") for at in range(1, 5)]
        cluster, _ = self.house(("a", ill[:3]), ("b", ill[3:]))
        assert self.shares(cluster)["a"] in range(72, 79)

    def test_limits_are_those_of_the_member(self) -> None:
        cluster, running = self.house(
            ("a", [endpoint(1)]),
        )
        host = cluster.pick_for(None)
        assert cluster._limits(host, cluster.breakers["HIGH"]) == (
            running["a"], running["a"].breakers["HIGH"],
        )  # fmt: skip


class TestDynamicForward:
    def house(self, dns: FakeDns, **options: Any) -> tuple[Any, DnsCache]:
        stats = Stats()
        cache = DnsCache(DnsCacheConfig("c", **options), dns, stats, Random(1))
        config = model.Cluster("f", type="DYNAMIC_FORWARD_PROXY", lb=ProvidedLb())
        return made(DynamicForwardCluster, config, cache), cache

    def seen(self, cache: DnsCache, name: str) -> int:
        value: int = cache._stats.counters[f"dns_cache.c.{name}"].value
        return value

    async def test_a_name_is_waited_for_once(self) -> None:
        cluster, cache = self.house(FakeDns(a_test=[to("10.0.0.5")]))
        heard: list[str] = []
        assert cluster.pick_for(asking(authority=b"a.test")) is None
        assert cluster.load(b"a.test", lambda: heard.append("one")) == "loading"
        assert cluster.load(b"A.test:80", lambda: heard.append("two")) == "loading"
        await eventually_async(lambda: heard == ["one", "two"], what="the answer")
        assert cluster.load(b"a.test", heard.clear) == "there"
        host = cluster.pick_for(asking(authority=b"a.test"))
        assert text(host) == "10.0.0.5:80" and host.hostname == "a.test"
        assert self.seen(cache, "dns_query_attempt") == 1
        cache.close()

    async def test_an_address_needs_nobody(self) -> None:
        cluster, cache = self.house(FakeDns())
        assert cluster.load(b"10.1.2.3:81", list) == "there"
        assert text(cluster.pick_for(asking(authority=b"10.1.2.3:81"))) == "10.1.2.3:81"
        cache.close()

    async def test_limits(self) -> None:
        cluster, cache = self.house(FakeDns(), max_hosts=2, max_pending=1)
        assert cluster.load(b"a.test", list) == "loading"
        assert cluster.load(b"b.test", list) == "pending overflow"
        assert cluster.load(b"c.test", list) == "overflow"
        cluster.forget(b"a.test", list)
        assert (self.seen(cache, "host_overflow"), self.seen(cache, "dns_rq_pending_overflow")) == (
            1, 1,
        )  # fmt: skip
        cache.close()

    async def test_who_hung_up_is_not_called(self) -> None:
        heard: list[str] = []
        cluster, cache = self.house(FakeDns(a_test=[to("10.0.0.5")]))

        def done() -> None:
            heard.append("called")

        assert cluster.load(b"a.test", done) == "loading"
        cluster.forget(b"a.test", done)
        await eventually_async(lambda: cluster.resolved(b"a.test"), what="the answer")
        assert heard == []
        cache.close()

    async def test_nobody_waits_for_a_closed_cache(self) -> None:
        heard: list[bool] = []
        cluster, cache = self.house(FakeDns(a_test=[to("10.0.0.5")]))
        cluster.load(b"a.test", lambda: heard.append(cluster.resolved(b"a.test")))
        cache.close()
        assert heard == [False]

    async def test_a_name_that_does_not_exist(self) -> None:
        heard: list[str] = []
        cluster, cache = self.house(FakeDns(a_test=[to()]))
        cluster.load(b"a.test", lambda: heard.append("known"))
        await eventually_async(lambda: heard == ["known"], what="the answer")
        assert not cluster.resolved(b"a.test")
        cache.close()

    @pytest.mark.parametrize(
        "authority, found",
        [
            (b"a.test", ("a.test", 80)),
            (b"A.Test:8080", ("a.test", 8080)),
            (b"[::1]:81", ("::1", 81)),
            (b"[::1]", ("::1", 80)),
            (b"a.test:x", ("", 0)),
            (b"a:b:1", ("", 0)),
        ],
    )
    def test_authorities(self, authority: bytes, found: tuple[str, int]) -> None:
        assert split_authority(authority, 80) == found
