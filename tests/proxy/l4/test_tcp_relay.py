"""TCP conversations without sockets: what is passed on, when, and what is told at the end."""

from __future__ import annotations

import pytest

from proxy.config import model
from tests.support.playbook import cluster
from tests.support.tcp_play import TcpPlay


class TestPassing:
    def test_bytes_go_both_ways_and_are_counted(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            client.say(b"question")
            assert up.take() == b"question"
            up.say(b"an answer")
            assert client.take() == b"an answer"
            assert play.count("downstream_cx_rx_bytes_total") == 8
            assert play.count("upstream_cx_tx_bytes_total") == 8
            assert play.count("upstream_cx_rx_bytes_total") == 9
            assert play.count("downstream_cx_tx_bytes_total") == 9
            assert play.count("upstream_cx_active") == 1
            client.end_half()
            up.end_half()
        (record,) = play.records
        assert (record.bytes_received, record.bytes_sent, record.flags) == (8, 9, "")
        assert record.host is not None and record.host.text == "10.0.0.1:80"
        assert record.ended >= record.started

    def test_the_host_is_dialled_before_the_client_speaks(self) -> None:
        with TcpPlay() as play:
            client = play.client()
            up = play.accept()
            up.say(b"220 ready")
            assert client.take() == b"220 ready"

    def test_what_comes_before_the_host_is_there_waits(self) -> None:
        with TcpPlay() as play:
            client = play.client()
            client.end.data_received(b"too ")  # read before the loop heard of the pause
            client.say(b"early")
            assert not client.transport.reading
            up = play.accept()
            assert up.take() == b"too early"

    def test_an_end_before_the_host_is_there_waits_too(self) -> None:
        with TcpPlay() as play:
            client = play.client()
            client.end.data_received(b"all")
            client.end.eof_received()
            up = play.accept()
            assert (up.take(), up.state) == (b"all", "half")


class TestEnds:
    def test_each_direction_ends_by_itself(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            client.end_half()
            assert (up.state, client.state) == ("half", "open")
            up.say(b"late answer")
            assert client.take() == b"late answer"
            up.end_half()
            assert (up.state, client.state) == ("closed", "closed")
            assert len(play.records) == 1

    def test_the_server_may_end_first(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            up.end_half()
            assert (client.state, up.state) == ("half", "open")
            client.say(b"more")
            assert up.take() == b"more"

    def test_a_reset_is_passed_on(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            up.break_off()
            assert client.state == "aborted"
        assert play.records[0].flags == "UR"

    def test_a_reset_of_the_client_is_passed_on(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            client.break_off()
            assert up.state == "aborted"
        assert play.records[0].flags == ""

    def test_what_was_received_before_a_reset_is_still_delivered(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            client.transport.stuck = True
            up.say(b"x" * 100)
            up.break_off()
            assert client.state == "closed" and not client.transport.lost
            client.transport.release()
            assert client.take() == b"x" * 100 and client.transport.lost

    def test_what_the_client_said_is_flushed_after_it_has_gone(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            up.transport.stuck = True
            client.say(b"last words")
            client.break_off()
            assert play.count("upstream_flush_total") == play.count("upstream_flush_active") == 1
            assert up.state == "closed" and not up.transport.lost
            up.transport.release()
            assert up.take() == b"last words"
            assert play.count("upstream_flush_active") == 0


class TestFlow:
    @pytest.mark.parametrize("down", [True, False])
    def test_who_does_not_read_stops_the_other(self, down: bool) -> None:
        small = cluster(per_connection_buffer_limit_bytes=100)
        with TcpPlay([small], buffer_limit=100) as play:
            client, up = play.client(), play.accept()
            slow, fast = (client, up) if down else (up, client)
            slow.transport.stuck = True
            fast.say(b"x" * 101)
            assert not fast.transport.reading
            fast.say(b"y" * 50)
            slow.transport.release()
            play.tick()
            assert fast.transport.reading
            assert slow.take() == b"x" * 101 + b"y" * 50
            paused = play.count("downstream_flow_control_paused_reading_total")
            assert paused == play.count("downstream_flow_control_resumed_reading_total")
            assert paused == (0 if down else 1)


class TestTrouble:
    def test_connecting_fails(self) -> None:
        with TcpPlay() as play:
            client = play.client()
            play.refuse()
            assert client.state == "aborted"
            assert play.count("upstream_cx_connect_fail") == 1
            assert play.count("upstream_cx_connect_attempts_exceeded") == 1
        (record,) = play.records
        assert (record.flags, record.failure, record.attempt) == ("UF,URX", "refused", 1)

    def test_a_timeout_is_counted(self) -> None:
        with TcpPlay() as play:
            play.client()
            play.refuse(timed_out=True)
            assert play.count("upstream_cx_connect_timeout") == 1

    def test_other_hosts_are_tried(self) -> None:
        with TcpPlay([cluster(hosts=3)], max_connect_attempts=3) as play:
            client = play.client()
            client.say(b"kept")
            tried = {play.refuse(), play.refuse(), play.openings[0].host}
            up = play.accept()
            assert up.take() == b"kept"
            assert len(tried) == 3
            assert play.count("upstream_cx_total") == 3
            up.end_half()
        assert play.records[0].flags == "" and play.records[0].attempt == 3

    def test_failing_hosts_are_ejected_and_success_forgives(self) -> None:
        outlier = model.OutlierDetection(consecutive_5xx=2, max_ejection_percent=100)
        with TcpPlay([cluster(outlier=outlier)]) as play:
            for _ in range(3):  # never two in a row
                play.client()
                play.refuse()
                play.client()
                play.accept()
            assert play.count("membership_healthy") == 1
            for _ in range(2):
                play.client()
                play.refuse()
            assert play.count("membership_healthy") == 0

    def test_the_breaker_is_full(self) -> None:
        limits = model.Thresholds(max_connections=1)
        with TcpPlay([cluster(thresholds_default=limits)]) as play:
            play.client()
            client = play.client()
            assert client.state == "aborted" and len(play.openings) == 1
            assert play.count("upstream_cx_overflow") == 1
        assert play.records[0].flags == "UO"

    def test_there_is_no_host(self) -> None:
        with TcpPlay([cluster(hosts=0)]) as play:
            assert play.client().state == "aborted"
            assert play.count("upstream_cx_none_healthy") == 1
        assert play.records[0].flags == "UH"

    def test_there_is_no_cluster(self) -> None:
        with TcpPlay([]) as play:
            assert play.client().state == "aborted"
            assert play.count("downstream_cx_no_route") == 1
        assert play.records[0].flags == "NC"

    def test_the_client_leaves_while_we_connect(self) -> None:
        with TcpPlay() as play:
            play.client().break_off()
            up = play.accept()
            assert up.state == "aborted"
            assert play.count("upstream_cx_active") == 0

    @pytest.mark.parametrize("who", ["client", "up"])
    def test_idle_in_both_directions(self, who: str) -> None:
        with TcpPlay(idle_timeout_s=10.0) as play:
            client, up = play.client(), play.accept()
            speaker = client if who == "client" else up
            for _ in range(4):
                play.tick(8.0)
                speaker.say(b".")
            assert client.state == "open"
            play.tick(12.0)
            assert (client.state, up.state) == ("aborted", "aborted")
            assert play.count("idle_timeout") == 1

    def test_no_idle_timeout(self) -> None:
        with TcpPlay(idle_timeout_s=0.0) as play:
            client, _ = play.client(), play.accept()
            play.tick(7200.0)
            assert client.state == "open"


class TestChange:
    def test_a_removed_host_keeps_its_connections(self) -> None:
        with TcpPlay([cluster(hosts=2)]) as play:
            client, up = play.client(), play.accept()
            play.apply({"in": play.listener}, [cluster(hosts=0)])
            client.say(b"still")
            assert up.take() == b"still"
            assert play.client().state == "aborted"

    def test_connections_of_a_removed_listener_end_at_the_drain_time(self) -> None:
        with TcpPlay() as play:
            client, up = play.client(), play.accept()
            play.apply({}, [cluster()])
            for _ in range(590):
                play.tick(1.0)
            client.say(b"still")
            assert up.take() == b"still"
            play.tick(20.0)
            assert client.state == "aborted"

    def test_weights_share_the_connections(self) -> None:
        weighted = (("a", 3), ("b", 1))
        with TcpPlay([cluster("a"), cluster("b")], cluster="", weighted=weighted) as play:
            for _ in range(400):
                play.client()
            shares = [one.cluster.name for one in play.openings]
            assert 260 < shares.count("a") < 340

    def test_tls_of_tcp_may_take_long_to_close(self) -> None:
        with TcpPlay() as play:
            assert play.runtime.listeners["in"].chains[0].close_notify_wait_s == 60.0
