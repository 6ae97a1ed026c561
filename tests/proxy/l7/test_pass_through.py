"""Requests and answers that come through whole: framing, keep-alive, pipelining, versions."""

from __future__ import annotations

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, Up, cluster, retries, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
DIRECT = model.Route(model.RouteMatch(prefix="/"), model.DirectResponse(200, b"hi"))
HI = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi"


def post(body: bytes, line: bytes = b"content-length: %d") -> bytes:
    length = line % len(body) if b"%" in line else line
    return b"POST / HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n" % length


def connected(play: Playbook, request: bytes = GET) -> Up:
    """The upstream of a first request, not yet answered."""
    client = play.client()
    client >> request
    up = play.accept()
    up << request
    return up


def test_one_request() -> None:
    with Playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up << GET
        up >> OK
        client << OK
        assert not client.closed and not up.closed
        assert play.logged == [(200, "", "via_upstream")]
        assert play.count("downstream_rq_2xx") == play.count("upstream_rq_200") == 1


def test_one_write_for_each_way() -> None:
    """A second small write would cost a system call."""
    with Playbook() as play:
        client = play.client()
        client >> post(b"abc") + b"abc"
        up = play.accept()
        up >> CHUNKED_OK
        client << CHUNKED_OK
        assert (client.transport.writes, up.transport.writes) == (1, 1)


def test_connections_are_used_again() -> None:
    with Playbook() as play:
        client, other = play.client(), play.client()
        client >> GET
        up = play.accept()
        for one in (client, other, client):
            up.take()
            up >> OK
            one.take()
            other >> GET
            up << GET
        up >> OK
        assert play.count("upstream_cx_total") == 1
        assert play.count("upstream_rq_total") == 4


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"", b"abc", b"def"], [b"abc", b"d", b"e", b"f"]])
def test_a_sized_body_passes_as_it_comes(pieces: list[bytes]) -> None:
    with Playbook() as play:
        client = play.client()
        client >> post(b"abcdef") + pieces[0]
        up = play.accept()
        up << post(b"abcdef") + pieces[0]
        for piece in pieces[1:]:
            client >> piece
            up << piece
        up >> OK
        client << OK


def test_a_chunked_body_is_chunked_anew() -> None:
    head = post(b"", b"transfer-encoding: chunked")
    with Playbook() as play:
        client = play.client()
        client >> head + b"1\r\na\r\n2;x\r\nbc"
        up = play.accept()
        up << head + b"3\r\nabc\r\n"
        client >> b"\r\n3\r\ndef\r\n0\r\nsum: 1\r\n\r\n"
        up << b"3\r\ndef\r\n0\r\n\r\n"
        up >> CHUNKED_OK
        client << CHUNKED_OK


def test_an_answer_in_pieces() -> None:
    with Playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        for piece in (OK[:10], OK[10:-1]):
            up >> piece
        client << OK[:-1]
        up >> OK[-1:]
        client << b"k"


def test_an_answer_that_ends_with_its_connection_is_chunked() -> None:
    with Playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up >> b"HTTP/1.1 200 OK\r\n\r\nab"
        client << b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"
        up.leave()
        client << b"0\r\n\r\n"
        assert up.closed and not client.closed
        assert play.logged == [(200, "", "via_upstream")]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    ],
)
def test_head(answer: bytes) -> None:
    """RFC 9110 section 9.3.2: lengths are told, and no body follows."""
    with Playbook() as play:
        client = play.client()
        for _ in range(2):
            client >> GET.replace(b"GET", b"HEAD")
            up = play.upstream()
            up >> answer
            client << answer
        assert not up.closed and not client.closed


