"""One TLS connection in memory, for `benchmarks.parts`: a client's bytes in, answers swallowed."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.exchange import Silence
from proxy.config import model
from proxy.tls.contexts import client_context, server_context
from proxy.tls.transport import TlsTransport
from tests.support.pki import Authority
from tests.support.tls import certificate, shake_hands

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
        shake_hands(self._client, server)
        loop = asyncio.get_running_loop()
        self._transport = TlsTransport(loop, Silence(), server, 1.0)  # type: ignore[arg-type]
        self._transport.begin(_Answers())
        self._request = b"x" * REQUEST_BYTES

    def __call__(self) -> None:
        self._transport.data_received(self._client.encrypt(self._request))
