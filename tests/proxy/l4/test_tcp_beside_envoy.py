"""The same TCP conversations through Envoy and through Weft: what client and server see, what the
access log and the statistics say."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.envoy import envoy, require_envoy
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.raw_tcp import (
    Serve,
    TcpServer,
    dial,
    file_log,
    read_to_end,
    reset,
    static,
    tcp_cluster,
    tcp_listener,
)
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

LINE = (
    "flags=%RESPONSE_FLAGS% in=%BYTES_RECEIVED% out=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER% "
    "status=%RESPONSE_CODE% protocol=%PROTOCOL% why=%UPSTREAM_TRANSPORT_FAILURE_REASON% "
    "attempt=%UPSTREAM_REQUEST_ATTEMPT_COUNT% details=%RESPONSE_CODE_DETAILS% "
    "method=%REQ(:METHOD)% scheme=%REQ(:SCHEME)% asked=%REQUEST_DURATION%\n"
)
COUNTED = (
    "tcp.{0}.downstream_cx_total", "tcp.{0}.downstream_cx_no_route",
    "tcp.{0}.downstream_cx_rx_bytes_total", "tcp.{0}.downstream_cx_tx_bytes_total",
    "tcp.{0}.idle_timeout", "tcp.{0}.upstream_flush_active",
    "tcp.{0}.max_downstream_connection_duration",
    "cluster.{0}.upstream_cx_total", "cluster.{0}.upstream_cx_active",
    "cluster.{0}.upstream_cx_destroy", "cluster.{0}.upstream_cx_connect_fail",
    "cluster.{0}.upstream_cx_overflow", "cluster.{0}.upstream_cx_none_healthy",
    "cluster.{0}.upstream_cx_rx_bytes_total", "cluster.{0}.upstream_cx_tx_bytes_total",
    "cluster.{0}.upstream_rq_total", "cluster.{0}.upstream_rq_active",
    "cluster.{0}.upstream_rq_pending_total", "cluster.{0}.upstream_rq_pending_failure_eject",
    "cluster.{0}.upstream_cx_connect_attempts_exceeded",
)  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """talk: the client's part, given the port; what it answers is compared. hosts: how many of
    the cluster's hosts serve; `dead` more refuse. logged: connections."""

    name: str
    talk: Callable[[int], object]
    serve: Serve = lambda sock: None
    hosts: int = 1
    dead: int = 0
    logged: int = 1
    tcp: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)


def greet(sock: socket.socket) -> None:
    sock.sendall(b"hello")
    sock.sendall(b"got " + sock.recv(100))


def count(sock: socket.socket) -> None:
    sock.sendall(b"%d" % len(read_to_end(sock)))


def end_first(sock: socket.socket) -> None:
    sock.sendall(b"bye")
    sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


def listen(sock: socket.socket) -> None:
    read_to_end(sock)


def break_off(sock: socket.socket) -> None:
    sock.recv(100)
    reset(sock)


def count_first(sock: socket.socket) -> None:
    sock.sendall(b"%d" % len(sock.recv(100)))
    read_to_end(sock)


def answer_hello(port: int) -> object:
    with dial(port) as sock:
        hello = sock.recv(100)
        sock.sendall(b"me")
        return hello, read_to_end(sock)


def half_close(port: int) -> object:
    with dial(port) as sock:
        sock.sendall(b"x" * 1000)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def say_after_the_end(port: int) -> object:
    with dial(port) as sock:
        heard = read_to_end(sock)
        sock.sendall(b"still here")
        return heard


def say(port: int) -> object:
    with dial(port) as sock:
        sock.sendall(b"abc")
        return read_to_end(sock)


def keep_still(port: int) -> object:
    with dial(port) as sock:
        return read_to_end(sock)


def give_up(port: int) -> object:
    with dial(port) as sock:
        sock.sendall(b"abc")
        heard = sock.recv(10)
        reset(sock)
        return heard


def one_too_many(port: int) -> object:
    with dial(port) as first:
        first.sendall(b"mine")
        assert first.recv(10) == b"4"
        return keep_still(port)


