"""A filter that wants the whole body, behind another that waits, and on the second leg of a
request."""

from __future__ import annotations

from proxy.config import model
from proxy.config.filters import decode_buffer, decode_fault
from proxy.config.filters.decode_buffer import BufferConfig
from proxy.config.filters.decode_fault import Delay, FaultConfig
from tests.support.playbook import ROUTER, Playbook, cluster, listener, route, routes, snapshot

EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def buffer(limit: int | None) -> model.HttpFilter:
    return model.HttpFilter("buffer", decode_buffer.TYPE_URL, BufferConfig(limit))


def test_what_one_filter_had_enough_of_another_may_want() -> None:
    late = FaultConfig(delay=Delay(1.0, model.FractionalPercent(100)))
    first = model.HttpFilter("late", decode_fault.TYPE_URL, late)
    inside = listener(routes(route()), buffer_limit=100, filters=(first, buffer(1000), ROUTER))
    with Playbook(config=snapshot([inside], [cluster()])) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n" + b"x" * 99
        client >> b"x" * 101
        assert not client.transport.reading
        play.tick(1.1)
        assert client.transport.reading
        client >> b"x" * 300
        up = play.accept()
        assert up.take().endswith(b"x" * 500)
        up >> EMPTY
        client << EMPTY


def test_a_second_leg_tells_the_length_of_its_body() -> None:
    redirect = model.InternalRedirectPolicy(response_codes=frozenset((307,)))
    away = route("/", internal_redirect=redirect)
    there = model.Route(
        model.RouteMatch(prefix="/there"),
        model.RouteAction("a"),
        filter_configs={"buffer": BufferConfig(8)},
    )
    inside = listener(routes(there, away), filters=(buffer(None), ROUTER))
    with Playbook(config=snapshot([inside], [cluster()])) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        client >> b"5\r\nhello\r\n0\r\n\r\n"
        up = play.accept()
        up.take()
        up >> b"HTTP/1.1 307 No\r\nlocation: http://a/there\r\ncontent-length: 0\r\n\r\n"
        again = up.take()
        assert b"content-length: 5\r\n" in again
        assert again.endswith(b"\r\n\r\nhello")
        up >> EMPTY
        client << EMPTY
