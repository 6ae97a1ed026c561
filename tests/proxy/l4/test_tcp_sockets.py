"""TCP through a running `weft proxy`: in plain text, and by mutual TLS from one hop to the next."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.support.pki import Authority
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.raw_tcp import (
    TcpServer,
    dial,
    read_to_end,
    static,
    tcp_cluster,
    tcp_listener,
)
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

MEGABYTE = 1 << 20
BULK = 50 * MEGABYTE
SERVER_URI = "spiffe://cluster.local/ns/default/sa/server"


@dataclass
class Backend:
    """What the server does with each connection: `serve` is the test's to set."""

    serve: Any = None
    server: Any = field(default=None, repr=False)

    def __call__(self, sock: socket.socket) -> None:
        self.serve(sock)


@dataclass
class Hops:
    """A running proxy. plain: relays as it is. mesh: relays by mutual TLS to a second listener,
    which relays to the server. stranger: the same to a server of the wrong name."""

    proxy: ProxyProcess
    backend: Backend
    plain: int
    mesh: int
    stranger: int

    def rss(self) -> int:
        """Bytes of memory."""
        status = Path(f"/proc/{self.proxy.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def hops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hops]:
    directory = tmp_path_factory.mktemp("tcp")
    authority = Authority()
    ports = [free_port() for _ in range(4)]
    plain, mesh, stranger, inner = ports
    backend = Backend()
    with TcpServer(backend) as server:
        clusters = [
            tcp_cluster("app", [server.port]),
            tcp_cluster("mesh", [inner], client_tls(authority, SERVER_URI)),
            tcp_cluster("stranger", [inner], client_tls(authority, SERVER_URI + "-other")),
        ]
        listeners = [
            tcp_listener("plain", plain, "app"),
            tcp_listener("mesh", mesh, "mesh"),
            tcp_listener("stranger", stranger, "stranger"),
            tcp_listener("inner", inner, "app", server_tls(authority)),
        ]
        with weft_proxy(static(listeners, clusters), directory) as proxy:
            yield Hops(proxy, backend, plain, mesh, stranger)


def server_tls(authority: Authority) -> dict[str, Any]:
    return {
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [shown(authority, SERVER_URI)],
            "validation_context": {"trusted_ca": {"inline_string": authority.pem}},
        },
    }


def client_tls(authority: Authority, expected: str) -> dict[str, Any]:
    names = [{"san_type": "URI", "matcher": {"exact": expected}}]
    return {
        "common_tls_context": {
            "tls_certificates": [shown(authority, "spiffe://cluster.local/ns/default/sa/client")],
            "validation_context": {
                "trusted_ca": {"inline_string": authority.pem},
                "match_typed_subject_alt_names": names,
            },
        }
    }


def shown(authority: Authority, uri: str) -> dict[str, Any]:
    pair = authority.issue(uris=(uri,))
    return {
        "certificate_chain": {"inline_string": pair.certificate},
        "private_key": {"inline_string": pair.key},
    }


@pytest.fixture(params=["plain", "mesh"])
def port(request: pytest.FixtureRequest, hops: Hops) -> int:
    found: int = getattr(hops, request.param)
    return found


def pour(sock: socket.socket, megabytes: int, seed: int) -> str:
    """Writes so much, each megabyte another; answers its digest."""
    digest = hashlib.sha256()
    for at in range(megabytes):
        data = bytes([(seed + at) % 251]) * MEGABYTE
        digest.update(data)
        sock.sendall(data)
    return digest.hexdigest()


def drink(sock: socket.socket, size: int) -> str:
    digest = hashlib.sha256()
    while size:
        data = sock.recv(min(size, 1 << 16))
        assert data, f"{size} bytes are missing"
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def stands_still(measure: Callable[[], int], for_s: float) -> None:
    """Waits until `measure` has not changed for so long."""
    last, since = measure(), monotonic()

    def still() -> bool:
        nonlocal last, since
        if (now := measure()) != last:
            last, since = now, monotonic()
        return monotonic() - since > for_s

    eventually(still, what="nothing moves any more")


def test_a_server_may_speak_first(hops: Hops, port: int) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(b"220 ready\r\n")
        sock.sendall(b"got " + sock.recv(100))

    hops.backend.serve = serve
    with dial(port) as client:
        assert client.recv(100) == b"220 ready\r\n"
        client.sendall(b"HELO")
        assert read_to_end(client) == b"got HELO"


