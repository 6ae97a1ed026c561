"""Connections of a cluster: who leases which, who waits, and what a change of members does."""

from __future__ import annotations

from typing import Any

from proxy.config import model
from tests.support.fake_loop import FakeTransport
from tests.support.hosts import Asked, House, assignment, endpoint


class TestLease:
    def test_the_first_waits_for_its_connection(self) -> None:
        house = House()
        asked = house.ask()
        assert asked.heard == [] and house.count("upstream_rq_pending_active") == 1
        connection = house.accept()
        assert asked.heard == ["connected"] and asked.connection is connection
        assert house.count("upstream_rq_pending_active") == 0
        house.answer(connection)
        assert asked.heard == ["connected", "response 200"]
        assert house.hosts[0].active == 0

    def test_an_idle_one_is_taken_last_in_first_out(self) -> None:
        house = House()
        house.ask(), house.ask()
        first, second = house.accept(), house.accept()
        house.answer(first)
        house.answer(second)
        assert house.ask().connection is second
        assert house.ask().connection is first
        assert house.openings == []

    def test_whoever_is_free_first_serves_the_queue(self) -> None:
        house = House()
        one = house.ask()
        connection = house.accept()
        two = house.ask()
        house.answer(connection)
        assert one.heard[-1] == "response 200"
        assert two.connection is connection
        late = house.accept()  # asked for the second one, which no longer needs it
        assert house.ready() == [late]

    def test_the_queue_is_fair(self) -> None:
        house = House()
        waiting = [house.ask() for _ in range(3)]
        connection = house.accept()
        for asked in waiting:
            assert asked.connection is connection
            house.answer(connection)

    def test_a_full_queue(self) -> None:
        house = House(thresholds_default=model.Thresholds(max_pending_requests=1))
        house.ask()
        assert house.ask().heard == ["full"]
        assert house.count("upstream_rq_pending_overflow") == 1
        assert house.ask(priority="HIGH").heard == []  # a queue of its own

    def test_a_cancelled_one_is_not_served(self) -> None:
        house = House()
        gone, other = house.ask(), house.ask()
        house.cluster.cancel_pending(house.hosts[0], gone.breaker, gone)
        house.cluster.cancel_pending(house.hosts[0], gone.breaker, gone)  # no harm
        connection = house.accept()
        assert gone.heard == [] and other.connection is connection
        assert house.count("upstream_rq_pending_active") == 0

    def test_a_dead_idle_one_is_passed_over(self) -> None:
        """Its peer closed it in this very turn, and the loop has not told us yet."""
        house = House()
        house.ask()
        connection = house.accept()
        house.answer(connection)
        connection.connection_lost(None)
        asked = house.ask()
        assert asked.heard == [] and len(house.openings) == 1


class TestConnectFailure:
    def test_the_one_that_waits_is_told(self) -> None:
        house = House()
        asked = house.ask()
        house.fail()
        assert asked.heard == ["reset connection failure"]
        assert house.count("upstream_rq_pending_failure_eject") == 1
        assert house.cluster.breakers["DEFAULT"].connections == 0

    def test_those_for_whom_another_is_on_its_way_are_not(self) -> None:
        house = House()
        one, two = house.ask(), house.ask()
        house.fail()
        assert sorted([one.heard, two.heard]) == [[], ["reset connection failure"]]
        house.accept()
        assert sorted([one.heard, two.heard]) == [["connected"], ["reset connection failure"]]


class TestLimits:
    LIMITS = model.Thresholds(max_connections=1)

    def test_max_connections(self) -> None:
        house = House(thresholds_default=self.LIMITS)
        waiting = [house.ask() for _ in range(3)]
        assert len(house.openings) == 1 and house.count("upstream_cx_overflow") == 2
        connection = house.accept()
        for asked in waiting:
            assert asked.connection is connection
            house.answer(connection)
        assert house.openings == []

    def test_a_host_may_always_have_one(self) -> None:
        house = House(endpoint(1), endpoint(2), thresholds_default=self.LIMITS)
        house.ask(house.hosts[0])
        house.ask(house.hosts[1])
        assert [pool.host for pool in house.openings] == house.hosts

    def test_a_closed_one_makes_room(self) -> None:
        house = House(thresholds_default=self.LIMITS)
        house.ask()
        connection = house.accept()
        waiting = house.ask()
        house.answer(connection, b"connection: close\r\n")
        assert len(house.openings) == 1
        fresh = house.accept()
        assert waiting.connection is fresh

    def test_max_requests_per_connection(self) -> None:
        house = House(http=model.HttpProtocolOptions(max_requests_per_connection=2))
        house.ask()
        connection = house.accept()
        house.answer(connection)
        house.ask()
        house.answer(connection)
        assert house.count("upstream_cx_max_requests") == 1
        assert connection.transport is None and not house.ready()


