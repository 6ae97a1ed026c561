"""What goes wrong on either side: each request is answered and counted once all the same."""

from __future__ import annotations

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, cluster, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BEFORE = "upstream_reset_before_response_started"
AFTER = "upstream_reset_after_response_started"


class TestNobodyThere:
    def test_no_route(self) -> None:
        with Playbook(route("/only")) as play:
            client = play.client()
            client >> GET
            client << b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
            assert play.logged == [(404, "NR", "route_not_found")]

    def test_no_cluster(self) -> None:
        with Playbook(route("/", "missing")) as play:
            client = play.client()
            client >> GET
            client << b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
            assert play.logged == [(503, "NC", "cluster_not_found")]

    def test_no_host(self) -> None:
        with Playbook(clusters=[cluster(hosts=0)]) as play:
            client = play.client()
            client >> GET
            assert client.take().endswith(b"\r\n\r\nno healthy upstream")
            assert play.logged == [(503, "UH", "no_healthy_upstream")]
            assert play.count("upstream_cx_none_healthy") == 1

    @pytest.mark.parametrize(
        "timed_out, detail",
        [
            (False, f"{BEFORE}{{remote_connection_failure|refused}}"),
            (True, f"{BEFORE}{{connection_timeout}}"),
        ],
    )
    def test_no_connection(self, timed_out: bool, detail: str) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            play.opening().fail("" if timed_out else "refused", timed_out)
            assert client.take().startswith(b"HTTP/1.1 503 ")
            assert play.logged == [(503, "UF", detail)]
            assert play.count("upstream_cx_connect_fail") == 1
            assert play.count("upstream_rq_503") == 1
            assert not client.closed