def test_an_echo_comes_back_in_order(hops: Hops, port: int) -> None:
    def serve(sock: socket.socket) -> None:
        while data := sock.recv(1 << 16):
            sock.sendall(data)

    hops.backend.serve = serve
    with dial(port) as client:
        for size in (1, 1000, 70_000):
            client.sendall(b"x" * size)
            assert drink(client, size) == hashlib.sha256(b"x" * size).hexdigest()


def test_a_half_closed_client_still_hears_the_answer(hops: Hops) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(b"%d" % len(read_to_end(sock)))

    hops.backend.serve = serve
    with dial(hops.plain) as client:
        client.sendall(b"x" * 3000)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"3000"


def test_a_half_closed_server_still_hears_the_client(hops: Hops) -> None:
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_to_end(sock))

    hops.backend.serve = serve
    with dial(hops.plain) as client:
        assert read_to_end(client) == b""
        client.sendall(b"still here")
    eventually(lambda: heard, what="the client's bytes")
    assert heard == [b"still here"]


def test_over_tls_an_answer_without_the_end_is_heard_and_then_all_ends(hops: Hops) -> None:
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"answer to " + sock.recv(100))
        read_to_end(sock)
        ended.set()

    hops.backend.serve = serve
    with dial(hops.mesh) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"answer to question"
        assert ended.wait(20)


@pytest.mark.parametrize("megabytes", [6])
def test_what_was_written_before_the_end_arrives_at_a_slow_client(
    hops: Hops, port: int, megabytes: int
) -> None:
    """The client reads only when every buffer on the way is full, or holds all that was said; and
    when the time that TLS takes to say goodbye to a quick peer is over."""
    sent: list[str] = []
    hops.backend.serve = lambda sock: sent.append(pour(sock, megabytes, 1))
    with dial(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        name = "tcp.inner.downstream_cx_tx_bytes_total"
        stands_still(lambda: hops.proxy.stats()[name], 2.5)
        assert drink(client, megabytes * MEGABYTE) == eventually(lambda: sent)[0]
        assert client.recv(1) == b""


def test_much_both_ways_at_once_needs_little_memory(hops: Hops, port: int) -> None:
    """Each reads only after it has filled every buffer on the way."""
    server_read: list[str] = []
    server_wrote: list[str] = []

    def serve(sock: socket.socket) -> None:
        writer = threading.Thread(target=lambda: server_wrote.append(pour(sock, 50, 7)))
        writer.start()
        server_read.append(drink(sock, BULK))
        writer.join()

    hops.backend.serve = serve
    before = hops.rss()
    with dial(port) as client:
        client_wrote: list[str] = []
        writer = threading.Thread(target=lambda: client_wrote.append(pour(client, 50, 3)))
        writer.start()
        writer.join()  # the server reads all of it while we read nothing of what it writes
        grown = hops.rss() - before
        assert drink(client, BULK) == eventually(lambda: server_wrote)[0]
        assert eventually(lambda: server_read) == client_wrote
    assert grown < 24 * MEGABYTE, f"{grown / MEGABYTE:.1f} MiB more"


def test_a_server_of_the_wrong_name_gets_nothing(hops: Hops) -> None:
    hops.backend.serve = lambda sock: pytest.fail("the server was reached")
    with dial(hops.stranger) as client:
        client.sendall(b"secret")
        assert read_to_end(client) in (b"", b"RESET")
    stats = hops.proxy.stats()
    assert stats["cluster.stranger.ssl.fail_verify_san"] == 1
    assert stats["cluster.stranger.upstream_cx_connect_fail"] == 1
    assert stats["cluster.stranger.upstream_cx_active"] == 0


def test_nothing_is_left_when_all_are_gone(hops: Hops) -> None:
    names = [f"cluster.{name}.upstream_cx_active" for name in ("app", "mesh", "stranger")]
    eventually(lambda: not sum(hops.proxy.stats()[name] for name in names), what="no connections")
    assert not hops.proxy.stats()["tcp.plain.upstream_flush_active"]
    assert not re.search(r" (WARNING|ERROR) ", hops.proxy.log), hops.proxy.log
