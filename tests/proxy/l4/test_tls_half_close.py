"""The end of one direction of TLS, relayed by Weft and Envoy, from the client and from the host.

The other side is plain TCP, where such an end is a FIN.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.envoy import envoy, require_envoy
from tests.support.pki import Authority, server_context
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
from tests.support.tls import python_client
from tests.support.weft_proxy import weft_proxy

ROOT = Authority()
US = ROOT.issue(uris=("spiffe://td/us",))


class Tls:
    """TLS on a socket whose directions end each for itself, which Python's own can't."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server: bool) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        self._until(self._tls.do_handshake)

    def _until(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                found = act()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._outgoing.read())
                data = self._sock.recv(65536)
                if not data:
                    return b"EOF"
                self._incoming.write(data)
            else:
                self._sock.sendall(self._outgoing.read())
                return found

    def send(self, data: bytes) -> None:
        self._until(lambda: self._tls.write(data))

    def end(self) -> None:
        """Our close_notify; nothing is waited for."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._sock.sendall(self._outgoing.read())

    def read_to_end(self) -> bytes:
        found = b""
        while True:
            try:
                data = self._until(lambda: self._tls.read(65536))
            except ssl.SSLZeroReturnError:
                return found
            if data in (b"", b"EOF"):
                return found
            found += data


@pytest.fixture(params=["envoy", "weft"])
def start(request: pytest.FixtureRequest) -> Callable[..., ProxyProcess]:
    if request.param == "envoy":
        require_envoy()
        return envoy
    return weft_proxy


def common(folder: Path) -> dict[str, Any]:
    chain, key = US.write(folder, "us")
    pair = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    validation = {"trusted_ca": {"inline_string": ROOT.pem}}
    params = {"tls_maximum_protocol_version": "TLSv1_3"}
    return {
        "tls_params": params,
        "tls_certificates": [pair],
        "validation_context": validation,
    }


@pytest.fixture
def port() -> Iterator[int]:
    yield free_port()


def test_a_client_that_has_no_more_to_say_hears_the_answer(
    start: Callable[..., ProxyProcess], port: int, tmp_path: Path
) -> None:
    def count(sock: socket.socket) -> None:
        sock.sendall(b"heard %d bytes" % len(read_to_end(sock)))

    with TcpServer(count) as server:
        tls = {"common_tls_context": common(tmp_path), "require_client_certificate": True}
        config = static([tcp_listener("x", port, "up", tls)], [tcp_cluster("up", [server.port])])
        with start(config, tmp_path), dial(port) as sock:
            client = Tls(sock, python_client(ROOT, US), server=False)
            client.send(b"x" * 1000)
            client.end()
            assert client.read_to_end() == b"heard 1000 bytes"


def test_a_host_hears_the_end_of_the_client_and_answers_then(
    start: Callable[..., ProxyProcess], port: int, tmp_path: Path
) -> None:
    context = server_context(ROOT, ROOT.issue(dns=("up.test",)).write(tmp_path, "server"))

    def count(sock: socket.socket) -> None:
        host = Tls(sock, context, server=True)
        host.send(b"heard %d bytes" % len(host.read_to_end()))
        host.end()

    with TcpServer(count) as server:
        tls = {"common_tls_context": common(tmp_path)}
        config = static([tcp_listener("x", port, "up")], [tcp_cluster("up", [server.port], tls)])
        with start(config, tmp_path), dial(port) as sock:
            sock.sendall(b"x" * 1000)
            sock.shutdown(socket.SHUT_WR)
            assert read_to_end(sock) == b"heard 1000 bytes"
