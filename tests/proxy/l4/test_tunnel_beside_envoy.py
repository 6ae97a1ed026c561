"""TCP connections that go on within HTTP (`tunneling_config`), through Envoy and through Weft: what
client and server see, and what the access log says."""

from __future__ import annotations

import re
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
    TYPES,
    TcpServer,
    address,
    dial,
    file_log,
    read_to_end,
    static,
    tcp_cluster,
    tcp_listener,
)
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

STATE = "envoy.tcp_proxy.propagate_response_headers"
LINE = (
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    f"%UPSTREAM_TRANSPORT_FAILURE_REASON% %FILTER_STATE({STATE})%\n"
)
OK = b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n"
Yaml = dict[str, Any]
HTTP2: Yaml = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": TYPES + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


@dataclass(frozen=True)
class Conversation:
    """answer: what the host says to the head; b'' and it leaves. through: by a second listener of
    the same proxy, which ends the tunnel, over HTTP/1 or 2."""

    name: str
    answer: bytes = OK
    tunnel: Yaml = field(default_factory=dict)
    through: str = ""
    dead: int = 0
    tcp: Yaml = field(default_factory=dict)
    cluster: Yaml = field(default_factory=dict)

    @property
    def client_ends(self) -> bool:
        return "use_post" in self.tunnel