class TestUpstreamBreaks:
    def test_before_its_answer(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            play.accept().reset()
            assert client.take().startswith(b"HTTP/1.1 503 ")
            assert play.logged == [(503, "UC", f"{BEFORE}{{connection_termination}}")]
            assert not client.closed

    @pytest.mark.parametrize("how", ["reset", "leave"])
    @pytest.mark.parametrize(
        "begun",
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ],
    )
    def test_in_its_answer(self, begun: bytes, how: str) -> None:
        """The client must see that something is missing: no last chunk, and the end."""
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> begun
            client << begun
            getattr(up, how)()
            client << b""
            assert client.closed
            assert play.logged[0][0] == 200 and play.logged[0][2].startswith(AFTER)

    def test_while_idle(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK
            client << OK
            up.leave()
            client >> GET
            play.accept() >> OK
            client << OK

    def test_in_the_turn_in_which_it_is_leased(self) -> None:
        """Closed, and the loop has not told us yet: it must not be used."""
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK
            client << OK
            up.connection.close()
            client >> GET
            play.accept() >> OK
            client << OK

    @pytest.mark.parametrize(
        "answer",
        [
            b"garbage\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
        ],
    )
    def test_nonsense(self, answer: bytes) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> answer
            assert client.take().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
            assert up.closed and not client.closed
            assert play.logged == [(502, "UPE", f"{BEFORE}{{protocol_error}}")]
            assert play.count("upstream_cx_protocol_error") == 1

    def test_nonsense_in_a_body(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"
            client << b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            assert client.closed and up.closed
            assert play.logged == [(200, "UPE", f"{AFTER}{{protocol_error}}")]

    def test_interim_answers(self) -> None:
        """Some are normal; an upstream that sends nothing else is broken."""
        interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        with Playbook() as play:
            client = play.client()
            client >> GET
            play.accept() >> interim * 20 + OK
            client << OK
            client >> GET
            play.upstream() >> interim * 3000 + OK
            assert client.take().startswith(b"HTTP/1.1 502 ")

    def test_two_answers(self) -> None:
        """The second one answers nothing and must not reach anybody."""
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK + OK.replace(b"ok", b"no")
            client << OK
            assert up.closed
            client >> GET
            play.accept() >> OK
            client << OK

    def test_words_without_a_request(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK
            client << OK
            up >> OK.replace(b"ok", b"no")
            assert up.closed
            client >> GET
            play.accept() >> OK
            client << OK


class TestClientBreaks:
    def test_while_we_connect(self) -> None:
        """The connection that was on its way is kept for others."""
        with Playbook() as play:
            client = play.client()
            client >> GET
            client.reset()
            assert play.logged == [(0, "DC", "downstream_remote_disconnect")]
            assert play.count("downstream_rq_rx_reset") == 1
            assert play.count("upstream_rq_cancelled") == 1
            up = play.accept()
            up << b""
            other = play.client()
            other >> GET
            up >> OK
            other << OK

    @pytest.mark.parametrize("answer", [b"", OK[:-1]])
    @pytest.mark.parametrize("how", ["reset", "leave"])
    def test_while_it_waits(self, answer: bytes, how: str) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            up = play.accept()
            if answer:
                up >> answer
            getattr(client, how)()
            assert up.closed
            assert play.logged[0][1] == "DC"
            assert play.count("upstream_rq_cancelled") == 0

    def test_in_its_request(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> POST + b"3\r\nab"
            up = play.accept()
            client.leave()
            assert up.closed and play.logged[0][1] == "DC"

    def test_before_a_request(self) -> None:
        with Playbook() as play:
            play.client().leave()
            client = play.client()
            client >> b"GET / HT"
            client.leave()
            assert play.logged == [] and play.count("downstream_cx_destroy") == 2

    @pytest.mark.parametrize("bad", [b"xyz\r\n", b"1\r\nabc", b"0\r\nbad trailer\r\n\r\n"])
    def test_nonsense_in_a_body(self, bad: bytes) -> None:
        """Answered once; the upstream, which has half a request, is closed."""
        with Playbook() as play:
            client = play.client()
            client >> POST + b"3\r\nabc\r\n"
            up = play.accept()
            up << POST + b"3\r\nabc\r\n"
            client >> bad
            came = client.take()
            assert came.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert came.count(b"HTTP/1.1 ") == 1
            assert client.closed and up.closed
            assert not up.take().endswith(b"0\r\n\r\n")
            assert [entry[:2] for entry in play.logged] == [(400, "DPE")]
            client >> b"0\r\n\r\n" + GET
            assert client.take() == b"" and play.count("downstream_rq_total") == 1

    def test_nonsense_in_a_body_that_is_being_answered(self) -> None:
        begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"
        with Playbook() as play:
            client = play.client()
            client >> POST + b"3\r\nabc\r\n"
            up = play.accept()
            up >> begun
            client >> b"xyz\r\n"
            assert client.take().count(b"HTTP/1.1 ") == 1
            assert client.closed and up.closed
            assert [entry[:2] for entry in play.logged] == [(200, "DPE")]

    def test_nonsense_with_the_head(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> POST + b"xyz\r\n"
            assert client.take().count(b"HTTP/1.1 400 ") == 1
            if play.openings:  # it was asked for before the body was read
                play.accept() << b""

    @pytest.mark.parametrize(
        "head, status",
        [
            (b"garbage\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000, 431),
            (b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", 426),
            (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        ],
    )
    def test_a_bad_head(self, head: bytes, status: int) -> None:
        with Playbook() as play:
            client = play.client()
            client >> head
            came = client.take()
            assert came.startswith(b"HTTP/1.1 %d " % status)
            assert b"connection: close\r\n" in came and client.closed
            assert play.logged[0][0] == status
            assert play.count(f"downstream_rq_{status // 100}xx") == 1
            client >> GET
            client << b""
            assert play.count("downstream_rq_total") == 1

    @pytest.mark.parametrize(
        "head",
        [
            b"CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ],
    )
    def test_tunnels_are_refused(self, head: bytes) -> None:
        with Playbook() as play:
            client = play.client()
            client >> head
            assert client.take().startswith(b"HTTP/1.1 4")
            assert not play.openings


class TestLimits:
    def test_max_pending(self) -> None:
        limits = model.Thresholds(max_connections=1, max_pending_requests=1)
        with Playbook(clusters=[cluster(thresholds_default=limits)]) as play:
            first, second = play.client(), play.client()
            first >> GET
            second >> GET
            assert b"reset reason: overflow" in second.take()
            assert play.logged == [(503, "UO", f"{BEFORE}{{overflow}}")]
            assert play.count("upstream_rq_pending_overflow") == 1
            play.accept() >> OK
            first << OK

    def test_max_connections_of_a_burst(self) -> None:
        limits = model.Thresholds(max_connections=1)
        with Playbook(clusters=[cluster(thresholds_default=limits)]) as play:
            clients = [play.client() for _ in range(4)]
            for client in clients:
                client >> GET
            assert len(play.openings) == 1
            up = play.accept()
            for client in clients:
                up >> OK
                client << OK

    def test_max_requests(self) -> None:
        limits = model.Thresholds(max_requests=1)
        with Playbook(clusters=[cluster(thresholds_default=limits)]) as play:
            first, second = play.client(), play.client()
            first >> GET
            up = play.accept()
            second >> GET
            assert second.take() == b""  # only one with a connection counts as in flight
            other = play.accept()
            assert b"x-envoy-overloaded: true" in second.take()
            up >> OK
            first << OK
            second >> GET
            up >> OK
            second << OK
            assert other.take() == b""

    def test_priorities_do_not_share(self) -> None:
        limits = model.Thresholds(max_requests=1)
        high = route("/high", priority="HIGH")
        with Playbook(high, route(), clusters=[cluster(thresholds_default=limits)]) as play:
            low, other = play.client(), play.client()
            low >> GET
            other >> GET.replace(b"/ ", b"/high ")
            for up in [play.accept(), play.accept()]:
                up >> OK
            low << OK
            other << OK


class TestTime:
    def test_route_timeout(self) -> None:
        with Playbook(route(timeout_s=2.0)) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            play.tick(1.9)
            client << b""
            play.tick(0.2)
            assert client.take().endswith(b"\r\n\r\nupstream request timeout")
            assert up.closed and not client.closed
            assert play.logged == [(504, "UT", "response_timeout")]
            assert play.count("upstream_rq_timeout") == play.count("upstream_rq_504") == 1

    def test_it_counts_from_the_end_of_the_request(self) -> None:
        with Playbook(route(timeout_s=2.0)) as play:
            client = play.client()
            client >> POST + b"1\r\na\r\n"
            up = play.accept()
            play.tick(10.0)
            client >> b"0\r\n\r\n"
            play.tick(1.9)
            client << b""
            play.tick(0.2)
            assert client.take().startswith(b"HTTP/1.1 504 ")
            assert up.closed

    def test_while_it_waits_for_a_connection(self) -> None:
        with Playbook(route(timeout_s=2.0)) as play:
            client = play.client()
            client >> GET
            play.tick(2.1)
            assert client.take().startswith(b"HTTP/1.1 504 ")
            assert play.count("upstream_rq_pending_active") == 0
            play.opening().fail()

    def test_in_the_answer(self) -> None:
        with Playbook(route(timeout_s=2.0)) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK[:-1]
            play.tick(2.1)
            client << OK[:-1]
            assert client.closed and up.closed
            assert play.logged == [(200, "UT", "response_timeout")]

    def test_a_timeout_in_the_answer_is_counted_once(self) -> None:
        with Playbook(route(timeout_s=2.0)) as play:
            client = play.client()
            client >> GET
            play.accept() >> OK[:-1]
            play.tick(2.1)
            assert play.count("upstream_rq_completed") == play.count("upstream_rq_total") == 1

    def test_no_timeout(self) -> None:
        with Playbook(route(timeout_s=0.0)) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            play.tick(250.0)
            up >> OK
            client << OK

    def test_default_is_15_seconds(self) -> None:
        with Playbook() as play:
            client = play.client()
            client >> GET
            play.accept()
            play.tick(14.9)
            client << b""
            play.tick(0.2)
            assert client.take().startswith(b"HTTP/1.1 504 ")

    def test_stream_idle(self) -> None:
        with Playbook(route(timeout_s=0.0), stream_idle_timeout_s=5.0) as play:
            client = play.client()
            client >> POST
            play.accept()
            for _ in range(5):
                play.tick(4.0)
                client >> b"1\r\na\r\n"
            client << b""
            play.tick(7.0)
            assert client.take().startswith(b"HTTP/1.1 504 ") and client.closed
            assert play.logged[0][1] == "SI"
            assert play.count("downstream_rq_idle_timeout") == 1

    def test_a_stream_that_moves_is_not_idle(self) -> None:
        with Playbook(route(timeout_s=0.0), stream_idle_timeout_s=5.0) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
            for _ in range(10):
                play.tick(4.0)
                up >> b"x"
            assert client.take().endswith(b"x" * 10)

    def test_the_route_knows_better(self) -> None:
        with Playbook(route(timeout_s=0.0, idle_timeout_s=0.0), stream_idle_timeout_s=5.0) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            play.tick(100.0)
            up >> OK
            client << OK

    def test_request_timeout(self) -> None:
        with Playbook(request_timeout_s=5.0) as play:
            client = play.client()
            client >> POST
            up = play.accept()
            play.tick(7.0)
            assert client.take().startswith(b"HTTP/1.1 408 ") and client.closed and up.closed
            assert play.logged[0][0] == 408
            assert play.count("downstream_rq_timeout") == 1

    def test_headers_timeout(self) -> None:
        with Playbook(request_headers_timeout_s=5.0) as play:
            client = play.client()
            client >> b"GET / HT"
            play.tick(4.0)
            client << b""
            play.tick(3.0)
            assert client.take().startswith(b"HTTP/1.1 408 ") and client.closed
            assert play.logged[0][0] == 408

    def test_headers_timeout_counts_from_the_first_byte(self) -> None:
        with Playbook(request_headers_timeout_s=10.0) as play:
            client = play.client()
            client >> GET
            play.accept() >> OK
            client << OK
            play.tick(60.0)
            client >> b"GET / HT"
            play.tick(5.0)
            client << b""
            play.tick(7.0)
            assert client.take().startswith(b"HTTP/1.1 408 ")

    def test_idle_client_connections(self) -> None:
        with Playbook(idle_timeout_s=5.0) as play:
            client = play.client()
            for _ in range(3):
                client >> GET
                up = play.upstream()
                up >> OK
                client << OK
                play.tick(4.0)
                assert not client.closed
            play.tick(3.0)
            assert client.closed and play.count("downstream_cx_idle_timeout") == 1

    def test_old_client_connections(self) -> None:
        with Playbook(max_connection_duration_s=5.0) as play:
            client = play.client()
            play.tick(4.0)
            assert not client.closed
            play.tick(3.0)
            assert client.closed and play.count("downstream_cx_max_duration_reached") == 1

    def test_idle_upstream_connections(self) -> None:
        http = model.HttpProtocolOptions(idle_timeout_s=5.0)
        with Playbook(clusters=[cluster(http=http)]) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK
            play.tick(3.0)
            client >> GET
            up >> OK
            play.tick(4.0)
            assert not up.closed
            play.tick(4.0)
            assert up.closed and play.count("upstream_cx_idle_timeout") == 1
            assert play.count("upstream_cx_active") == 0

    def test_max_requests_per_upstream_connection(self) -> None:
        http = model.HttpProtocolOptions(max_requests_per_connection=2)
        with Playbook(clusters=[cluster(http=http)]) as play:
            client = play.client()
            for _ in range(2):
                client >> GET
                up = play.upstream()
                up >> OK
            assert up.closed and play.count("upstream_cx_max_requests") == 1
            client >> GET
            play.accept() >> OK
            assert client.take() == OK * 3
