"""Redirects that the proxy follows itself: which ones, and what the second leg is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.config import model
from proxy.l7.stream import OF_ONE_LEG, Stream
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ASK = b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n"


def found(location: bytes, status: int = 302, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d Found\r\nlocation: %b\r\n%bcontent-length: 0\r\n\r\n"
    return head % (status, location, more)


def play(**policy: Any) -> Playbook:
    redirects = model.InternalRedirectPolicy(**policy)
    one = replace(route("/one", internal_redirect=redirects), name="one")
    two = replace(route("/two", "b", internal_redirect=redirects), name="two")
    table = routes(one, two)
    return Playbook(config=snapshot([listener(table)], [cluster(), cluster("b")]))


def test_the_second_leg_goes_by_its_own_route_with_the_first_url_told() -> None:
    with play() as it:
        client = it.client()
        client >> ASK
        it.accept() >> found(b"http://b.test:81/two?q#part")
        it.tick(0.1)
        up = it.accept()
        assert up.connection.cluster.name == "b"
        url = b"x-envoy-original-url: http://a/one\r\n"
        up << b"GET /two?q HTTP/1.1\r\nhost: b.test:81\r\n" + url + b"\r\n"
        up >> OK
        client << OK
        assert it.logged == [(302, "", "internal_redirect"), (200, "", "via_upstream")]
        assert it.count("upstream_internal_redirect_succeeded_total") == 1
        assert it.count("downstream_rq_active") == 0


def test_a_body_is_sent_again() -> None:
    with play() as it:
        client = it.client()
        client >> b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
        it.accept() >> found(b"http://a/two")
        it.tick(0.1)
        up = it.accept()
        came = up.take()
        assert came.startswith(b"POST /two ") and came.endswith(b"\r\n\r\nhello")
        up >> OK
        client << OK


def test_see_other_makes_a_get() -> None:
    with play(response_codes=frozenset((303,))) as it:
        client = it.client()
        client >> b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
        it.accept() >> found(b"http://a/two", 303)
        it.tick(0.1)
        up = it.accept()
        came = up.take()
        assert came.startswith(b"GET /two ") and b"content-length" not in came
        up >> OK
        client << OK


def test_headers_of_the_answer_are_copied_and_those_that_it_lacks_go() -> None:
    with play(headers_to_copy=("x-copy", "x-gone")) as it:
        client = it.client()
        client >> ASK[:-2] + b"x-copy: old\r\nx-gone: old\r\n\r\n"
        it.accept() >> found(b"http://a/two", more=b"x-copy: 1\r\nx-copy: 2\r\n")
        it.tick(0.1)
        up = it.accept()
        came = up.take()
        assert b"x-copy: 1\r\nx-copy: 2\r\n" in came and b"old" not in came
        up >> OK
        client << OK


@pytest.mark.parametrize(
    "location, policy, counter",
    [
        (b"/two", {}, "bad_location"),
        (b"ftp://a/two", {}, "bad_location"),
        (b"", {}, "bad_location"),
        (b"https://a/two", {}, "unsafe_scheme"),
        (b"https://a/two", {"allow_cross_scheme": True, "safe_cross_scheme": True}, "predicate"),
        (b"http://a/three", {}, "no_route"),
        (b"http://a/two", {"max_internal_redirects": 0}, "too_many_redirects"),
        (b"http://a/two", {"allowed_routes": frozenset(("one",))}, "predicate"),
    ],
)
def test_what_may_not_be_followed_reaches_the_client(
    location: bytes, policy: dict[str, Any], counter: str
) -> None:
    answer = found(location)
    with play(**policy) as it:
        client = it.client()
        client >> ASK
        it.accept() >> answer
        client << answer
        assert it.count(f"passthrough_internal_redirect_{counter}") == 1
        assert it.count("upstream_internal_redirect_failed_total") == 1


def test_a_request_that_is_not_whole_is_not_sent_on() -> None:
    with play() as it:
        client = it.client()
        client >> b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe"
        up = it.accept()
        up >> found(b"http://a/two")
        assert client.take().startswith(b"HTTP/1.1 302 ")
        client >> b"llo"


def test_no_route_is_taken_twice() -> None:
    with play(max_internal_redirects=9, not_previous_routes=True) as it:
        client = it.client()
        client >> ASK
        first = it.accept()
        first >> found(b"http://a/two")
        it.tick(0.1)
        second = it.accept()
        second >> found(b"http://a/one")
        it.tick(0.1)
        first >> found(b"http://a/two")
        assert client.take().startswith(b"HTTP/1.1 302 ")
        assert it.count("passthrough_internal_redirect_predicate") == 1


def test_the_client_may_leave_on_the_second_leg() -> None:
    with play() as it:
        client = it.client()
        client >> ASK
        it.accept() >> found(b"http://a/two")
        client.reset()
        it.tick(0.1)
        assert it.accept().take() == b""


def test_each_leg_counts_the_body_as_received() -> None:
    """Envoy: what is handed to the second leg is received by it, too."""
    with play() as it:
        client = it.client()
        client >> b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
        it.accept() >> found(b"http://a/two")
        it.tick(0.1)
        it.accept() >> OK
        client << OK
        assert it.received == [5, 10]


def test_every_fact_of_a_stream_is_of_one_leg_or_of_all() -> None:
    of_all_legs = {"id", "down", "manager", "request", "breaker", "route", "bytes_received"}
    of_all_legs |= {"trailers", "redirects", "followed", "_filter_state"}
    slots = {"down", "manager", "request", "breaker", "started", "has_extras"}
    slots |= {"up", "last_up", "dialing"}
    defaults = {name for name in Stream.__annotations__ if name in vars(Stream)}
    plain = {name for name, value in vars(Stream).items() if isinstance(value, int | float | str)}
    facts = slots | defaults | {name for name in plain if not name.startswith("__")}
    assert set(OF_ONE_LEG) == facts - of_all_legs
    assert len(set(OF_ONE_LEG)) == len(OF_ONE_LEG)