def name_itself(sock: socket.socket) -> None:
    sock.sendall(b"%d" % sock.getsockname()[1])


def meet_often(port: int) -> object:
    """How many hosts serve one client. That chance takes the same of three is 1 in 3 ** 11."""
    return len({keep_still(port) for _ in range(12)})


BY_SOURCE: dict[str, Any] = {"hash_policy": [{"source_ip": {}}]}
ONE_CONNECTION = {"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}
CONVERSATIONS = (
    Conversation("greeting", answer_hello, greet),
    Conversation("half", half_close, count),
    Conversation("server_ends_first", say_after_the_end, end_first),
    Conversation("server_resets", say, break_off),
    Conversation("client_leaves", give_up, count_first),
    Conversation("refused", keep_still, hosts=0, dead=1),
    Conversation("refused_thrice", keep_still, hosts=0, dead=2, tcp={"max_connect_attempts": 3}),
    Conversation("no_host", keep_still, hosts=0),
    Conversation("no_cluster", keep_still, tcp={"cluster": "nobody"}),
    Conversation("overflow", one_too_many, count_first, logged=2, cluster=ONE_CONNECTION),
    Conversation("idle", say, listen, tcp={"idle_timeout": "1s"}),
    Conversation("too_long", say, listen, tcp={"max_downstream_connection_duration": "0.5s"}),
    Conversation(
        "by_source",
        meet_often,
        name_itself,
        hosts=3,
        logged=12,
        tcp=BY_SOURCE,
        cluster={"lb_policy": "RING_HASH"},
    ),
)


@dataclass
class Seen:
    heard: object
    lines: list[str]
    counted: dict[str, int]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Seen, Seen]]:
    """By conversation: what was seen of Envoy, and of Weft."""
    require_envoy()
    by_envoy = converse(envoy, tmp_path_factory.mktemp("envoy"))
    by_weft = converse(weft_proxy, tmp_path_factory.mktemp("weft"))
    return {name: (by_envoy[name], by_weft[name]) for name in by_envoy}


def converse(start: Callable[..., ProxyProcess], directory: Path) -> dict[str, Seen]:
    listeners, clusters = [], []
    ports: dict[str, int] = {}
    with ExitStack() as stack:
        free = stack.enter_context(Reservation())
        for one in CONVERSATIONS:
            ports[one.name] = port = free.port()
            servers = [stack.enter_context(TcpServer(one.serve)) for _ in range(one.hosts)]
            hosts = [server.port for server in servers] + [free.port() for _ in range(one.dead)]
            fields = {"access_log": [file_log(directory / f"{one.name}.log", LINE)], **one.tcp}
            listeners.append(tcp_listener(one.name, port, **{"cluster": one.name, **fields}))
            clusters.append(tcp_cluster(one.name, hosts, **one.cluster))
        proxy = stack.enter_context(start(static(listeners, clusters), directory))
        return {one.name: see(one, ports[one.name], proxy, directory) for one in CONVERSATIONS}


def see(one: Conversation, port: int, proxy: ProxyProcess, directory: Path) -> Seen:
    heard = one.talk(port)
    log = directory / f"{one.name}.log"
    active = f"cluster.{one.name}.upstream_cx_active"

    def lines() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    eventually(lambda: len(lines()) >= one.logged, what=f"{one.logged} lines of {one.name}")
    eventually(lambda: not proxy.stats()[active], what=f"{one.name}: no connection is left")
    stats = proxy.stats()
    names = [name.format(one.name) for name in COUNTED]
    return Seen(heard, sorted(lines()), {name: stats.get(name, 0) for name in names})


@pytest.mark.parametrize("name", [one.name for one in CONVERSATIONS])
def test_both_are_seen_alike(seen: dict[str, tuple[Seen, Seen]], name: str) -> None:
    by_envoy, by_weft = seen[name]
    assert by_weft.heard == by_envoy.heard
    assert by_weft.lines == by_envoy.lines
    assert by_weft.counted == by_envoy.counted
