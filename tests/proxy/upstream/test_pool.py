"""Pools: how many connections are opened, when, and for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config import model
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.upstream.way import Way, chooser, host_of
from tests.support.hosts import House, endpoint


def opened(house: House) -> int:
    return len(house.openings)


class TestPreconnect:
    def test_none_by_default(self) -> None:
        house = House()
        house.ask()
        assert opened(house) == 1
        house.accept()
        assert opened(house) == 0

    def test_per_upstream(self) -> None:
        """Room for one and a half times what is there: Envoy's formula, rounded up."""
        house = House(preconnect=model.PreconnectPolicy(per_upstream=1.5))
        house.ask()
        assert opened(house) == 2
        house.ask()
        assert opened(house) == 3
        for _ in range(3):
            house.accept()
        assert opened(house) == 0 and len(house.ready()) == 1

    def test_a_busy_pool_looks_ahead(self) -> None:
        house = House(preconnect=model.PreconnectPolicy(per_upstream=2.0))
        asked = house.ask()
        house.accept(), house.accept()
        assert asked.heard == ["connected"] and opened(house) == 0
        house.ask()
        assert opened(house) == 2  # two are under way, and two more would find room

    def test_not_for_a_host_that_is_ill(self) -> None:
        house = House(
            endpoint(1, health="UNHEALTHY"), preconnect=model.PreconnectPolicy(per_upstream=3.0)
        )
        house.ask()
        assert opened(house) == 1

    def test_predictive(self) -> None:
        """The host that comes next gets a connection before anybody asks for it."""
        house = House(
            *[endpoint(at) for at in range(1, 5)],
            preconnect=model.PreconnectPolicy(predictive=2.0),
        )
        first = house.cluster.pick()
        house.ask(first)
        foreseen = [pool.host for pool in house.openings if pool.host is not first]
        assert foreseen
        assert house.cluster.pick() is foreseen[0]

    def test_one_for_each_host_that_is_foreseen(self) -> None:
        house = House(
            *[endpoint(at) for at in range(1, 9)],
            preconnect=model.PreconnectPolicy(predictive=3.0),
        )
        house.ask(house.cluster.pick())
        hosts = [pool.host for pool in house.openings]
        assert len(hosts) > 2 and len(set(hosts)) == len(hosts)

    def test_within_the_limit_of_connections(self) -> None:
        house = House(
            preconnect=model.PreconnectPolicy(per_upstream=3.0),
            thresholds_default=model.Thresholds(max_connections=1),
        )
        house.ask()
        assert opened(house) == 1 and house.count("upstream_cx_overflow") == 1


class TestLimits:
    def test_connections_per_host(self) -> None:
        house = House(
            endpoint(1),
            endpoint(2),
            thresholds_default=model.Thresholds(max_connections_per_host=1),
        )
        for _ in range(2):
            house.ask(house.hosts[0])
            house.ask(house.hosts[1])
        assert [pool.host for pool in house.openings] == house.hosts

    def test_pools(self) -> None:
        house = House(
            endpoint(1), endpoint(2), thresholds_default=model.Thresholds(max_connection_pools=1)
        )
        house.ask(house.hosts[0])
        assert house.ask(house.hosts[1]).heard == ["full"]
        assert house.count("upstream_cx_pool_overflow") == 1
        house.fail()
        assert house.ask(house.hosts[1]).heard == []  # the first one is gone with its connection

    def test_requests_count_from_their_connection_on(self) -> None:
        house = House(thresholds_default=model.Thresholds(max_requests=1))
        house.ask()
        house.accept()
        waiting = house.ask()
        assert waiting.heard == []
        house.accept()
        assert waiting.heard == ["reset overflow"]
        assert house.ask().heard == ["full"]
        assert house.count("upstream_rq_active_overflow") == 2


class TestRoom:
    """How many connections a queue needs, by what a connection will take."""

    def test_of_a_connection_that_is_not_open_yet(self) -> None:
        for most, wanted in ((0, 1), (2, 2), (1, 3)):
            house = House(
                http=model.HttpProtocolOptions(version="HTTP2", max_requests_per_connection=most)
            )
            for _ in range(3):
                house.ask()
            assert opened(house) == wanted

    def test_of_one_that_closed_before_its_settings(self) -> None:
        """What it was expected to take nobody takes now."""
        house = House(http=model.HttpProtocolOptions(version="HTTP2"))
        first = house.ask()
        connection = house.accept_h2()
        while first.connection is house.ask().connection:
            pass  # as many as it takes while it has not said how many
        waiting = house.ask()
        assert waiting.heard == [] and opened(house) == 0
        connection.connection_lost(None)
        assert first.heard[-1] == "reset connection termination" and opened(house) == 1
        house.accept_h2()
        assert waiting.heard == ["connected"]

    def test_one_for_a_host_that_has_left_closes_when_its_queue_is_refused(self) -> None:
        house = House(endpoint(1), endpoint(2), thresholds_default=model.Thresholds(max_requests=1))
        left = house.hosts[0]
        busy, refused = house.ask(house.hosts[1]), house.ask(left)
        house.cluster.remove(left)
        house.accept()
        connection = house.accept()
        assert busy.heard == ["connected"] and refused.heard == ["reset overflow"]
        assert connection.transport is None and not left.connections


