"""The proxy's own requests to a cluster: told once, however it ends."""

from __future__ import annotations

from typing import Any

from proxy.config import model
from proxy.http.headers import Headers
from proxy.http.inquiry import Inquiry, Outcome, Repeats
from proxy.http.message import Request
from proxy.outbox import flush
from proxy.upstream.asking import Asker, Question
from proxy.upstream.http1 import UpstreamH1
from tests.support.fake_loop import FakeTransport
from tests.support.hosts import House

RETRIED = Repeats(2, frozenset({"5xx", "reset", "connect-failure"}), 0.01, 0.02)


class Timer:
    def __init__(self, after_s: float, action: Any) -> None:
        self.after_s, self.action, self.cancelled = after_s, action, False

    def cancel(self) -> None:
        self.cancelled = True


class Desk:
    """Asks a house's cluster; `told` is what came of it."""

    def __init__(self, **fields: Any) -> None:
        self.house = House(**fields)
        self.told: list[Outcome] = []
        self.timers: list[Timer] = []
        self.asker = Asker({"a": self.house.cluster}, self.call_later)

    def call_later(self, after_s: float, action: Any) -> Timer:
        self.timers.append(Timer(after_s, action))
        return self.timers[-1]

    def ask(self, cluster: str = "a", body: bytes = b"", **fields: Any) -> Question:
        head = Request(b"GET", b"/keys", b"k.test", Headers(), len(body))
        asking = self.asker.ask(Inquiry(cluster, head, body, **fields), self.told.append)
        assert isinstance(asking, Question)
        return asking

    def accept(self) -> UpstreamH1:
        connection = self.house.accept()
        flush()
        return connection

    def fire(self) -> None:
        """The timer that was set last."""
        timer = self.timers[-1]
        assert not timer.cancelled
        timer.action()


def written(connection: UpstreamH1) -> bytes:
    assert isinstance(connection.transport, FakeTransport)
    return bytes(connection.transport.written)


def answer(connection: UpstreamH1, status: int = 200, body: bytes = b"hello") -> None:
    head = b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    connection.data_received(head + body)


def test_an_answer_is_told_with_its_body() -> None:
    desk = Desk()
    desk.ask(body=b"question", timeout_s=1.5)
    connection = desk.accept()
    sent = written(connection)
    assert sent.startswith(b"GET /keys HTTP/1.1\r\nhost: k.test\r\n") and sent.endswith(b"question")
    assert b"x-envoy-internal: true" in sent and b"x-envoy-expected-rq-timeout-ms: 1500" in sent
    assert b"x-forwarded-for: " in sent
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
    assert desk.told == []
    connection.data_received(b"llo")
    (outcome,) = desk.told
    assert (outcome.status, outcome.body, outcome.failure) == (200, b"hello", "")
    assert desk.timers[0].cancelled
    assert desk.house.count("upstream_rq_total") == desk.house.count("upstream_rq_200") == 1


def test_it_may_keep_quiet_about_itself() -> None:
    desk = Desk()
    desk.ask(tells=False, timeout_s=1.0)
    sent = written(desk.accept())
    assert b"x-envoy" not in sent and b"x-forwarded-for" not in sent


def test_a_cluster_that_is_not_there() -> None:
    desk = Desk()
    desk.ask("b")
    assert desk.told[0].status == 503 and desk.told[0].failure == "there is no cluster `b`"


def test_no_host() -> None:
    desk = Desk()
    desk.house.cluster.set_endpoints(model.ClusterLoadAssignment("a", ()))
    desk.ask()
    assert desk.told[0].failure == "no healthy upstream"


def test_time_is_up_and_the_connection_let_go() -> None:
    desk = Desk()
    desk.ask(timeout_s=1.0)
    connection = desk.accept()
    desk.fire()
    assert (desk.told[0].status, desk.told[0].failure) == (504, "timeout")
    answer(connection)
    assert len(desk.told) == 1
    assert desk.house.count("upstream_rq_timeout") == 1


def test_time_is_up_while_it_waits_for_a_connection() -> None:
    desk = Desk()
    desk.ask(timeout_s=1.0)
    desk.fire()
    assert desk.told[0].failure == "timeout"
    connection = desk.accept()
    assert written(connection) == b""


def test_nobody_is_told_after_cancel() -> None:
    desk = Desk()
    asking = desk.ask(timeout_s=1.0)
    connection = desk.accept()
    asking.cancel()
    asking.cancel()
    answer(connection)
    assert desk.told == [] and desk.timers[0].cancelled


def test_too_long_an_answer_is_none() -> None:
    desk = Desk()
    desk.ask(max_answer_bytes=4)
    answer(desk.accept())
    assert desk.told[0].status == 503 and "more than 4 bytes" in desk.told[0].failure


def test_a_failure_is_followed_by_another_attempt() -> None:
    desk = Desk()
    desk.ask(repeats=RETRIED)
    answer(desk.accept(), 503)
    assert desk.told == [] and 0 <= desk.timers[-1].after_s < 0.02
    desk.fire()
    flush()
    (connection,) = desk.house.hosts[0].connections
    assert isinstance(connection, UpstreamH1)
    answer(connection)
    assert desk.told[0].body == b"hello"
    assert desk.house.count("upstream_rq_retry") == 1
    assert desk.house.count("upstream_rq_retry_success") == 1


def test_a_lost_connection_is_followed_by_another_until_there_were_enough() -> None:
    desk = Desk()
    desk.ask(repeats=RETRIED)
    for _ in range(2):
        desk.house.fail()
        desk.fire()
    desk.house.fail()
    assert desk.told[0].failure == "connection failure: refused"
    assert desk.house.count("upstream_rq_retry") == 2
    assert desk.house.count("upstream_rq_retry_limit_exceeded") == 1


def test_cancel_during_a_back_off() -> None:
    desk = Desk()
    asking = desk.ask(repeats=RETRIED)
    desk.house.fail()
    asking.cancel()
    assert desk.timers[-1].cancelled and desk.told == []
