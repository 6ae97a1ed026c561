"""The admin listener on a real socket, and its formats next to those of a real Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxy.admin.server import AdminServer, serve_admin
from proxy.admin.view import AdminView
from proxy.config import model
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster
from tests.support.client import Client
from tests.support.envoy import envoy
from tests.support.ports import free_port


def view(stats: Stats, calls: list[str]) -> AdminView:
    config = model.Cluster("web", outlier=model.OutlierDetection())
    cluster = Cluster(config, stats, Random(1), lambda *_: None, lambda _: None)
    hosts = tuple(
        model.Endpoint(model.SocketAddress("127.0.0.1", port), weight=weight)
        for port, weight in ((1, 3), (2, 1))
    )
    places = (model.LocalityEndpoints(("r", "z", ""), hosts),)
    cluster.set_endpoints(model.ClusterLoadAssignment("web", places))
    return AdminView(
        stats=stats,
        state=lambda: "LIVE",
        uptime_s=lambda: 1.0,
        now_s=lambda: 0.0,
        clusters=lambda: [cluster],
        listeners=lambda: {"in": [("127.0.0.1", 8080)]},
        quit=lambda: calls.append("quit"),
        drain_listeners=lambda *_: None,
        fail_health_check=lambda _: None,
    )


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
async def server(calls: list[str]) -> AsyncIterator[AdminServer]:
    server = await serve_admin(model.SocketAddress("127.0.0.1"), view(Stats(), calls))
    yield server
    server.close()


async def test_one_connection_many_requests(server: AdminServer) -> None:
    async with Client(server.address.port) as client:
        for _ in range(3):
            reply = await client.request("GET", "/ready")
            assert reply is not None
            assert (reply.status, reply.body) == (200, b"LIVE\n")
        head = await client.request("HEAD", "/ready")
        assert head is not None
        assert (head.status, head.body) == (200, b"")
        body = await client.request("POST", "/logging?level=info", body=b"ignored" * 1000)
        assert body is not None
        assert body.status == 200
        missing = await client.request("GET", "/nope")
        assert missing is not None
        assert missing.status == 404


async def test_pipelined_requests_are_answered_in_order(server: AdminServer) -> None:
    async with Client(server.address.port) as client:
        paths = ["/ready", "/listeners", "/nope"] * 200
        await client.send(
            b"".join(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode() for path in paths)
        )
        for path in paths:
            reply = await client.response()
            assert reply is not None
            assert reply.status == (404 if path == "/nope" else 200), path


async def test_a_long_page_comes_in_pieces(calls: list[str]) -> None:
    stats = Stats()
    for at in range(3000):
        stats.counter(f"cluster.c{at}.upstream_rq_total").value = at
    server = await serve_admin(model.SocketAddress("127.0.0.1"), view(stats, calls))
    async with Client(server.address.port) as client:
        for _ in range(2):
            page = await client.request("GET", "/stats/prometheus")
            assert page is not None
            assert page.get("transfer-encoding") == "chunked"
            body = page.body
            lines = body.decode().splitlines()
            assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="c2999"} 2999' in lines
    async with Client(server.address.port) as client:
        await client.send(b"HEAD /stats/prometheus HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.send(b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert await client.closed()
        head, _, rest = client.received.partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.endswith(b"\r\n\r\nLIVE\n")
    async with Client(server.address.port) as old:
        await old.send(b"GET /stats/prometheus HTTP/1.0\r\n\r\n")
        assert await old.closed()
        assert old.received.endswith(body[-100:])
    server.close()


async def test_the_answer_leaves_before_the_proxy_ends(
    server: AdminServer, calls: list[str]
) -> None:
    async with Client(server.address.port) as client:
        reply = await client.request("POST", "/quitquitquit")
        assert reply is not None
        assert reply.body == b"OK\n"
    assert calls == ["quit"]


async def test_a_malformed_request(server: AdminServer) -> None:
    async with Client(server.address.port) as client:
        await client.send(b"GET /ready HTTP/1.1\r\nbad header\r\n\r\n")
        reply = await client.response()
        assert reply is not None
        assert reply.status == 400
        assert await client.closed()


async def test_an_address_in_use_is_named(server: AdminServer) -> None:
    with pytest.raises(OSError) as error:
        await serve_admin(server.address, view(Stats(), []))
    wrong = f"cannot listen on {server.address} (admin): address already in use"
    assert str(error.value) == f"{wrong}: free it, or change admin.address"


# --------------------------------------------------------------------------- next to Envoy


def bootstrap(listener_port: int) -> dict[str, Any]:
    def socket(port: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}

    hosts = [{"endpoint": socket(1), "load_balancing_weight": 3}, {"endpoint": socket(2)}]
    place = {"locality": {"region": "r", "zone": "z"}, "lb_endpoints": hosts}
    cluster = {
        "name": "web",
        "type": "STATIC",
        "outlier_detection": {},
        "load_assignment": {"cluster_name": "web", "endpoints": [place]},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"name": "r"},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "name": "in",
        **socket(listener_port),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


PATHS = (
    "/ready",
    "/clusters",
    "/clusters?format=json",
    "/listeners",
    "/listeners?format=json",
    "/stats?format=json",
    "/quitquitquit",
    "/nope",
)


async def answers(port: int) -> dict[str, tuple[int, str, str]]:
    """Status, content type and body of each path."""
    found = {}
    async with Client(port) as client:
        for path in PATHS:
            reply = await client.request("GET", path)
            assert reply is not None
            found[path] = (reply.status, reply.get("content-type") or "", reply.body.decode())
    return found


def keys(value: Any) -> Any:
    """The shape of JSON: names, not values; of a list its first entry."""
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items()}
    if isinstance(value, list):
        return [keys(value[0])] if value else []
    return type(value).__name__


def text_keys(body: str) -> list[str]:
    """`web::127.0.0.1:1::cx_active::0` without its value."""
    return [line.rpartition("::")[0] for line in body.splitlines()]


async def test_formats_are_envoys(server: AdminServer, tmp_path: Path) -> None:
    process = envoy(bootstrap(free_port()), tmp_path)
    await asyncio.to_thread(process.start)
    try:
        theirs = await answers(process.admin_port)
    finally:
        await asyncio.to_thread(process.stop)
    ours = await answers(server.address.port)

    for path in PATHS:
        assert ours[path][:2] == theirs[path][:2], path
    assert text_keys(ours["/clusters"][2]) == text_keys(theirs["/clusters"][2])
    assert text_keys(ours["/listeners"][2]) == text_keys(theirs["/listeners"][2])
    for path in ("/clusters?format=json", "/listeners?format=json"):
        assert keys(json.loads(ours[path][2])) == keys(json.loads(theirs[path][2])), path
    assert ours["/ready"][2] == theirs["/ready"][2]
    assert ours["/quitquitquit"][2] == theirs["/quitquitquit"][2]
    their_stats = json.loads(theirs["/stats?format=json"][2])["stats"]
    our_stats = json.loads(ours["/stats?format=json"][2])["stats"]
    assert keys(our_stats[0]) == keys(their_stats[0])
    our_names = {each["name"] for each in our_stats if "name" in each}
    their_names = {each["name"] for each in their_stats if "name" in each}
    # What the cluster counts at all, Envoy counts under the same name; it makes the classes of
    # response codes with the first response of each.
    classes = {f"cluster.web.upstream_rq_{digit}xx" for digit in range(1, 6)}
    assert our_names - classes <= their_names
