"""One TLS connection, for `benchmarks.parts`: a question from a client of our own, our answer."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from proxy.config import model
from proxy.tls.contexts import client_context, server_context
from proxy.tls.transport import TlsTransport
from proxy.transport.watch import watch_of
from tests.support.pki import Authority
from tests.support.tls import certificate

REQUEST_BYTES, ANSWER_BYTES = 400, 600


class _Answers(asyncio.Protocol):
    """Whatever it is asked."""

    def __init__(self) -> None:
        self._answer = b"y" * ANSWER_BYTES

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)


class Secured:
    """Call it for one request and its answer."""

    def __init__(self) -> None:
        common = model.CommonTls(certificates=(certificate(Authority().issue(dns=("a",))),))
        server = server_context(model.DownstreamTls(common), {}).session()
        self._client = client_context(model.UpstreamTls(model.CommonTls()), {}).session()
        self._ends = socket.socketpair()
        for session, end in zip((self._client, server), self._ends, strict=True):
            end.setblocking(False)
            session.attach(end.fileno())
        while not (self._client.shake() and server.shake()):
            server.shake()
        loop = asyncio.get_running_loop()
        self._transport = TlsTransport(loop, watch_of(loop), self._ends[1], server, 1.0)
        self._transport.begin(_Answers())
        self._request = b"x" * REQUEST_BYTES

    def __call__(self) -> None:
        self._client.write(self._request)
        self._transport._readable()
        self._client.read()
