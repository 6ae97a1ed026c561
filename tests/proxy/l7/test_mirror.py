"""Copies of requests: what they are, and that nothing which becomes of them matters."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from proxy.l7.mirror import shadow_host
from proxy.upstream.asking import local_address
from tests.support.h2_play import HTTP2, H2Up
from tests.support.playbook import Playbook, Up, cluster, listener, route, routes, snapshot

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n"


def play(limit_bytes: int = 1 << 20, timeout_s: float = 3.0, **policy: Any) -> Playbook:
    one = route(mirrors=(model.MirrorPolicy("b", **policy),), timeout_s=timeout_s)
    copies = cluster("b", per_connection_buffer_limit_bytes=limit_bytes)
    return Playbook(config=snapshot([listener(routes(one))], [cluster(), copies]))


def both(it: Playbook) -> tuple[Up, Up]:
    up, copy = it.accept(), it.accept()
    assert (up.connection.cluster.name, copy.connection.cluster.name) == ("a", "b")
    return up, copy


def test_a_copy_goes_out_as_the_request_comes_in() -> None:
    with play() as it:
        client = it.client()
        client >> POST + b"abc"
        up, copy = both(it)
        added = b"x-envoy-internal: true\r\nx-forwarded-for: %b\r\n" % local_address()
        copy << (b"POST / HTTP/1.1\r\nhost: a-shadow\r\ncontent-length: 6\r\n" + added + b"\r\nabc")
        client >> b"def"
        copy << b"def"
        up << POST + b"abcdef"
        up >> OK
        client << OK
        copy >> b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
        assert it.count("cluster.b.upstream_rq_500") == 1
        assert it.logged == [(200, "", "via_upstream")]


@pytest.mark.parametrize(
    "host, copied",
    [
        (b"h", b"h-shadow"),
        (b"h:80", b"h-shadow:80"),
        (b"[::1]:80", b"[::1]-shadow:80"),
        (b"[::1]", b"[::1]-shadow"),
    ],
)
def test_hosts(host: bytes, copied: bytes) -> None:
    assert shadow_host(host) == copied


def test_a_copy_may_have_another_host_and_other_headers() -> None:
    option = model.HeaderValueOption("x-more", "%REQ(:METHOD)%")
    with play(host_rewrite="copy.test", mutations=("x-gone", option)) as it:
        client = it.client()
        client >> b"GET / HTTP/1.1\r\nhost: a\r\nx-gone: 1\r\n\r\n"
        up, copy = both(it)
        came = copy.take()
        assert b"host: copy.test\r\n" in came and b"x-more: GET\r\n" in came
        assert b"x-gone" not in came and b"x-gone: 1\r\n" in up.take()
        up >> OK
        client << OK
        copy >> OK


def test_a_copy_whose_host_is_lost_harms_nobody() -> None:
    with play() as it:
        client = it.client()
        client >> b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        up = it.accept()
        it.opening().fail()
        up >> OK
        client << OK
        assert it.count("cluster.b.upstream_rq_503") == 1


def test_a_copy_that_nobody_takes_is_given_up() -> None:
    with play(limit_bytes=4) as it:
        client = it.client()
        client >> POST + b"abcdef"
        up = it.accept()
        up >> OK
        client << OK
        while it.openings:  # the connection that it waited for comes too late
            assert it.accept().take() == b""


def test_a_copy_ends_with_the_routes_timeout() -> None:
    with play(timeout_s=1.0) as it:
        client = it.client()
        client >> b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        up, copy = both(it)
        up >> OK
        client << OK
        it.tick(1.1)
        assert copy.closed
        assert it.count("cluster.b.upstream_rq_timeout") == 1


def test_a_copy_of_what_never_becomes_whole_is_cut_off() -> None:
    with play() as it:
        client = it.client()
        client >> POST + b"abc"
        _, copy = both(it)
        client.reset()
        assert copy.closed


def test_a_copy_that_was_answered_is_not_late() -> None:
    with play(timeout_s=1.0) as it:
        client = it.client()
        client >> b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        up, copy = both(it)
        copy >> OK
        up >> OK
        client << OK
        it.tick(1.1)
        assert not copy.closed
        assert it.count("cluster.b.upstream_rq_timeout") == 0


def test_a_copy_that_is_taken_too_slowly_holds_up_its_request() -> None:
    """Even when the request's own host has caught up."""
    one = route(mirrors=(model.MirrorPolicy("b"),))
    small = [cluster(name, per_connection_buffer_limit_bytes=1000) for name in ("a", "b")]
    with Playbook(config=snapshot([listener(routes(one))], small)) as it:
        client = it.client()
        client >> POST.replace(b"6", b"3003")
        up, copy = both(it)
        up.stop_reading()
        copy.stop_reading()
        client >> b"x" * 3000
        up.read_on()
        assert not client.transport.reading
        copy.read_on()
        assert client.transport.reading
        client >> b"end"
        assert up.take().endswith(b"xend") and copy.take().endswith(b"xend")
        up >> OK
        client << OK


def test_a_copy_over_http2_that_is_given_up_counts_once() -> None:
    one = route(mirrors=(model.MirrorPolicy("b"),))
    clusters = [cluster(), cluster("b", http=HTTP2)]
    with Playbook(config=snapshot([listener(routes(one))], clusters)) as it:
        client = it.client()
        client >> POST + b"abc"
        it.accept()
        copy = H2Up(it)
        (stream_id,) = copy.asked()
        client.reset()
        assert copy.asked() == [] and copy.streams[stream_id].reset == 2  # INTERNAL_ERROR
        assert it.count("cluster.b.upstream_rq_tx_reset") == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
    ],
)
def test_no_copy_of_what_leaves_http(head: bytes) -> None:
    copied = (model.MirrorPolicy("b"),)
    tunnels = model.Route(model.RouteMatch(connect=True), model.RouteAction("a", mirrors=copied))
    upgrades = (model.ManagerUpgrade("websocket"), model.ManagerUpgrade("connect"))
    table = listener(routes(tunnels, route(mirrors=copied)), upgrades=upgrades)
    with Playbook(config=snapshot([table], [cluster(), cluster("b")])) as it:
        it.client() >> head
        assert [one.cluster.name for one in it.openings] == ["a"]


def test_no_cluster_no_copy() -> None:
    one = route(mirrors=(model.MirrorPolicy("nobody"), model.MirrorPolicy(cluster_header="x")))
    with Playbook(one) as it:
        client = it.client()
        client >> b"GET / HTTP/1.1\r\nhost: a\r\nx: nobody\r\n\r\n"
        it.accept() >> OK
        client << OK
        assert not it.openings