def test_head_of_a_direct_answer() -> None:
    with Playbook(DIRECT) as play:
        client = play.client()
        client >> GET.replace(b"GET", b"HEAD") + GET
        client << HI[:-2] + HI


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_statuses_without_a_body(status: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\n\r\n" % status
    with Playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up >> answer
        client << answer
        client >> GET
        up >> OK
        client << OK


def test_interim_answers_of_the_upstream_end_here() -> None:
    with Playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up >> b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        up >> OK
        client << OK


class TestExpect:
    REQUEST = post(b"abc", b"expect: 100-continue\r\ncontent-length: 3")
    CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

    def test_we_say_continue_ourselves(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> self.REQUEST
            client << self.CONTINUE
            up = play.accept()
            up << post(b"abc")
            client >> b"abc"
            up << b"abc"
            up >> OK
            client << OK
            assert play.count("downstream_rq_active") == 0

    def test_not_when_the_body_came_along(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> self.REQUEST + b"abc"
            up = play.accept()
            up << post(b"abc") + b"abc"
            up >> OK
            client << OK


class TestClosing:
    def test_the_client_wants_it(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            up = play.accept()
            up << GET
            up >> OK
            client << OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            assert client.closed and not up.closed

    def test_the_upstream_wants_it(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            client << OK
            assert up.closed and not client.closed
            client >> GET
            play.accept() >> OK
            client << OK

    def test_the_client_that_stays_is_cut_off(self) -> None:
        """Closing waits for the client so that it reads the answer, but not for ever."""
        with Playbook(delayed_close_timeout_s=1.0) as play:
            client = play.client()
            client >> b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            play.accept() >> OK
            assert client.transport.wrote_eof and not client.transport.lost
            client >> GET  # too late: nobody reads it
            play.tick(0.9)
            assert not client.transport.lost
            play.tick(0.2)
            assert client.transport.lost
            assert play.count("downstream_rq_total") == 1

    def test_max_requests_of_a_connection(self) -> None:
        with Playbook(max_requests_per_connection=2) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK
            client << OK
            client >> GET
            up >> OK
            client << OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            assert client.closed


class TestHttp10:
    def test_it_closes(self) -> None:
        with Playbook(accept_http_10=True) as play:
            client = play.client()
            client >> b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"
            up = play.accept()
            up << GET
            up >> CHUNKED_OK
            assert client.take().endswith(b"\r\nconnection: close\r\n\r\nok")
            assert client.closed

    def test_keep_alive(self) -> None:
        with Playbook(accept_http_10=True) as play:
            client = play.client()
            client >> b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"
            play.accept() >> OK
            assert b"\r\nconnection: keep-alive\r\n" in client.take()
            assert not client.closed

    def test_refused_unless_allowed(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"
            assert client.take().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
            assert client.closed


class TestPipelining:
    def test_answers_leave_in_order(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET + GET.replace(b"/ ", b"/2 ") + GET.replace(b"/ ", b"/3 ")
            up = play.accept()
            for path in (b"/ ", b"/2 ", b"/3 "):
                up << GET.replace(b"/ ", path)
                client << b""
                up >> OK
                client << OK
            assert play.count("upstream_cx_total") == 1

    def test_many_direct_answers_need_no_recursion(self) -> None:
        with Playbook(DIRECT) as play:
            client = play.client()
            client >> GET * 3000
            assert client.take() == HI * 3000
            assert client.transport.writes < 50
            assert len(play.logged) == 3000

    def test_direct_and_forwarded(self) -> None:
        fixed = model.Route(model.RouteMatch(prefix="/d"), model.DirectResponse(200, b"hi"))
        with Playbook(fixed, route()) as play:
            client = play.client()
            client >> GET.replace(b"/ ", b"/d ") + GET + GET.replace(b"/ ", b"/d ")
            client << HI
            play.accept() >> OK
            client << OK + HI

    def test_garbage_behind_a_request(self) -> None:
        """The good one is answered; then the connection is at its end."""
        with Playbook() as play:
            client = play.client()
            client >> GET + b"garbage\r\n\r\n"
            play.accept() >> OK
            came = client.take()
            assert came.startswith(OK) and came.count(b"HTTP/1.1 ") == 2
            assert b"HTTP/1.1 400 Bad Request" in came
            assert client.closed

    def test_nothing_is_read_behind_the_last_one(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + GET
            play.accept() >> OK
            assert client.take().count(b"HTTP/1.1 ") == 1
            assert play.count("downstream_rq_total") == 1


def test_the_answer_comes_before_the_request_is_whole() -> None:
    """The rest of the request is of no more use: both connections close (RFC 9112 section 9.3)."""
    with Playbook() as play:
        client = play.client()
        client >> post(b"abc") + b"a"
        up = play.accept()
        up >> OK
        client << OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert client.closed and up.closed
        client >> b"bc"
        up << post(b"abc") + b"a"


def test_a_body_is_kept_while_connecting() -> None:
    with Playbook() as play:
        client = play.client()
        client >> post(b"abcdef") + b"ab"
        client >> b"cd"
        client >> b"ef"
        up = play.accept()
        up << post(b"abcdef") + b"abcdef"
        up >> OK
        client << OK


def test_bytes_are_counted() -> None:
    policy = retries("5xx")
    with Playbook(route(retry=policy), clusters=[cluster()]) as play:
        request = post(b"abc") + b"abc"
        client = play.client()
        client >> request
        play.accept() >> OK
        assert play.count("downstream_cx_rx_bytes_total") == len(request)
        assert play.count("upstream_cx_rx_bytes_total") == len(OK)


def test_the_request_goes_on_while_it_is_answered() -> None:
    """An upstream may answer while it reads: an echo, a streaming upload."""
    begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
    with Playbook() as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc"
        up = play.accept()
        up.take()
        up >> begun + b"\r\n3\r\nabc\r\n"
        client << begun + b"connection: close\r\n\r\n3\r\nabc\r\n"
        client >> b"def"
        up << b"def"
        up >> b"3\r\ndef\r\n0\r\n\r\n"
        client << b"3\r\ndef\r\n0\r\n\r\n"
        assert play.logged == [(200, "", "via_upstream")]


def test_a_chunked_request_goes_on_while_it_is_answered() -> None:
    with Playbook() as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
        up = play.accept()
        up.take()
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc"
        client.take()
        client >> b"3\r\ndef\r\n0\r\n\r\n"
        up << b"3\r\ndef\r\n0\r\n\r\n"
        up >> b"def"
        client << b"def"
