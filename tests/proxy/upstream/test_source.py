"""Connections from where the client's come (original_src): which may be shared, and how they are
made. That they work takes root and a namespace: test_redirected_traffic.py."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import ParseDict

from proxy.config.decode_lds import listener
from proxy.config.model import Cluster, SocketAddress
from proxy.config.model.connecting import OriginalSrc, SocketOption
from proxy.connection import ConnectionInfo
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.upstream.preface import way_chooser
from proxy.upstream.source import fits, note, source_of


@dataclass
class Exchange:
    info: ConnectionInfo
    request: Request


def exchange(host: str, port: int, config: OriginalSrc | None) -> Exchange:
    info = ConnectionInfo((host, port), ("10.0.0.1", 80), ("10.0.0.1", 80))
    if config is not None:
        note(info, config)
    return Exchange(info, Request(b"GET", b"/", b"a", Headers()))


def test_clients_share_connections_with_nobody_of_another_address() -> None:
    choose = way_chooser(Cluster("a"), by_source=True)
    assert choose is not None
    keeps = OriginalSrc(mark=1337)
    ways = [choose(exchange("10.0.0.7", port, keeps)) for port in (4000, 4001)]
    assert ways[0] == ways[1] != choose(exchange("10.0.0.8", 4000, keeps))
    assert choose(exchange("10.0.0.7", 4000, None)).source is None
    with_port = OriginalSrc(bind_port=True)
    assert len({choose(exchange("10.0.0.7", port, with_port)) for port in (4000, 4001)}) == 2
    assert way_chooser(Cluster("a")) is None  # as ever, where no listener keeps addresses


@pytest.mark.parametrize(("host", "level", "name"), [("10.0.0.7", 0, 19), ("fd00::7", 41, 75)])
def test_it_is_bound_to_an_address_that_is_not_ours(host: str, level: int, name: int) -> None:
    found = source_of(exchange(host, 4000, OriginalSrc(mark=1337)).info)
    assert found is not None
    assert found.source == SocketAddress(host, 0)
    assert SocketOption(level, name, 1) in found.options
    assert SocketOption(socket.SOL_SOCKET, 36, 1337) in found.options
    other = "10.0.0.1" if ":" in host else "fd00::1"
    assert fits(found, SocketAddress(host, 80))
    assert not fits(found, SocketAddress(other, 80))
    assert not fits(found, SocketAddress("", 0, path="/run/app"))


def test_it_is_read() -> None:
    kind = "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc"
    tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    proxy = {"@type": tcp, "stat_prefix": "a", "cluster": "a"}
    message = {
        "name": "a",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "listener_filters": [{"name": "a", "typed_config": {"@type": kind, "mark": 7}}],
        "filter_chains": [{"filters": [{"name": "a", "typed_config": proxy}]}],
    }
    assert listener(ParseDict(message, Listener())).original_src == OriginalSrc(7)
