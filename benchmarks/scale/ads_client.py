"""A cheap client of the control plane: one delta ADS stream on a connection of its own.

    connecting (TCP, a full TLS handshake) -> open (messages both ways) -> over

HTTP/2 and TLS are the project's own, as a proxy's are; who reads the messages is called, without a
task or a future, so that a benchmark of many proxies does not measure its clients. Knows nothing of
what the messages say.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.http.grpc import MessageReader, RpcError, framed, status
from proxy.http.h2 import ClientConnection, ConnectionFailed, Options, error_name
from proxy.http.h2.errors import CANCEL
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response
from proxy.tls.failure import TlsFailed
from proxy.tls.originate import originate
from proxy.tls.transport import TlsTransport

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls

DELTA = b"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
HEADERS = Headers.of([(b"content-type", b"application/grpc"), (b"te", b"trailers")])
MAX_MESSAGE_BYTES = 1 << 30
WINDOW_BYTES = 16 << 20
"""As Envoy's newer versions have it; all is taken as it comes."""
OPTIONS = Options(
    initial_stream_window_size=WINDOW_BYTES, initial_connection_window_size=WINDOW_BYTES
)
CLOSE_NOTIFY_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Heard:
    """take: a message, whole. ended: the stream is over, which we have not asked for, and why."""

    take: Callable[[bytes], None]
    ended: Callable[[str], None]


async def connect(address: str, tls: ClientTls, heard: Heard) -> AdsStream:
    """address: 'HOST:PORT', an IP address. Raises OSError: whatever keeps the stream from being
    opened."""
    tls.kept.clear()  # the handshake is to be a full one
    session = tls.session()
    stream = AdsStream(address, heard)
    try:
        await originate(session, stream, lambda: _connected(address), CLOSE_NOTIFY_WAIT_S)
    except TlsFailed as failure:
        raise ConnectionError(f"TLS: {failure.why}") from None
    if session.alpn != "h2":
        stream.close()
        raise ConnectionError("TLS: the server does not speak HTTP/2")
    stream.begin()
    return stream


async def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    except BaseException:
        sock.close()
        raise
    return sock


class AdsStream(asyncio.Protocol):
    """What is said in one turn of the loop is one write."""

    __slots__ = (
        "_answer", "_authority", "_codec", "_heard", "_id", "_last_words", "_out", "_over",
        "_reader", "_reading", "_transport",
    )  # fmt: skip

    def __init__(self, address: str, heard: Heard) -> None:
        self._authority = address.encode()
        self._heard = heard
        self._out: list[bytes] = []
        self._codec = ClientConnection(self, OPTIONS, self._say)
        self._reader = MessageReader(MAX_MESSAGE_BYTES)
        self._reading = False  # the end of the read writes what is said meanwhile
        self._over = False
        self._id = 0
        self._last_words = ""
        self._answer: list[tuple[str, str]] = []
        self._transport: TlsTransport | None = None

    def begin(self) -> None:
        """Once the server is known to speak HTTP/2."""
        self._codec.start()
        self._id = self._codec.new_stream()
        head = Request(b"POST", DELTA, self._authority, HEADERS, CHUNKED, b"HTTP/2", b"https")
        self._codec.send_head(self._id, head, False)

    def send(self, message: bytes) -> None:
        """What does not fit the server's window waits in the codec."""
        self._codec.send_data(self._id, framed(message), False)

    def close(self) -> None:
        """By us: nobody hears of it. The server does, of the stream and the connection."""
        self._over = True
        self._codec.reset(self._id, CANCEL)
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _end(self, why: str) -> None:
        """The first reason counts."""
        if not self._over:
            self._over = True
            self._heard.ended(why)

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reading = True
        try:
            self._codec.feed(data)
        except (ConnectionFailed, RpcError) as failure:
            self._end(str(failure))
        finally:
            self._reading = False
            self._flush()
        if self._over and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        why = f"the connection broke: {exc}" if exc else "the server has closed the connection"
        self._end(why + self._last_words)

    def _say(self, data: bytes) -> None:
        if not self._out and not self._reading:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out = self._out
        if out and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    # ------------------------------------------------------------------ the codec's side

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        self._answer.append((":status", str(response.status)))
        self._note(response.headers)
        self.on_data(stream_id, data, end)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        if self._over:
            return
        for message in self._reader.feed(data):
            self._heard.take(message)
        if end:
            self._conclude()

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        self._note(headers)
        self._conclude()

    def _note(self, headers: Headers) -> None:
        self._answer += [
            (name.decode(), value.decode("utf-8", "replace")) for name, value in headers
        ]

    def _conclude(self) -> None:
        self._end(f"the server has ended the stream: {status(self._answer) or 'OK'}")

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        self._end(f"the stream was reset: {error_name(error_code)}")

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        """The stream goes on until the server ends it."""
        said = debug.decode("utf-8", "replace")
        self._last_words = f", after GOAWAY with {error_name(error_code)} {said}".rstrip()

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """100 and the like mean nothing here."""

    def on_window(self, stream_id: int) -> None:
        """The codec sends what waits."""

    def on_settings(self) -> None:
        """There is one stream, and it is open."""

    def on_ping_ack(self, data: bytes) -> None:
        """We ping nobody."""

    def count(self, name: str) -> None:
        """Statistics of a data path."""

    def unsent(self) -> int:
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return waiting + len(self._out)
