"""Requests that wait for what is fetched: nothing is sent before, then as if all had been there."""

from __future__ import annotations

from dataclasses import replace

from protos.types import CDS, VHDS
from proxy.config import model
from proxy.config.filters.decode_buffer import BufferConfig
from proxy.config.model.on_demand import OnDemandConfig
from proxy.config.snapshot import Snapshot
from tests.support.playbook import ROUTER, Playbook, cluster, listener, route, snapshot

_HTTP = "type.googleapis.com/envoy.extensions.filters.http."
ON_DEMAND = model.HttpFilter(
    "on_demand", _HTTP + "on_demand.v3.OnDemand", OnDemandConfig(True, 2.0)
)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NAME = "routes/shop"


def config(*hosts: model.VirtualHost, clusters: int = 1, **answers: bool) -> Snapshot:
    table = model.RouteConfiguration("routes", hosts, fetches_hosts=True)
    known = {(VHDS, f"routes/{name}"): there for name, there in answers.items()}
    made = snapshot(
        [listener(filters=(ON_DEMAND, ROUTER))], (cluster(),) * clusters, routes={"routes": table}
    )
    return replace(made, answers=known)


def shop(*listed: model.Route) -> model.VirtualHost:
    return model.VirtualHost("shop", ("shop",), listed or (route(),))


def test_a_request_with_its_body_waits_and_goes_on() -> None:
    with Playbook(config=config()) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: Shop\r\ncontent-length: 4\r\n\r\nab"
        assert list(play.demand.names) == [(VHDS, NAME)]
        client >> b"cd"
        client << b""
        play.apply(config(shop(), shop=True))
        play.tick(0.0)
        up = play.accept()
        assert up.take().endswith(b"\r\n\r\nabcd")
        up >> OK
        client << OK
        assert play.logged == [(200, "", "via_upstream")]


def test_a_host_that_does_not_exist_is_404_and_then_at_once() -> None:
    with Playbook(config=config()) as play:
        client = play.client()
        client >> b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
        play.apply(config(shop=False))
        play.tick(0.0)
        client >> b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
        assert client.take().count(b"HTTP/1.1 404 Not Found") == 2
        assert play.logged == [(404, "NR", "route_not_found")] * 2
        assert play.count("no_route") == 2


def test_hosts_are_asked_for_as_the_grammar_has_them() -> None:
    """RFC 3986 section 3.2.2: all that a whole configuration would look for."""
    with Playbook(config=config()) as play:
        for host in (b"a_b", b"A+B;c=!$&'(),~", b"[::1]:80", b"%41", b"x" * 320):
            play.client() >> b"GET / HTTP/1.1\r\nhost: %s\r\n\r\n" % host
            assert list(play.demand.names)[-1] == (VHDS, "routes/" + host.lower().decode())
        asked = list(play.demand.names)
        for host in (b"*", b"*.shop", b"shop*", b"x" * 321):
            client = play.client()
            client >> b"GET / HTTP/1.1\r\nhost: %s\r\n\r\n" % host
            assert client.take().startswith(b"HTTP/1.1 404 ")
        assert list(play.demand.names) == asked
        play.tick(2.1)
        play.tick(0.0)


def test_a_host_of_which_nobody_tells_is_503_in_the_end() -> None:
    with Playbook(config=config()) as play:
        client = play.client()
        client >> b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
        play.tick(2.1)
        play.tick(0.0)
        assert client.take().startswith(b"HTTP/1.1 503 Service Unavailable")
        assert play.logged == [(503, "NR", "on_demand_virtual_host_timeout")]


def test_a_client_that_does_not_wait_is_forgotten() -> None:
    with Playbook(config=config()) as play:
        client = play.client()
        client >> b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
        client.reset()
        play.apply(config(shop(), shop=True))
        play.tick(0.0)
        assert not play.openings
        assert [flags for _, flags, _ in play.logged] == ["DC"]


def test_a_cluster_is_waited_for_behind_the_filters() -> None:
    with Playbook(config=config(shop(), clusters=0)) as play:
        client = play.client()
        client >> b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
        assert list(play.demand.names) == [(CDS, "a")]
        play.apply(replace(config(shop()), answers={(CDS, "a"): True}))
        play.tick(0.0)
        play.accept() >> OK
        client << OK
        play.apply(replace(config(shop(), clusters=0), answers={(CDS, "a"): False}))
        client >> b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
        assert client.take().startswith(b"HTTP/1.1 503 Service Unavailable")
        assert play.logged[-1] == (503, "NC", "cluster_not_found")


def test_filters_are_walked_by_what_the_fetched_host_says_to_them() -> None:
    limit = model.HttpFilter("buffer", _HTTP + "buffer.v3.Buffer", BufferConfig(100))
    inner = [listener(filters=(limit, ON_DEMAND, ROUTER))]
    before = config()
    strict = replace(shop(), filter_configs={"buffer": BufferConfig(2)})
    after = config(strict, shop=True)
    before = replace(before, listeners={one.name: one for one in inner})
    after = replace(after, listeners=before.listeners)
    with Playbook(config=before) as play:
        client = play.client()
        client >> b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nabcd"
        play.apply(after)
        play.tick(0.0)
        assert client.take().startswith(b"HTTP/1.1 413 ")
