"""What results of health checks mean for a host, and when the next check comes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from proxy.config import model
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.stats import Stats
from proxy.upstream.events import health_line, outlier_line
from proxy.upstream.health_check import CheckStats, HealthEvent, HostChecker, Surroundings
from proxy.upstream.health_judge import (
    contains,
    grpc_request,
    judge_grpc,
    judge_http,
)
from proxy.upstream.host import Host
from proxy.upstream.outlier import CONSECUTIVE_5XX, SUCCESS_RATE, Average, OutlierEvent
from tests.support.hosts import a_host

HTTP = model.HttpCheck("/ready")


class Checked:
    """A host as the checker sees it; `changes` are the times its health was looked at anew."""

    def __init__(self, traffic: bool = True, **fields: Any) -> None:
        settings: dict[str, Any] = {
            "check": HTTP,
            "timeout_s": 1.0,
            "interval_s": 10.0,
            "unhealthy_threshold": 3,
            "healthy_threshold": 2,
            "unhealthy_interval_s": 20.0,
            "unhealthy_edge_interval_s": 21.0,
            "healthy_edge_interval_s": 11.0,
        }
        self.stats = Stats()
        self.changes = 0
        self.events: list[HealthEvent] = []
        self.successes = 0
        self.host = a_host(1)
        self.host.failed = True
        around = Surroundings(
            config=model.HealthCheck(**{**settings, **fields}),
            stats=CheckStats(self.stats, "c."),
            random=Random(1),
            has_traffic=lambda: traffic,
            on_change=self._changed,
            on_success=self._succeeded,
            log=self.events.append,
        )
        self.checker = HostChecker(self.host, around)

    def _changed(self, _: Host) -> None:
        self.changes += 1

    def _succeeded(self, _: Host) -> None:
        self.successes += 1

    def well(self) -> Checked:
        self.checker.on_good(False)
        self.changes = 0
        self.events.clear()
        return self

    def count(self, name: str) -> int:
        found = self.stats.counters.get(f"c.health_check.{name}")
        return (found or self.stats.gauges[f"c.health_check.{name}"]).value


def test_the_first_good_result_is_enough() -> None:
    one = Checked(healthy_threshold=5)
    assert not one.host.healthy
    assert one.checker.on_good(False) == 10.0
    assert one.host.healthy and one.changes == 1
    assert [(e.kind, e.first) for e in one.events] == [("add_healthy_event", True)]


def test_a_bad_first_result_leaves_it_ill() -> None:
    one = Checked(healthy_threshold=2)
    assert one.checker.on_bad("NETWORK") == 20.0
    assert [(e.kind, e.failure) for e in one.events] == [("health_check_failure_event", "NETWORK")]
    assert one.checker.on_good(False) == 11.0
    assert not one.host.healthy
    assert one.checker.on_good(False) == 10.0
    assert one.host.healthy and one.count("healthy") == 1


def test_failures_of_the_network_count_to_the_threshold() -> None:
    one = Checked().well()
    assert [one.checker.on_bad("NETWORK_TIMEOUT") for _ in range(3)] == [21.0, 21.0, 20.0]
    assert not one.host.healthy and one.host.timed_out and one.changes == 1
    assert one.count("failure") == one.count("network_failure") == 3
    assert one.count("healthy") == 0


def test_a_wrong_answer_is_believed_at_once_unless_it_is_retriable() -> None:
    one, other = Checked().well(), Checked().well()
    one.checker.on_bad("ACTIVE")
    other.checker.on_bad("ACTIVE", retriable=True)
    assert not one.host.healthy and other.host.healthy


def test_a_good_result_between_begins_the_row_anew() -> None:
    one = Checked().well()
    for _ in range(4):
        one.checker.on_bad("NETWORK")
        one.checker.on_bad("NETWORK")
        one.checker.on_good(False)
    assert one.host.healthy and one.changes == 0 and one.successes == 5


def test_an_answer_that_says_so_fails_the_host_at_once() -> None:
    one = Checked().well()
    one.checker.fail_at_once()
    assert not one.host.healthy and one.host.excluded and one.count("passive_failure") == 1
    one.checker.on_good(False)
    one.checker.on_good(False)
    assert one.host.healthy and not one.host.excluded


def test_degraded_and_no_longer() -> None:
    one = Checked().well()
    one.checker.on_good(True)
    assert one.host.degraded and not one.host.healthy and one.count("degraded") == 1
    one.checker.on_good(False)
    assert one.host.healthy and one.changes == 2 and one.count("degraded") == 0
    assert [e.kind for e in one.events] == ["degraded_healthy_host", "no_longer_degraded_host"]


def test_an_unchecked_host_is_counted_from_its_first_result() -> None:
    one = Checked()
    one.host.unchecked = True
    assert one.host.excluded
    one.checker.on_bad("ACTIVE")
    assert not one.host.excluded and one.changes == 1


def test_always_log() -> None:
    one = Checked(always_log_success=True, always_log_failures=True).well()
    one.checker.on_good(False)
    one.checker.on_bad("NETWORK")
    assert [e.kind for e in one.events] == [
        "successful_health_check_event",
        "health_check_failure_event",
    ]


def test_leaving_takes_it_out_of_the_gauges() -> None:
    one = Checked().well()
    one.checker.on_good(True)
    one.checker.leave()
    assert (one.count("healthy"), one.count("degraded")) == (0, 0)


@pytest.mark.parametrize(
    "good, pending, expected_s", [(True, False, 5.0), (True, True, 60.0), (False, False, 60.0)]
)
def test_without_traffic(good: bool, pending: bool, expected_s: float) -> None:
    one = Checked(traffic=False, no_traffic_healthy_interval_s=5.0)
    assert one.checker.interval_s(good, pending) == expected_s


def test_jitter() -> None:
    one = Checked(interval_jitter_s=2.0, interval_jitter_percent=50, initial_jitter_s=3.0)
    waits = [one.checker.interval_s(True, False) for _ in range(500)]
    assert 10.0 <= min(waits) < 11.0 and 16.0 < max(waits) < 17.0
    first = [one.checker.first_wait_s() for _ in range(500)]
    assert 0.0 < min(first) < 0.2 and 2.8 < max(first) < 3.0
    assert Checked().checker.first_wait_s() == 0.0


# --------------------------------------------------------------------------- what an answer means


def answer(status: int, **headers: str) -> Response:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Response(status, Headers.of(pairs))


@pytest.mark.parametrize(
    "body, segments, found",
    [
        (b"all is well", (b"all", b"well"), True),
        (b"all is well", (b"well", b"all"), False),
        (b"aab", (b"a", b"a", b"b"), True),
        (b"ab", (b"a", b"a"), False),
        (b"", (), True),
    ],
)
def test_payloads(body: bytes, segments: tuple[bytes, ...], found: bool) -> None:
    assert contains(body, segments) is found


@pytest.mark.parametrize(
    "fields, response, body, finding",
    [
        ({}, answer(200), b"", "good"),
        ({}, answer(204), b"", "wrong"),
        ({}, answer(200, x_envoy_degraded="1"), b"", "degraded"),
        ({"receive": (b"ok",)}, answer(200), b"all ok", "good"),
        ({"receive": (b"ok",)}, answer(200), b"all bad", "wrong"),
        ({"expected_statuses": ((200, 300),)}, answer(299), b"", "good"),
        ({"expected_statuses": ((200, 300),)}, answer(300), b"", "wrong"),
        ({"retriable_statuses": ((500, 600),)}, answer(503), b"", "retriable"),
    ],
)
def test_http(fields: dict[str, Any], response: Response, body: bytes, finding: str) -> None:
    check = model.HttpCheck("/", **fields)
    assert judge_http(check, response, body, None).finding == finding


def test_http_of_another_service() -> None:
    named = answer(200, x_envoy_upstream_healthchecked_cluster="cart-1")
    assert judge_http(HTTP, named, b"", lambda name: name == b"cart-1").finding == "good"
    assert judge_http(HTTP, answer(200), b"", lambda name: name == b"cart-1").finding == "wrong"


def test_only_a_bad_answer_fails_at_once() -> None:
    header = {"x_envoy_immediate_health_check_fail": "true"}
    assert judge_http(HTTP, answer(503, **header), b"", None).at_once
    assert not judge_http(HTTP, answer(200, **header), b"", None).at_once
    retriable = model.HttpCheck("/", retriable_statuses=((503, 504),))
    found = judge_http(retriable, answer(503, **header), b"", None)
    assert (found.finding, found.at_once) == ("retriable", True)


GRPC = answer(200, content_type="application/grpc")
OK = Headers.of([(b"grpc-status", b"0")])


@pytest.mark.parametrize(
    "head, body, trailers, finding",
    [
        (GRPC, b"\0\0\0\0\x02\x08\x01", OK, "good"),
        (GRPC, b"\0\0\0\0\x02\x08\x02", OK, "wrong"),
        (GRPC, b"\0\0\0\0\0", OK, "wrong"),
        (GRPC, b"\0\0\0\0\x02\x08\x01", Headers.of([(b"grpc-status", b"14")]), "wrong"),
        (GRPC, b"\0\0\0\0\x02\x08\x01", None, "wrong"),
        (GRPC, b"\x01\0\0\0\x02\x08\x01", OK, "wrong"),
        (GRPC, b"\0\0\0\0\x03\x08\x01\x08", OK, "wrong"),
        (GRPC, b"\0\0\0\0\x01\x08", OK, "wrong"),
        (GRPC, b"\0\0\0\0\x03\x08\x01", OK, "wrong"),
        (GRPC, b"", OK, "wrong"),
        (answer(503), b"", None, "wrong"),
        (answer(200, content_type="text/html"), b"\0\0\0\0\x02\x08\x01", OK, "wrong"),
    ],
)
def test_grpc(head: Response, body: bytes, trailers: Headers | None, finding: str) -> None:
    assert judge_grpc(head, body, trailers).finding == finding


def test_grpc_request() -> None:
    assert grpc_request(model.GrpcCheck()) == b"\0\0\0\0\0"
    assert grpc_request(model.GrpcCheck("shop")) == b"\0\0\0\0\x06\x0a\x04shop"
    long = grpc_request(model.GrpcCheck("s" * 300))
    assert long[5:8] == b"\x0a\xac\x02" and len(long) == 5 + 3 + 300


# --------------------------------------------------------------------------- events


def test_health_events_as_json() -> None:
    event = HealthEvent(a_host(1), "eject_unhealthy_event", "ACTIVE", status=503)
    line = json.loads(health_line(event, HTTP, "c", 1000.5))
    assert line["health_checker_type"] == "HTTP" and line["cluster_name"] == "c"
    assert line["eject_unhealthy_event"] == {"failure_type": "ACTIVE", "http_status_code": 503}
    assert line["timestamp"] == "1970-01-01T00:16:40.500Z"
    assert line["host"]["socket_address"]["address"] == "10.0.0.1"


def test_outlier_events_as_json() -> None:
    host = a_host(1)
    out = json.loads(outlier_line(OutlierEvent(host, CONSECUTIVE_5XX, True, 2, 3.9), "c", 0.0))
    assert out["type"] == "CONSECUTIVE_5XX" and out["action"] == "EJECT" and out["enforced"]
    assert (out["secs_since_last_action"], out["num_ejections"]) == ("3", 2)
    rated = OutlierEvent(host, SUCCESS_RATE, True, 1, None, 50.0, Average(90.0, 52.4))
    assert json.loads(outlier_line(rated, "c", 0.0))["eject_success_rate_event"] == {
        "host_success_rate": 50,
        "cluster_average_success_rate": 90,
        "cluster_success_rate_ejection_threshold": 52,
    }
    back = json.loads(outlier_line(OutlierEvent(host, None, False, 1, 30.0), "c", 0.0))
    assert back["action"] == "UNEJECT" and "eject_consecutive_event" not in back