class TestMembers:
    def test_a_host_that_stays_keeps_everything(self) -> None:
        house = House(endpoint(1), endpoint(2))
        kept = house.hosts[0]
        house.ask(kept)
        connection = house.accept()
        house.answer(connection)
        kept.rq_error = 3
        house.cluster.set_endpoints(
            assignment(endpoint(3), endpoint(1, weight=5, health="DEGRADED", hostname="h"))
        )
        assert house.hosts[1] is kept and house.ready(1) == [connection]
        assert (kept.rq_error, kept.weight, kept.health, kept.hostname) == (
            3, 5, "DEGRADED", "h",
        )  # fmt: skip
        assert house.count("membership_change") == 2

    def test_the_same_members_are_no_change(self) -> None:
        house = House(endpoint(1))
        house.cluster.set_endpoints(assignment(endpoint(1, weight=3)))
        assert house.count("membership_change") == 1

    def test_a_removed_host_closes_its_idle_connections(self) -> None:
        house = House(endpoint(1), endpoint(2))
        house.ask()
        connection = house.accept()
        house.answer(connection)
        house.cluster.set_endpoints(assignment(endpoint(2)))
        assert connection.transport is None
        assert house.count("upstream_cx_active") == 0

    def test_a_removed_host_ends_what_it_began(self) -> None:
        house = House(endpoint(1), endpoint(2))
        removed = house.hosts[0]
        busy, waiting = house.ask(removed), house.ask(removed)
        connection = house.accept()
        house.cluster.set_endpoints(assignment(endpoint(2)))
        house.answer(connection)
        assert busy.heard[-1] == "response 200"
        house.answer(connection) if waiting.connection is connection else house.accept()
        assert waiting.connection is not None

    def test_a_removed_host_keeps_no_connection(self) -> None:
        house = House(endpoint(1), endpoint(2))
        removed = house.hosts[0]
        house.ask(removed)
        connection = house.accept()
        house.cluster.set_endpoints(assignment(endpoint(2)))
        house.answer(connection)
        assert connection.transport is None and not removed.pools

    def test_unhealthy_hosts_are_not_picked(self) -> None:
        house = House(
            *[endpoint(at) for at in range(1, 4)],
            *[endpoint(9, health="UNHEALTHY"), endpoint(8, health="DRAINING")],
        )
        assert {house.cluster.pick() for _ in range(60)} == set(house.hosts[:3])
        assert (house.count("membership_total"), house.count("membership_healthy")) == (5, 3)

    def test_an_address_counts_once(self) -> None:
        house = House(endpoint(1), endpoint(1, weight=9))
        assert len(house.hosts) == 1 and house.hosts[0].weight == 1


class TestReconfiguration:
    def test_counts_and_connections_stay(self) -> None:
        house = House()
        house.ask()
        connection = house.accept()
        limits = model.Thresholds(max_requests=3)
        house.cluster.configure(model.Cluster("a", thresholds_default=limits), lambda host: "tls")
        assert house.cluster.breakers["DEFAULT"].connections == 1
        assert house.cluster.breakers["DEFAULT"].max_requests == 3
        assert house.hosts[0].tls == "tls"
        house.answer(connection)
        assert house.ask().connection is connection

    def test_every_host_gets_its_own_tls(self) -> None:
        house = House(endpoint(1), endpoint(2), tls_for=lambda host: f"tls of {host.text}")
        assert [host.tls for host in house.hosts] == ["tls of 10.0.0.1:80", "tls of 10.0.0.2:80"]

    def test_closing(self) -> None:
        house = House()
        busy = house.ask()
        connection = house.accept()
        house.cluster.close()
        house.answer(connection)
        assert busy.heard[-1] == "response 200" and connection.transport is None
        assert house.count("upstream_cx_active") == 0


class TestConnection:
    """What `UpstreamH1` tells its exchange."""

    def test_backpressure(self) -> None:
        house = House(per_connection_buffer_limit_bytes=10)
        asked = house.ask()
        connection = house.accept()
        transport = connection.transport
        assert isinstance(transport, FakeTransport)
        transport.stuck = True
        connection.send(b"x" * 11)
        connection.write_out()
        assert asked.heard[-1] == "writable False"
        transport.release()
        assert asked.heard[-1] == "writable True"

    def test_a_request_that_is_not_whole_costs_the_connection(self) -> None:
        house = House()
        asked = house.ask()
        connection = house.accept()
        connection.request_done = False
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        assert asked.heard[-1] == "response 200" and connection.transport is None

    def test_giving_up(self) -> None:
        house = House()
        asked = house.ask()
        connection = house.accept()
        connection.abandon(asked)
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        assert asked.heard == ["connected"]
        assert house.hosts[0].active == 0 and house.count("upstream_cx_active") == 0

    def test_giving_up_what_is_not_ours(self) -> None:
        house = House()
        house.ask()
        connection = house.accept()
        connection.abandon(Asked(house.cluster.breakers["DEFAULT"]))
        assert connection.transport is not None and house.hosts[0].active == 1

    def test_lost(self) -> None:
        house = House()
        asked = house.ask()
        connection = house.accept()
        connection.connection_lost(None)
        connection.connection_lost(None)
        assert asked.heard == ["connected", "reset connection termination"]
        assert house.hosts[0].active == 0
        assert house.count("upstream_cx_destroy") == 1


NOBODY: Any = None
"""Whom round robin does not ask about."""


class TestPreferred:
    """A host that a session is bound to."""

    def test_it_is_found_by_its_address(self) -> None:
        house = House()
        house.cluster.set_endpoints(assignment(endpoint(1), endpoint(2)))
        for number in (1, 2, 1):
            found = house.cluster.pick_preferred(NOBODY, f"10.0.0.{number}:80", True)
            assert found is not None and found.text == f"10.0.0.{number}:80"

    def test_one_that_has_gone_is_not(self) -> None:
        house = House()
        house.cluster.set_endpoints(assignment(endpoint(1), endpoint(2)))
        assert house.cluster.pick_preferred(NOBODY, "10.0.0.1:80", True) is not None
        house.cluster.set_endpoints(assignment(endpoint(2)))
        assert house.cluster.pick_preferred(NOBODY, "10.0.0.1:80", True) is None
        other = house.cluster.pick_preferred(NOBODY, "10.0.0.1:80", False)
        assert other is not None and other.text == "10.0.0.2:80"
