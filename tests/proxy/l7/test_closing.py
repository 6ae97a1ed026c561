"""Connections that end: at the right moment, and always."""

from __future__ import annotations

import gc

import pytest

from proxy.config import model
from proxy.http.h1 import RequestReader
from proxy.l7 import downstream_h1, worker
from proxy.l7.downstream_h1 import DownstreamH1
from proxy.l7.stream import Stream
from tests.support.playbook import Playbook, cluster, retries, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
LEFT = (DownstreamH1, RequestReader, Stream)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_a_client_that_never_takes_its_last_answer() -> None:
    with Playbook() as play:
        client = play.client()
        client.stop_reading()
        client >> CLOSE
        play.accept() >> OK
        play.tick(downstream_h1.LINGER_S / 2)
        assert not client.transport.lost
        play.tick(downstream_h1.LINGER_S)
        assert client.transport.aborted and client.transport.lost
        assert play.count("downstream_cx_active") == 0


def test_a_client_that_half_closes_and_takes_nothing() -> None:
    with Playbook() as play:
        client = play.client()
        client.stop_reading()
        client >> GET
        play.accept() >> OK
        client.leave()
        play.tick(2 * downstream_h1.LINGER_S)
        assert client.transport.lost


def test_a_slow_client_gets_its_last_answer() -> None:
    with Playbook() as play:
        client = play.client()
        client.stop_reading()
        client >> CLOSE
        play.accept() >> OK
        play.tick(downstream_h1.LINGER_S / 2)
        client.read_on()
        assert client.take().endswith(b"\r\n\r\nok")
        play.tick(2)
        assert client.transport.lost and not client.transport.aborted


def test_an_upstream_that_takes_nothing_is_cut_off() -> None:
    """An orderly close would wait for ever, and no breaker would count it."""
    with Playbook(route(timeout_s=1.0)) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
        up = play.accept()
        up.stop_reading()
        client >> b"hello"
        play.tick(1.5)
        assert client.take().startswith(b"HTTP/1.1 504 ")
        assert up.transport.lost


def test_an_idle_connection_whose_peer_leaves_in_the_same_turn() -> None:
    with Playbook() as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up >> OK
        client << OK
        up.transport.receive_eof()  # `connection_lost` is to come in the next turn
        client >> GET
        play.accept() >> OK
        client << OK
        assert up.transport.written.count(b"GET") == 1


def test_who_waits_during_a_rotation_gets_a_new_connection() -> None:
    limits = model.Thresholds(max_connections=1)
    with Playbook(clusters=[cluster(thresholds_default=limits)]) as play:
        one, two = play.client(), play.client()
        one >> GET
        old = play.accept()
        two >> GET
        play.cluster().retire_connections()
        old >> OK
        one << OK
        assert old.closed
        play.accept() >> OK
        two << OK


def test_a_host_that_is_gone_is_not_ejected() -> None:
    detection = model.OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
    with Playbook(clusters=[cluster(hosts=2, outlier=detection)]) as play:
        client = play.client()
        client >> GET
        up = play.accept()
        play.cluster().close()
        play.cluster().configure(play.cluster().config)
        up >> b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        assert play.stats.gauge("cluster.a.outlier_detection.ejections_active").value == 0


def test_the_sweeps_outlive_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with Playbook(route(timeout_s=1.0, retry=retries("reset"))) as play:
        client = play.client()
        client >> GET
        play.accept()
        with monkeypatch.context() as patch:
            patch.setattr(Stream, "on_deadline", _fault)
            with pytest.raises(ZeroDivisionError):
                play.tick(1.5)
        play.tick(2 * worker.DEADLINE_SWEEP_S)
        assert client.take().startswith(b"HTTP/1.1 504 ")


def _fault(stream: Stream, now: float) -> None:
    raise ZeroDivisionError


def test_a_worker_is_busy_until_the_answer_has_left() -> None:
    with Playbook() as play:
        client = play.client()
        assert not play.worker.busy
        client >> GET
        assert play.worker.busy
        client.stop_reading()
        play.accept() >> OK
        assert play.worker.busy and not play.worker.streams
        client.read_on()
        assert not play.worker.busy
        client >> CLOSE
        play.upstream() >> OK
        assert play.worker.busy
        client.leave()
        assert not play.worker.busy


def test_nothing_of_a_connection_that_is_over_is_left_to_the_collector() -> None:
    with Playbook() as play:
        gc.collect()
        gc.disable()
        try:
            before = _alive()
            _comes_and_goes(play)
            assert _alive() == before
        finally:
            gc.enable()


def _alive() -> int:
    return sum(isinstance(one, LEFT) for one in gc.get_objects())


def _comes_and_goes(play: Playbook) -> None:
    client = play.client()
    client >> GET
    play.accept() >> OK
    client.leave()
    play.tick(2)
    play.peers.remove(client)