class TestAges:
    def test_idle(self) -> None:
        house = House(http=model.HttpProtocolOptions(idle_timeout_s=5.0))
        house.ask()
        connection = house.accept()
        house.answer(connection)
        house.cluster.sweep(house.cluster.now + 4.0)
        assert house.ready() == [connection]
        house.cluster.sweep(house.cluster.now + 6.0)
        assert house.ready() == [] and house.count("upstream_cx_idle_timeout") == 1

    def test_too_old_ends_after_its_exchange(self) -> None:
        house = House(http=model.HttpProtocolOptions(max_connection_duration_s=5.0))
        asked = house.ask()
        connection = house.accept()
        house.cluster.sweep(house.cluster.now + 6.0)
        assert connection.transport is not None
        house.answer(connection)
        assert asked.heard[-1] == "response 200" and connection.transport is None
        assert house.count("upstream_cx_max_duration_reached") == 1

    def test_one_that_is_retired_is_not_too_old_again(self) -> None:
        house = House(http=model.HttpProtocolOptions(max_connection_duration_s=5.0))
        house.ask()
        house.accept()
        for more_s in (6.0, 7.0, 8.0):
            house.cluster.sweep(house.cluster.now + more_s)
        assert house.count("upstream_cx_max_duration_reached") == 1


def test_who_waits_for_another_way_of_speaking_is_counted_once() -> None:
    """New protocol options: the queue moves to a new pool, and the breaker's count with it."""
    house = House(thresholds_default=model.Thresholds(max_pending_requests=2))
    first, second = house.ask(), house.ask()
    spoken = model.HttpProtocolOptions(idle_timeout_s=5.0)
    house.cluster.configure(replace(house.cluster.config, http=spoken))
    assert first.breaker.pending == 2 and first.heard == second.heard == []
    del house.openings[:2]
    house.accept(), house.accept()
    assert first.heard == second.heard == ["connected"] and first.breaker.pending == 0


def request(authority: bytes, version: bytes = b"HTTP/1.1", **headers: bytes) -> Request:
    pairs = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return Request(b"GET", b"/", authority, Headers.of(pairs), version=version)


class TestWays:
    def test_one_way_needs_no_choice(self) -> None:
        assert chooser(model.HttpProtocolOptions(version="AUTO")) is None

    def test_the_clients_protocol(self) -> None:
        choose = chooser(model.HttpProtocolOptions(version="DOWNSTREAM"))
        assert choose is not None
        assert choose(request(b"a", b"HTTP/2")) == Way("HTTP2")
        assert choose(request(b"a", b"HTTP/1.0")) == Way("HTTP1")

    def test_the_name_of_the_request(self) -> None:
        options = model.HttpProtocolOptions(auto_sni=True, auto_san_validation=True)
        choose = chooser(options)
        assert choose is not None
        assert choose(request(b"shop.test:443")) == Way("HTTP1", "shop.test", "shop.test")
        assert choose(request(b"10.0.0.1:443")) == Way("HTTP1", "", "10.0.0.1")

    def test_the_name_in_a_header(self) -> None:
        choose = chooser(model.HttpProtocolOptions(auto_sni=True, auto_sni_header="x-host"))
        assert choose is not None
        assert choose(request(b"a", x_host=b"other.test")).server_name == "other.test"
        assert choose(request(b"a")).server_name == "a"

    @pytest.mark.parametrize(
        ("authority", "host"),
        [(b"a", "a"), (b"a:80", "a"), (b"[::1]:80", "::1"), (b"[::1]", "::1"), (b"a:b", "a:b")],
    )
    def test_hosts(self, authority: bytes, host: str) -> None:
        assert host_of(authority) == host

    def test_each_way_has_connections_of_its_own(self) -> None:
        house = House(http=model.HttpProtocolOptions(auto_sni=True))
        for name in (b"one.test", b"two.test", b"one.test"):
            asked = house.asked("DEFAULT")
            asked.request = request(name)
            assert house.cluster.lease(house.hosts[0], asked.breaker, asked)
        names = [pool.way.server_name for pool in house.openings]
        assert names == ["one.test", "two.test", "one.test"]
        assert len(house.hosts[0].pools) == 2
        for _ in range(3):
            house.fail()
        assert not house.hosts[0].pools
