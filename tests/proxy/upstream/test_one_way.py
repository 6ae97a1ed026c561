"""A gRPC stream of the proxy's own: opened at need, never more often than once a second."""

from __future__ import annotations

from typing import Any

from proxy.config import model
from proxy.config.model.services import GrpcService
from proxy.http.grpc import framed
from proxy.outbox import flush
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.one_way import MAX_WAITING_BYTES, PAUSE_S, OneWay
from tests.support.fake_loop import FakeTransport
from tests.support.hosts import House, assignment, endpoint

METADATA = (("x-key", "secret"),)


class Told:
    """Tells a house's cluster. now: the clock, which the test moves."""

    def __init__(self, **fields: Any) -> None:
        self.house = House(**fields)
        self.now = 100.0
        self.clusters = {"a": self.house.cluster}
        service = GrpcService("a", metadata=METADATA)
        self.way = OneWay(self.clusters, service, b"/s.S/M", lambda: self.now)

    def tell(self, message: bytes) -> bool:
        if not self.way.takes():
            return False
        self.way.tell(message)
        flush()
        return True

    def accept(self) -> UpstreamH1:
        connection = self.house.accept()
        flush()
        return connection


def written(connection: UpstreamH1) -> bytes:
    assert isinstance(connection.transport, FakeTransport)
    return bytes(connection.transport.written)


def test_what_is_told_before_there_is_a_connection_waits_for_it() -> None:
    told = Told()
    assert told.way.fresh
    assert told.tell(b"one") and told.tell(b"two")
    assert not told.way.fresh
    connection = told.accept()
    head, _, body = written(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /s.S/M HTTP/1.1\r\nhost: a\r\n")
    assert b"content-type: application/grpc" in head and b"x-key: secret" in head
    assert b"x-envoy-internal: true" in head
    assert framed(b"one") + framed(b"two") in body
    assert told.tell(b"three")
    assert framed(b"three") in written(connection)
    assert told.house.count("upstream_rq_total") == 1


def test_what_waits_for_a_connection_is_bounded() -> None:
    told = Told()
    assert told.tell(bytes(MAX_WAITING_BYTES))
    assert not told.tell(b"more")


def test_what_the_host_is_slow_to_take_is_not_added_to() -> None:
    told = Told()
    told.tell(b"one")
    connection = told.accept()
    connection.pause_writing()
    assert not told.tell(b"two")
    connection.resume_writing()
    assert told.tell(b"two")


def test_a_collector_that_is_not_there_is_asked_for_once_a_second() -> None:
    told = Told()
    assert told.tell(b"one")
    told.house.fail()
    assert [told.tell(b"two") for _ in range(3)] == [False] * 3
    assert not told.house.openings
    told.now += PAUSE_S
    assert told.way.fresh and told.tell(b"two")
    assert told.house.count("upstream_rq_total") == 0
    assert told.house.openings


def test_no_host_and_no_cluster_take_nothing() -> None:
    told = Told()
    told.house.cluster.set_endpoints(model.ClusterLoadAssignment("a", ()))
    assert not told.tell(b"one")
    assert told.house.count("upstream_cx_none_healthy") == 1
    told.now += PAUSE_S
    told.clusters.clear()
    assert not told.tell(b"one")


def test_a_stream_that_the_collector_ends_is_followed_by_another() -> None:
    told = Told()
    told.tell(b"one")
    connection = told.accept()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    told.now += PAUSE_S
    assert told.way.fresh and told.tell(b"two")
    assert framed(b"two") in written(told.accept())


def test_the_last_word_ends_the_stream() -> None:
    told = Told()
    told.tell(b"one")
    connection = told.accept()
    told.way.finish()
    flush()
    assert written(connection).endswith(b"0\r\n\r\n")
    told.now += PAUSE_S
    assert told.way.fresh


def test_who_gives_up_before_there_is_a_connection_waits_no_more() -> None:
    told = Told()
    told.tell(b"one")
    told.way.finish()
    assert told.house.count("upstream_rq_pending_active") == 0


def test_a_stream_leaves_a_host_that_is_none_any_more() -> None:
    told = Told()
    told.tell(b"one")
    connection = told.accept()
    told.house.cluster.set_endpoints(assignment(endpoint(2)))
    told.now += PAUSE_S
    assert told.tell(b"two") and told.way.takes()
    assert written(connection).endswith(b"0\r\n\r\n")
    assert framed(b"two") in written(told.accept())


def test_a_stream_leaves_with_the_tls_material_and_with_the_cluster() -> None:
    told = Told()
    told.tell(b"one")
    told.accept()
    told.house.cluster.retire_connections()
    told.now += PAUSE_S
    assert told.way.takes() and told.way.fresh
    told.tell(b"two")
    told.accept()
    told.clusters.clear()
    told.house.cluster.close()
    told.now += PAUSE_S
    assert not told.way.takes()


def test_who_reads_nothing_is_not_waited_for_at_the_end() -> None:
    told = Told()
    told.tell(b"one")
    connection = told.accept()
    connection.pause_writing()
    told.way.finish()
    assert connection.active == 0
