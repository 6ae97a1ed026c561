"""What an end says may not become part of how the proxy speaks to the other one."""

from __future__ import annotations

import pytest

from proxy.config import model
from tests.support.h2_play import H2Client
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.mark.parametrize(
    "location",
    [b"http://a/x HTTP/1.1", b"http://a b/x", b"http://a/\tx", b"http://a/\xe4", b"http://a\x80/"],
)
def test_a_redirect_that_would_break_the_request_line_is_the_clients(location: bytes) -> None:
    redirect = model.InternalRedirectPolicy(response_codes=frozenset((302,)))
    with Playbook(route(internal_redirect=redirect)) as play:
        client = play.client() >> GET
        up = play.accept() << GET
        answer = b"HTTP/1.1 302 Found\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % location
        up >> answer
        up << b""
        client << answer


def test_a_length_among_the_trailers_of_http2_ends_the_connection() -> None:
    http = model.HttpProtocolOptions(http1=model.Http1Options(enable_trailers=True))
    inside = listener(routes(route()), codec="HTTP2")
    with Playbook(config=snapshot([inside], [cluster(http=http)])) as play:
        client = H2Client(play)
        stream = client.ask("/", b"hello", "POST", end=False)
        client.wire.send_headers(stream, [("x-a", "1"), ("content-length", "7")], end_stream=True)
        client.say()
        assert client.peer.closed
        assert play.logged == [(0, "DPE", "http2.violation.of.messaging.rule")]
        play.opening().fail()