FROM = {"header": {"key": "X-From", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
TWICE = [
    {"header": {"key": "a", "value": "1"}},
    {"header": {"key": "a", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
    {"header": {"key": "b", "value": "1"}},
    {"header": {"key": "b", "value": "2"}, "append_action": "ADD_IF_ABSENT"},
]
POST = {"use_post": True}
PLAIN = {
    "name": "raw",
    "typed_config": {"@type": TYPES + "transport_sockets.raw_buffer.v3.RawBuffer"},
}
SAYS_WHO = {
    "transport_socket": {
        "name": "proxy",
        "typed_config": {
            "@type": TYPES + "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": "V1"},
            "transport_socket": PLAIN,
        },
    }
}
CONVERSATIONS = (
    Conversation("connect"),
    Conversation("created", b"HTTP/1.1 201 Created\r\ncontent-length: 3\r\n\r\n"),
    Conversation("forbidden", b"HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nabc"),
    Conversation("post", tunnel={**POST, "headers_to_add": [FROM]}),
    Conversation("post_to_a_path", tunnel={**POST, "post_path": "/x"}),
    Conversation("headers", tunnel={"headers_to_add": TWICE}),
    Conversation("by_a_format", tunnel={"hostname": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:1"}),
    Conversation("informed", b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
    Conversation("says_who", cluster=SAYS_WHO),
    Conversation("told", tunnel={"propagate_response_headers": True}),
    Conversation("left", b""),
    Conversation("garbage", b"what?\r\n\r\n"),
    Conversation("refused", dead=2, tcp={"max_connect_attempts": 2}),
    Conversation("through_http1", through="1"),
    Conversation("through_http2", through="2"),
    Conversation("post_through_http2", through="2", tunnel=POST),
)


LAST_CHUNK = b"0\r\n\r\n"


class Host:
    """Answers the head of a tunnel, then what it hears, in capitals, and ends: at once, or when the
    client has (a POST over HTTP/1 that is answered before it has ended breaks Envoy down)."""

    def __init__(self, answer: bytes, waits: bool) -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._waits = waits

    def serve(self, sock: socket.socket) -> None:
        head = b""
        while self._answer != b"-" and not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        self.heads.append(head)
        if self._answer not in (b"", b"-"):
            sock.sendall(self._answer)
        if self._answer:
            sock.sendall(sock.recv(1000).upper())
        rest = b""
        while self._waits and not rest.endswith(LAST_CHUNK) and (data := sock.recv(1000)):
            rest += data


def talk(port: int, ends: bool) -> bytes:
    """ends: as soon as it has heard something."""
    with dial(port) as sock:
        sock.sendall(b"hello")
        heard = sock.recv(1000) if ends else b""
        if ends:
            sock.shutdown(socket.SHUT_WR)
        return heard + read_to_end(sock)


@dataclass
class Seen:
    heard: bytes
    heads: list[bytes]
    lines: list[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Seen, Seen]]:
    """By conversation: what was seen of Envoy, and of Weft."""
    require_envoy()
    by_envoy = converse(envoy, tmp_path_factory.mktemp("envoy"))
    by_weft = converse(weft_proxy, tmp_path_factory.mktemp("weft"))
    return {name: (by_envoy[name], by_weft[name]) for name in by_envoy}


def converse(start: Callable[..., ProxyProcess], directory: Path) -> dict[str, Seen]:
    listeners: list[Yaml] = []
    clusters: list[Yaml] = []
    ports: dict[str, int] = {}
    hosts: dict[str, Host] = {}
    with ExitStack() as stack:
        free = stack.enter_context(Reservation())
        for one in CONVERSATIONS:
            ports[one.name] = free.port()
            answer = b"-" if one.through else one.answer
            host = hosts[one.name] = Host(answer, one.client_ends)
            server = stack.enter_context(TcpServer(host.serve))
            places = [free.port() for _ in range(one.dead)] or [server.port]
            options = one.cluster
            if one.through:
                clusters.append(tcp_cluster(f"{one.name}.end", places))
                places = [free.port()]
                listeners.append(_end(one.name, places[0]))
                options = {"typed_extension_protocol_options": HTTP2} if one.through == "2" else {}
            log = [file_log(directory / f"{one.name}.log", LINE)]
            tunnel = {"hostname": "target.test:443", **one.tunnel}
            fields = {"access_log": log, "tunneling_config": tunnel, **one.tcp}
            listeners.append(tcp_listener(one.name, ports[one.name], one.name, **fields))
            clusters.append(tcp_cluster(one.name, places, **options))
        proxy = stack.enter_context(start(static(listeners, clusters), directory))
        heard = {one.name: talk(ports[one.name], one.client_ends) for one in CONVERSATIONS}
        return {
            one.name: Seen(heard[one.name], hosts[one.name].heads, _lines(one, proxy, directory))
            for one in CONVERSATIONS
        }


def _end(name: str, port: int) -> Yaml:
    """An HTTP listener in which tunnels end."""
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}}
    action = {"cluster": f"{name}.end", "upgrade_configs": [upgrade]}
    connect = {"match": {"connect_matcher": {}}, "route": action}
    post = {"match": {"prefix": "/"}, "route": action}
    router = {"@type": TYPES + "filters.http.router.v3.Router"}
    manager = {
        "@type": TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"{name}.end",
        "http_filters": [{"name": "router", "typed_config": router}],
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {
            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [connect, post]}]
        },
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    return {"name": f"{name}.end", "address": address(port), "filter_chains": [chain]}


def _lines(one: Conversation, proxy: ProxyProcess, directory: Path) -> list[str]:
    log = directory / f"{one.name}.log"

    def lines() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    eventually(lines, what=f"the line of {one.name}")
    active = f"cluster.{one.name}.upstream_rq_active"
    eventually(lambda: not proxy.stats()[active], what=f"{one.name}: no tunnel is left")
    return lines()


@pytest.mark.parametrize("name", [one.name for one in CONVERSATIONS])
def test_both_are_seen_alike(seen: dict[str, tuple[Seen, Seen]], name: str) -> None:
    by_envoy, by_weft = seen[name]
    # A refusal resets if what the client said was there already: that is chance.
    assert by_weft.heard.removesuffix(b"RESET") == by_envoy.heard.removesuffix(b"RESET")
    assert [_portless(head) for head in by_weft.heads] == [*map(_portless, by_envoy.heads)]
    assert by_weft.lines == by_envoy.lines


def _portless(head: bytes) -> bytes:
    """Without what a PROXY header says of ports: they are others each time."""
    return re.sub(rb"^(PROXY \S+ \S+ \S+) \d+ \d+\r\n", rb"\1\r\n", head)


def test_a_host_hears_for_whom_a_tunnel_is(seen: dict[str, tuple[Seen, Seen]]) -> None:
    (head,) = seen["says_who"][1].heads
    assert _portless(head).startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1\r\nCONNECT ")


def test_bytes_come_through(seen: dict[str, tuple[Seen, Seen]]) -> None:
    assert seen["post"][1].heard == b"5\r\nHELLO\r\n"
    for name in ("connect", "through_http1", "through_http2", "post_through_http2"):
        assert seen[name][1].heard == b"HELLO", name
